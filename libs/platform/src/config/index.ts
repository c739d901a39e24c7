import { parseArgs } from 'node:util';

import { KvcError } from '@kvcapsule/contracts';
import { parse as parseYaml, YAMLParseError } from 'yaml';
import { type z } from 'zod';

import { fieldsOf, type ConfigSchema, type Field } from './fields.js';
import { configText, helpText } from './help.js';
import { readSmallFile } from './small-file.js';
import { isServiceUrl, SERVICE_LINK } from './variables.js';

export * from './address.js';
export * from './api-key.js';
export * from './duration.js';
export * from './small-file.js';
export * from './variables.js';

/** Of a file of settings. */
const MOST_BYTES = 1024 * 1024;

interface Source {
  /** How the setting was named where it was found: `--port`, `KVCAPSULE_PORT`, `port in FILE`. */
  readonly origin: string;
  readonly value: unknown;
}

interface ParseOptions<S extends ConfigSchema> {
  /**
   * A flat object. Field `redisUrl` is the flag `--redis-url`, the variable `KVCAPSULE_REDIS_URL` and the
   * file's key `redisUrl`; `.meta({ flag, secret, description })` changes the flag, hides the value, explains.
   * Lists: a flag given several times, or values with commas between; with `.meta({ verbatim })` a flag is one entry.
   * A file may hold one entry of a list by itself.
   */
  readonly schema: S;
  /** Without node and script: `process.argv.slice(2)`. */
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Of the program, for `--help`. */
  readonly name: string;
  /** Receives the text of `--help` and `--print-config`; prints it and ends the process by default. */
  readonly print?: (text: string) => never;
}

/**
 * Turns flags, environment and file into one checked object. Rejects with `CONFIG_INVALID`, naming every
 * setting at fault and never its value.
 */
export function parseConfig<S extends ConfigSchema>(options: ParseOptions<S>): z.output<S> {
  const print = options.print ?? printAndExit;
  const fields = fieldsOf(options.schema);
  const flags = parseFlags(fields, options.argv);
  if (flags.help === true) {
    return print(helpText(options.name, fields));
  }
  const file = flags.config ?? options.env['KVCAPSULE_CONFIG'];
  const fileValues = typeof file === 'string' && file !== '' ? readFile(file, fields) : {};
  const sources = new Map<string, Source>();
  for (const field of fields) {
    const source = sourceOf(field, flags, options.env, fileValues);
    if (source !== undefined) {
      sources.set(field.key, source);
    }
  }
  const config = check(options.schema, fields, sources);
  return flags['print-config'] === true ? print(configText(fields, config)) : config;
}

function printAndExit(text: string): never {
  process.stdout.write(text);
  process.exit(0);
}

type Flags = Record<string, string | boolean | (string | boolean)[] | undefined>;

function parseFlags(fields: readonly Field[], argv: readonly string[]): Flags {
  const settings = fields.flatMap(({ flag, kind }) => {
    const option = { type: kind === 'boolean' ? 'boolean' : 'string', multiple: kind === 'list' } as const;
    return kind === 'boolean'
      ? [
          [flag, option],
          [negated(flag), option],
        ]
      : [[flag, option]];
  });
  try {
    return parseArgs({
      args: [...argv],
      options: {
        ...(Object.fromEntries(settings) as Record<
          string,
          { type: 'boolean' | 'string'; multiple: boolean }
        >),
        config: { type: 'string' },
        'print-config': { type: 'boolean' },
        help: { type: 'boolean', short: 'h' },
      },
      allowPositionals: false,
    }).values;
  } catch (error) {
    throw new KvcError('CONFIG_INVALID', flagFault(error));
  }
}

/** Switches off. parseArgs' own `allowNegative` would take `--no-auth` for the negation of an unknown `auth`. */
function negated(flag: string): string {
  return `no-${flag}`;
}

/** parseArgs quotes what it does not expect; a stray value may be a secret, so only names of flags pass. */
function flagFault(error: unknown): string {
  const { code, message } = error as { code?: string; message?: string };
  const flag = /'(-[^'=\s]*)/.exec(message ?? '')?.[1];
  switch (code) {
    case 'ERR_PARSE_ARGS_UNKNOWN_OPTION':
      return `${flag ?? 'a flag'}: unknown flag; --help lists all of them`;
    case 'ERR_PARSE_ARGS_UNEXPECTED_POSITIONAL':
      return 'unexpected argument that belongs to no flag; --help lists all flags';
    default:
      return `${flag ?? 'a flag'}: a value is missing, or one is given that the flag does not take`;
  }
}

