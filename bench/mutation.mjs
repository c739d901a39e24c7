// Whether the unit tests can fail: runs the mutation tests of stryker.config.mjs and writes what survived.
//
// Usage: node bench/mutation.mjs [--mutate GLOB[,GLOB]] [--out FILE]
//   --mutate  only these sources; all that the configuration names by default (hours on two cores)
//   --out     Markdown with the score of each file and every survivor; printed alone by default
// Ends with status 1 when fewer than 85 % of the mutants are found.
import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

const ROOT = join(import.meta.dirname, '..');
const { values } = parseArgs({ options: { mutate: { type: 'string' }, out: { type: 'string' } } });

const only = values.mutate ? ['--mutate', values.mutate] : [];
const { status } = spawnSync(join(ROOT, 'node_modules/.bin/stryker'), ['run', ...only], {
  cwd: ROOT,
  stdio: ['ignore', 'inherit', 'inherit'],
});

const FOUND = ['Killed', 'Timeout'];
const MISSED = ['Survived', 'NoCoverage'];
const { files } = JSON.parse(readFileSync(join(ROOT, '.cache/mutation/report.json'), 'utf8'));
const rows = Object.entries(files).map(([file, { mutants, source }]) => {
  const found = mutants.filter(({ status: fate }) => FOUND.includes(fate)).length;
  const missed = mutants.filter(({ status: fate }) => MISSED.includes(fate));
  return { file, found, missed, all: found + missed.length, lines: source.split('\n') };
});
const sum = (of) => rows.reduce((total, row) => total + of(row), 0);
const share = (found, all) => (all === 0 ? '–' : `${((100 * found) / all).toFixed(1)} %`);
const code = (text) =>
  `\`${text.replaceAll('`', "'").replaceAll(/\s+/g, ' ').replaceAll('|', '\\|').slice(0, 120)}\``;

const report = [
  '# Mutants that the unit tests find',
  '',
  `${sum(({ found }) => found)} of ${sum(({ all }) => all)}: ${share(
    sum(({ found }) => found),
    sum(({ all }) => all),
  )}. Commit ${execFileSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: ROOT }).toString().trim()}, ${cpus()[0].model}, \`node bench/mutation.mjs${values.mutate ? ` --mutate ${values.mutate}` : ''}\`.`,
  '',
  '| file | mutants | found | share |',
  '| --- | --- | --- | --- |',
  ...rows.map(({ file, all, found }) => `| ${file} | ${all} | ${found} | ${share(found, all)} |`),
  '',
  '## Survivors',
  '',
  '| where | what the mutant has there | fate |',
  '| --- | --- | --- |',
  ...rows.flatMap(({ file, missed, lines }) =>
    missed.map(
      ({ location, replacement, mutatorName, status: fate }) =>
        `| ${file}:${location.start.line} ${code(lines[location.start.line - 1].trim())} | ${mutatorName}: ${code(replacement ?? '')} | ${fate} |`,
    ),
  ),
  '',
].join('\n');
if (values.out) writeFileSync(values.out, report);
else console.log(report);
process.exitCode = status === 0 ? 0 : 1;
