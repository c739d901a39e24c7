import { isSection, type JsonSchema } from './json-schema.js';

const HEAD = ['| value | what | default |', '|---|---|---|'];
/** The same fields as those of `worker`, which are not listed again. */
const AS_WORKER = 'models[].classes[]';

/** Every value as a row of Markdown. */
export function valuesTable(schema: JsonSchema): string {
  return [...HEAD, ...rows(schema, '')].join('\n');
}

function rows(schema: JsonSchema, path: string): string[] {
  return Object.entries(schema.properties ?? {}).flatMap(([key, field]) => {
    const at = path === '' ? key : `${path}.${key}`;
    if (path === AS_WORKER && key !== 'name') return [];
    if (isSection(field)) return [row(at, field), ...rows(field, at)];
    const item = field.items;
    return item && isSection(item) ? [row(at, field), ...rows(item, `${at}[]`)] : [row(at, field)];
  });
}

function row(path: string, schema: JsonSchema): string {
  const isWhole = isSection(schema);
  const choices = schema.enum ? ` (${schema.enum.map((choice) => `\`${String(choice)}\``).join(', ')})` : '';
  const what = `${schema.description ?? ''}${choices}`.replaceAll('|', '\\|');
  const fallback = isWhole || schema.default === undefined ? '' : `\`${JSON.stringify(schema.default)}\``;
  return `| \`${path}\` | ${what} | ${fallback.replaceAll('|', '\\|')} |`;
}