function readFile(file: string, fields: readonly Field[]): Record<string, Source> {
  const values = parseFile(file);
  const known = new Set(fields.map((field) => field.key));
  const unknown = Object.keys(values).filter((key) => !known.has(key));
  if (unknown.length > 0) {
    throw new KvcError('CONFIG_INVALID', `${file}: unknown key ${unknown.join(', ')}`);
  }
  return Object.fromEntries(
    Object.entries(values).map(([key, value]: [string, unknown]) => [
      key,
      { origin: `${key} in ${file}`, value },
    ]),
  );
}

function parseFile(file: string): object {
  let text: string;
  let values: unknown;
  try {
    text = readSmallFile(file, MOST_BYTES);
  } catch (error) {
    throw new KvcError('CONFIG_INVALID', `${file}: ${(error as Error).message}`);
  }
  try {
    // Warnings quote the file, which may hold secrets, and would be printed.
    values = parseYaml(text, { logLevel: 'error' }) ?? {};
  } catch (error) {
    throw new KvcError('CONFIG_INVALID', `${file}: ${yamlFault(error)}`);
  }
  if (typeof values !== 'object' || values === null || Array.isArray(values)) {
    throw new KvcError('CONFIG_INVALID', `${file}: holds no map of settings`);
  }
  return values;
}

/** Where and of what kind; the parser's own words quote lines. */
function yamlFault(error: unknown): string {
  if (!(error instanceof YAMLParseError)) return 'cannot be read as YAML';
  const line = error.linePos?.[0].line;
  const kind = error.code.toLowerCase().replaceAll('_', ' ');
  return `${line === undefined ? '' : `line ${String(line)}: `}cannot be read as YAML (${kind})`;
}

function sourceOf(
  field: Field,
  flags: Flags,
  env: ParseOptions<ConfigSchema>['env'],
  file: Record<string, Source>,
): Source | undefined {
  if (flags[negated(field.flag)] === true) {
    return { origin: `--${negated(field.flag)}`, value: false };
  }
  const flag = flags[field.flag];
  if (flag !== undefined) {
    return { origin: `--${field.flag}`, value: fromText(field, flag) };
  }
  const variable = env[field.env];
  if (variable !== undefined && variable !== '') {
    if (isServiceUrl(variable)) throw new KvcError('CONFIG_INVALID', `${field.env}: ${SERVICE_LINK}`);
    return { origin: field.env, value: fromText(field, variable) };
  }
  const entry = file[field.key];
  return field.kind === 'list' && typeof entry?.value === 'string'
    ? { ...entry, value: [entry.value] }
    : entry;
}

/** What cannot be read as the field's kind stays text, so that the schema refuses it. */
function fromText(field: Field, given: string | boolean | (string | boolean)[]): unknown {
  if (typeof given === 'boolean') {
    return given;
  }
  if (Array.isArray(given) && field.verbatim) {
    return given;
  }
  if (Array.isArray(given) || field.kind === 'list') {
    return [given]
      .flat()
      .flatMap((part) => String(part).split(','))
      .map((part) => part.trim())
      .filter((part) => part !== '');
  }
  if (field.kind === 'number') {
    return given.trim() === '' || Number.isNaN(Number(given)) ? given : Number(given);
  }
  if (field.kind === 'boolean') {
    return (
      { true: true, '1': true, yes: true, false: false, '0': false, no: false }[given.toLowerCase()] ?? given
    );
  }
  return given;
}

function check<S extends ConfigSchema>(
  schema: S,
  fields: readonly Field[],
  sources: ReadonlyMap<string, Source>,
): z.output<S> {
  const result = schema.safeParse(
    Object.fromEntries([...sources].map(([key, source]) => [key, source.value])),
  );
  if (result.success) {
    return result.data;
  }
  const faults = result.error.issues.map((issue) => {
    const field = fields.find(({ key }) => key === issue.path[0]);
    if (field === undefined) {
      return issue.message;
    }
    const source = sources.get(field.key);
    if (source !== undefined) return `${source.origin}: ${issue.message}`;
    return `--${field.flag} or ${field.env}: ${issue.code === 'invalid_type' ? 'is required' : issue.message}`;
  });
  throw new KvcError('CONFIG_INVALID', faults.join('; '));
}

/** The variables that the fields of a schema are read from. */
export const variablesOf = (schema: ConfigSchema): string[] => fieldsOf(schema).map(({ env }) => env);
