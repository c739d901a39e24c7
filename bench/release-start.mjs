// From the start of a release to the first answer of the demo, where nothing is installed but Redis: in the root of
// tools/bare-root.mjs, so as root, with the archive unpacked beforehand. The time is that of this machine and whatever else
// it does; the CPU of all processes of the release until then travels.
//
// Usage: node bench/release-start.mjs [--archive FILE] [--rounds 5] [--out FILE]
import { execFileSync } from 'node:child_process';
import { globSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseOptions } from './options.mjs';
import { roundedSpread } from './statistics.mjs';

const ROOT = resolve(import.meta.dirname, '..');
const { values } = parseOptions({
  options: {
    archive: { type: 'string' },
    rounds: { type: 'string', default: '5' },
    out: { type: 'string' },
  },
});
const archive = values.archive ?? globSync(join(ROOT, 'release/*.tar.gz'))[0];
if (archive === undefined)
  throw new Error('there is no archive in release/: node tools/release.mjs makes one');

/** Ticks of Linux. */
const TICKS_A_SECOND = 100;

/** Prints how long it took until an answer had come, in milliseconds, the answer, and what each process had used by then. */
const SCRIPT = `
  began=$(date +%s%3N)
  ./kvcapsule up --port 18238 >/tmp/up.log 2>&1 &
  until ./kvcapsule ask --url http://127.0.0.1:18238 samples/bird-microscope.png "What is at D2?" >/tmp/answer 2>/dev/null
  do [ $(($(date +%s%3N) - began)) -lt 300000 ] || { cat /tmp/up.log >&2; exit 1; }; sleep 0.2; done
  echo $(($(date +%s%3N) - began))
  sed 1q /tmp/answer
  cat /proc/[1-9]*/stat 2>/dev/null
  kill -TERM $!
  wait $!`;

/** Of all but the script, which has started what asks, and the command that reads them; with their children that ended. */
function cpuSeconds(stats) {
  const ticks = stats
    .filter((line) => !/^\d+ \((sh|cat)\)/.test(line))
    .flatMap((line) =>
      line
        .replace(/^.*\) /, '')
        .split(' ')
        .slice(11, 15)
        .map(Number),
    );
  return ticks.reduce((sum, count) => sum + count, 0) / TICKS_A_SECOND;
}

const scratch = mkdtempSync(join(tmpdir(), 'kvcapsule-start-'));
const run = (...command) => execFileSync(command[0], command.slice(1), { encoding: 'utf8' });
try {
  run('tar', '-xzf', archive, '-C', scratch);
  const [folder] = readdirSync(scratch);
  const rounds = Array.from({ length: Number(values.rounds) }, () => {
    const [tookMs, answer, ...stats] = run(
      process.execPath,
      join(ROOT, 'tools/bare-root.mjs'),
      join(scratch, folder),
      SCRIPT,
    )
      .trim()
      .split('\n');
    if (!answer.startsWith('microscope')) throw new Error(`another answer: ${answer}`);
    const round = { firstAnswerMs: Number(tookMs), cpuSeconds: cpuSeconds(stats) };
    console.error(JSON.stringify(round));
    return round;
  });
  const result = {
    command: `node bench/release-start.mjs --rounds ${values.rounds}`,
    commit: run('git', '-C', ROOT, 'rev-parse', '--short', 'HEAD').trim(),
    machine: `${cpus()[0]?.model.trim() ?? 'unknown'}, ${cpus().length} cores`,
    loadAverage: loadavg().map((load) => Number(load.toFixed(1))),
    firstAnswerMs: roundedSpread(rounds.map(({ firstAnswerMs }) => firstAnswerMs)),
    cpuSeconds: roundedSpread(rounds.map(({ cpuSeconds: seconds }) => seconds)),
    rounds,
  };
  const text = `${JSON.stringify(result, undefined, 2)}\n`;
  if (values.out) writeFileSync(values.out, text);
  console.log(text);
} finally {
  rmSync(scratch, { recursive: true });
}
