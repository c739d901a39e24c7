import { stringify } from 'yaml';

import { type Field } from './fields.js';

const WIDTH = 34;

/** The text of `--help`. */
export function helpText(name: string, fields: readonly Field[]): string {
  const lines = fields.map((field) => line(flagText(field), notes(field)));
  return [
    `Usage: ${name} [options]`,
    '',
    'Each option may also stand in the environment (in brackets) or, under the name of its field, in a YAML',
    'file. Flags win over the environment, the environment wins over the file.',
    '',
    ...lines,
    line('--config FILE', 'YAML file with settings [KVCAPSULE_CONFIG]'),
    line('--print-config', 'Print the settings that apply, without secrets, and exit'),
    line('--help', 'Print this text and exit'),
    '',
  ].join('\n');
}

/** The text of `--print-config`: YAML, as the file may hold it, without secrets. */
export function configText(fields: readonly Field[], config: Readonly<Record<string, unknown>>): string {
  const shown = fields
    .filter((field) => config[field.key] !== undefined)
    .map((field) => [field.key, field.secret ? mask(config[field.key]) : config[field.key]]);
  return stringify(Object.fromEntries(shown));
}

function mask(value: unknown): string {
  const empty = value === '' || (Array.isArray(value) && value.length === 0);
  return empty ? 'not set' : 'set, not shown';
}

function line(left: string, right: string): string {
  return left.length < WIDTH - 2
    ? `  ${left.padEnd(WIDTH)}${right}`
    : `  ${left}\n${' '.repeat(WIDTH + 2)}${right}`;
}

function flagText(field: Field): string {
  const value = field.choices.length > 0 ? field.choices.join('|') : field.kind.toUpperCase();
  switch (field.kind) {
    case 'boolean':
      return field.fallback === true ? `--no-${field.flag}` : `--${field.flag}`;
    case 'list':
      return `--${field.flag} VALUE (repeatable)`;
    default:
      return `--${field.flag} ${value}`;
  }
}

function notes(field: Field): string {
  const extra = [`[${field.env}]`];
  if (field.required) {
    extra.push('(required)');
  } else if (!field.secret && isShown(field.fallback)) {
    extra.push(`(default ${String(field.fallback)})`);
  }
  return [field.description, ...extra].filter((part) => part !== '').join(' ');
}

function isShown(fallback: unknown): boolean {
  return ['string', 'number'].includes(typeof fallback) && fallback !== '';
}
