import { stringify } from 'yaml';
import { isSection, type JsonSchema } from './json-schema.js';

const WIDTH = 100;
const HEAD = `# What may be set, with what holds where nothing is said. README.md has the same as a table.
# Written by \`npm run generate -w helm\` from helm/src/values.
`;

/** The text of `values.yaml`: every value with its description; what has no default stands as a comment. */
export function valuesYaml(schema: JsonSchema): string {
  const sections = Object.entries(schema.properties ?? {}).filter(([key]) => key !== 'global');
  return `${HEAD}\n${sections.map(([key, field]) => entry(key, field, 0)).join('\n')}`;
}

function entry(key: string, schema: JsonSchema, depth: number): string {
  const pad = '  '.repeat(depth);
  const comment = wrap(schema.description ?? '', WIDTH - pad.length)
    .map((line) => `${pad}# ${line}\n`)
    .join('');
  if (isSection(schema) && key !== 'config')
    return `${comment}${pad}${key}:\n${Object.entries(schema.properties ?? {})
      .map(([name, field]) => entry(name, field, depth + 1))
      .join('')}`;
  if (key === 'config') return `${comment}${pad}config: {}\n`;
  if (schema.default === undefined) return `${comment}${pad}# ${key}:\n`;
  return comment + indent(stringify({ [key]: schema.default }, { lineWidth: 0, version: '1.1' }), pad);
}

const indent = (text: string, pad: string) => text.replaceAll(/^(?=.)/gm, pad);

function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + word.length + 1 > width) {
      lines.push(line);
      line = word;
    } else line = line === '' ? word : `${line} ${word}`;
  }
  return [...lines, line];
}
