// Options of a benchmark; `--help` shows what its file says of itself at its head, and every option with its default.
import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { parseArgs } from 'node:util';

/** The comment that a file begins with. */
function headOf(file) {
  const lines = readFileSync(file, 'utf8').split('\n');
  const end = lines.findIndex((line) => !line.startsWith('//'));
  return lines.slice(0, end).map((line) => line.replace(/^\/\/ ?/, ''));
}

const optionLine = ([name, { type, default: by }]) =>
  `  --${name}${type === 'string' ? ' VALUE' : ''}${by === undefined || by === false ? '' : ` (default: ${by})`}`;

const helpOf = (file, options) =>
  [...headOf(file), '', 'Options:', ...Object.entries(options).map(optionLine), '  --help'].join('\n');

/** Ends the process when help is all that is asked for, or when what is asked for is not known. */
export function parseOptions({ options, ...more }) {
  const file = process.argv[1];
  try {
    const parsed = parseArgs({ options: { ...options, help: { type: 'boolean', short: 'h' } }, ...more });
    if (!parsed.values.help) return parsed;
    console.log(helpOf(file, options));
    return process.exit();
  } catch (error) {
    if (!error.code?.startsWith('ERR_PARSE_ARGS')) throw error;
    console.error(`${error.message}\nnode bench/${basename(file)} --help lists what there is.`);
    return process.exit(2);
  }
}
