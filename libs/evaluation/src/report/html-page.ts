const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

/** Text as it may stand in an element or an attribute. */
export function escapeXml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => ENTITIES[character] ?? character);
}

const STYLE = `
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 80rem; padding: 0 1rem; color: #1c1c1c; background: #fff; }
h1, h2 { line-height: 1.2; }
p { max-width: 50rem; }
div, pre { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: 1rem 0; }
th, td { border-bottom: 1px solid #ddd; padding: .25rem .6rem; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
td:only-child { white-space: normal; }
svg { max-width: 100%; height: auto; fill: currentColor; }
.grid { stroke: currentColor; opacity: .15; fill: none; }
@media (prefers-color-scheme: dark) { body { color: #e6e6e6; background: #161616; } th, td { border-color: #3a3a3a; } }
`;

/**
 * A page that needs nothing from elsewhere: style and plots are in it, and there is no script.
 *
 * @param body HTML under the title, which stands above it as a heading
 * @param style CSS of this page alone
 */
export function htmlPage(title: string, body: string, style = ''): string {
  const heading = escapeXml(title);
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>${heading}</title>
<style>${STYLE}${style}</style>
</head>
<body>
<h1>${heading}</h1>
${body}
</body>
</html>
`;
}
