/** Of a page that is read on screens of any width, in light and dark, and printed. */
export const STYLE = `
:root { color-scheme: light dark; --ink: #1c1c1c; --faint: #5f6368; --paper: #fff; --raised: #f5f6f8; --line: #d9dce1; --accent: #0b62a8; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e8e8; --faint: #a6abb3; --paper: #141518; --raised: #1f2126; --line: #383c44; --accent: #7cc0ff; } }
* { box-sizing: border-box; }
body { font: 16px/1.55 system-ui, sans-serif; margin: 0 auto; max-width: 72rem; padding: 2rem 1.25rem 4rem; color: var(--ink); background: var(--paper); }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .5rem; }
h2 { font-size: 1.25rem; line-height: 1.3; margin: 2.5rem 0 .5rem; }
p { max-width: 46rem; margin: .5rem 0; }
.summary { font-size: 1.1rem; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(12rem, 1fr)); gap: .75rem; margin: 1.5rem 0; padding: 0; }
.figures div { background: var(--raised); border-radius: .5rem; padding: .9rem 1rem; display: flex; flex-direction: column-reverse; justify-content: flex-end; }
.figures dd { font-size: 1.7rem; font-weight: 650; line-height: 1.2; margin: 0; font-variant-numeric: tabular-nums; }
.figures dt { color: var(--faint); font-size: .9rem; }
figure { margin: 1.25rem 0; }
figcaption { font-weight: 600; margin-bottom: .4rem; }
svg { max-width: 100%; height: auto; display: block; overflow: visible; }
.medium, .narrow { display: none; }
@media (max-width: 68rem) { .wide, .narrow { display: none; } .medium { display: block; } }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; margin: .5rem 0 0; padding: 0; font-size: .85rem; }
.legend i { display: inline-block; width: 1.4rem; vertical-align: middle; margin-right: .4rem; }
.legend b { display: inline-block; min-width: 1.2rem; }
.table { overflow-x: auto; margin: 1rem 0; border: 1px solid var(--line); border-radius: .4rem; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; min-width: 100%; }
th, td { padding: .35rem .7rem; text-align: left; white-space: nowrap; border-bottom: 1px solid var(--line); }
tr:last-child td { border-bottom: 0; }
td.long { white-space: normal; min-width: 16rem; }
.number { text-align: right; }
th { background: var(--raised); font-weight: 600; }
th:first-child, td:first-child { position: sticky; left: 0; background: var(--paper); }
th:first-child { background: var(--raised); }
th button { all: unset; cursor: pointer; font: inherit; }
th button:focus-visible, summary:focus-visible, .table:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
th[aria-sort] button::after { content: " ↑"; } th[aria-sort=descending] button::after { content: " ↓"; }
details { margin: 1rem 0; border-top: 1px solid var(--line); padding-top: .6rem; }
summary { cursor: pointer; font-size: 1.1rem; font-weight: 600; }
.provenance { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; font-size: .875rem; }
.provenance dt { color: var(--faint); } .provenance dd { margin: 0; overflow-wrap: anywhere; }
@media (max-width: 40rem) { .wide, .medium { display: none; } .narrow { display: block; } body { padding: 1.25rem 1rem 3rem; } h1 { font-size: 1.5rem; } .provenance { grid-template-columns: 1fr; } .provenance dd { margin-bottom: .5rem; } th:first-child, td:first-child { min-width: 7rem; max-width: 40vw; white-space: normal; overflow-wrap: anywhere; } }
@media print { body { max-width: none; padding: 0; font-size: 11px; } details::details-content { content-visibility: visible; height: auto; } .table { overflow: visible; border: 0; } table { font-size: 8px; } th, td { padding: .15rem .3rem; white-space: normal; } figure, tr { break-inside: avoid; } .medium { display: block; } .wide, .narrow { display: none; } }
`;
