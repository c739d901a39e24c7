// Whether the unit tests can fail: runs the mutation tests of stryker.config.mjs and writes what survived.
//
// Usage: node bench/mutation.mjs [--mutate GLOB[,GLOB] | --from FILE[,FILE]] [--out FILE]
//   --mutate  only these sources; all that the configuration names by default (hours on two cores)
//   --from    no run: the JSON reports of earlier ones, merged; of a file in several the last counts
//   --out     Markdown with the score of each file and every survivor; printed alone by default
//
// bench/mutation-equivalent.json names the survivors that no test is to find, one entry each: `file`, `line` (the
// text of the first line that the mutant changes), `mutant` (what it makes of it), `kind` and `reason`. Of the kinds
// `equivalent` behaves the same for every caller, `cost` does too but for time or memory, and `wording` changes only
// what a message tells people. The published list shows the reason beside the survivor.
//
// Ends with status 1 when fewer than 85 % of the mutants are found or an entry names none that survives.
import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { parseOptions } from './options.mjs';

const ROOT = join(import.meta.dirname, '..');
const LEAST_SHARE = 0.85;
const FOUND = ['Killed', 'Timeout'];
const MISSED = ['Survived', 'NoCoverage'];

/** Runs the mutation tests; the report's file. */
function runStryker(only) {
  spawnSync(join(ROOT, 'node_modules/.bin/stryker'), ['run', ...(only ? ['--mutate', only] : [])], {
    cwd: ROOT,
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  return join(ROOT, '.cache/mutation/report.json');
}

const oneLine = (text) => text.replaceAll(/\s+/g, ' ').trim();

/** A survivor, and what it makes of the lines that it changes. */
function survivor(file, lines, { location: { start, end }, mutatorName, replacement = '', status }) {
  const first = lines[start.line - 1];
  const last = lines[end.line - 1];
  const mutant = first.slice(0, start.column - 1) + replacement + last.slice(end.column - 1);
  return { file, at: start.line, line: oneLine(first), mutant: oneLine(mutant), mutatorName, status };
}

function rowOf(file, { mutants, source }) {
  const lines = source.split('\n');
  const found = mutants.filter(({ status }) => FOUND.includes(status)).length;
  const missed = mutants
    .filter(({ status }) => MISSED.includes(status))
    .map((mutant) => survivor(file, lines, mutant));
  return { file, found, missed, all: found + missed.length };
}

const keyOf = ({ file, line, mutant }) => JSON.stringify([file, line, mutant]);
const share = (found, all) => (all === 0 ? '–' : `${((100 * found) / all).toFixed(1)} %`);
const code = (text) => `\`${text.replaceAll('`', "'").replaceAll('|', '\\|').slice(0, 120)}\``;

function markdown(rows, named, how) {
  const sum = (of) => rows.reduce((total, row) => total + of(row), 0);
  const [found, all] = [sum((row) => row.found), sum((row) => row.all)];
  const isNamed = (mutant) => named.has(keyOf(mutant));
  const open = sum(({ missed }) => missed.filter((mutant) => !isNamed(mutant)).length);
  const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: ROOT }).toString().trim();
  const table = rows.map(
    ({ file, all, found, missed }) =>
      `| ${file} | ${all} | ${found} | ${share(found, all)} | ${missed.filter(isNamed).length} |`,
  );
  const survivors = rows.flatMap(({ missed }) =>
    missed.map((mutant) => {
      const { kind, reason } = named.get(keyOf(mutant)) ?? { kind: mutant.status, reason: '' };
      const { file, at, line, mutatorName } = mutant;
      return `| ${file}:${at} ${code(line)} | ${mutatorName}: ${code(mutant.mutant)} | ${kind} | ${reason} |`;
    }),
  );
  return [
    '# Mutants that the unit tests find',
    '',
    `${found} of ${all}: ${share(found, all)}. Of the others ${all - found - open} have a reason, ${open} have none.`,
    `Commit ${commit}, ${cpus()[0].model}, \`node bench/mutation.mjs${how}\`.`,
    '',
    '| file | mutants | found | share | survivors with a reason |',
    '| --- | --- | --- | --- | --- |',
    ...table,
    '',
    '## Survivors',
    '',
    '| where | what the mutant has there | kind | why no test is to find it |',
    '| --- | --- | --- | --- |',
    ...survivors,
    '',
  ].join('\n');
}

/** Entries of the sources that were mutated which name no survivor: what they speak of has changed or is found. */
function staleEntries(rows, named) {
  const survivors = new Set(rows.flatMap(({ missed }) => missed.map(keyOf)));
  const files = new Set(rows.map(({ file }) => file));
  return [...named.values()].filter((entry) => files.has(entry.file) && !survivors.has(keyOf(entry)));
}

const { values } = parseOptions({
  options: { mutate: { type: 'string' }, from: { type: 'string' }, out: { type: 'string' } },
});
const read = (file) => JSON.parse(readFileSync(file, 'utf8'));
const reports = values.from ? values.from.split(',') : [runStryker(values.mutate)];
const files = Object.assign({}, ...reports.map((report) => read(report).files));
const rows = Object.keys(files)
  .sort()
  .map((file) => rowOf(file, files[file]));
const named = new Map(
  read(join(ROOT, 'bench/mutation-equivalent.json')).map((entry) => [keyOf(entry), entry]),
);

const text = markdown(rows, named, values.mutate ? ` --mutate ${values.mutate}` : '');
if (values.out) writeFileSync(values.out, text);
else console.log(text);

const stale = staleEntries(rows, named);
for (const { file, line, mutant } of stale) console.error(`names no survivor: ${file}: ${line} → ${mutant}`);
const total = (of) => rows.reduce((sum, row) => sum + of(row), 0);
const enough = total(({ found }) => found) >= LEAST_SHARE * total(({ all }) => all);
process.exitCode = enough && stale.length === 0 ? 0 : 1;
