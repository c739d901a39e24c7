// Decode over stored pictures beside raw rows of as many tokens, attention alone, one thread, in turns; a table goes to
// standard output.
// Usage: KVCAPSULE_MAX_CPU_ISA=avx2 node bench/attention-decode.mjs > attention-decode.md
// Needs cmake --build native/build --target attention_bench.
import { execFileSync } from 'node:child_process';
import { parseOptions } from './options.mjs';

parseOptions({ options: {} });

const BENCH = new URL('../native/build/bench/attention_bench', import.meta.url).pathname;
/** Enough of them that the best is a quiet one, whatever the size. */
const TOKENS_A_TURN = 60_000;

/** Pictures of a small one, of five tiles and of 17 tiles of 64 tokens with their markers; longer contexts are of those. */
const LENGTHS = [
  { tokens: 64, picture: 64, markers: 3 },
  { tokens: 320, picture: 320, markers: 15 },
  { tokens: 1088, picture: 1088, markers: 51 },
  { tokens: 4352, picture: 1088, markers: 51 },
  { tokens: 16_320, picture: 1088, markers: 51 },
];
const MIXED = { codec: 'packed', group: 64, template: 'all', bits: 4 };
const ROWS = [
  ...[1, 4, 16].map((batch) => ({
    name: 'capsule, 16 times',
    geometry: '256m',
    batch,
    ...MIXED,
    retention: 0.25,
  })),
  { name: 'capsule, 8 times', geometry: '256m', batch: 1, ...MIXED, retention: 0.5 },
  { name: 'q8', geometry: '256m', batch: 1, codec: 'q8' },
  { name: 'q4', geometry: '256m', batch: 1, codec: 'q4' },
  { name: 'capsule, 16 times', geometry: '2b', batch: 1, ...MIXED, retention: 0.25 },
  { name: 'capsule, 16 times', geometry: '7b', batch: 1, ...MIXED, retention: 0.25 },
];
const HEADS = { '256m': '3 of 64', '2b': '1 of 64', '7b': '7 of 128' };

let arithmetic = '';

function ratio({ name, ...settings }, length) {
  const { batch } = settings;
  const rounds = Math.min(200, Math.max(3, Math.round(TOKENS_A_TURN / (length.tokens * batch))));
  const options = { ...settings, ...length, rounds, turns: 3, clock: 'cpu', against: 'raw' };
  const args = Object.entries(options).map(([key, value]) => `${key}=${value}`);
  const text = execFileSync(BENCH, args, { encoding: 'utf8' });
  arithmetic = /cpu-\S+/.exec(text)?.[0] ?? '';
  const [, median, least, most] = /([\d.]+) of raw's time \[([\d.]+), ([\d.]+)\]/.exec(text);
  return `${median} [${least}, ${most}]`;
}

const table = ROWS.map((row) => {
  const cells = LENGTHS.map((length) => ratio(row, length));
  return `| ${row.name} | ${HEADS[row.geometry]} | ${row.batch} | ${cells.join(' | ')} |`;
});
console.log(`Time over that of raw f16 rows (below 1: faster), median of three turns [least, most]; ${arithmetic}.

| stored as | query heads a KV head | sequences | ${LENGTHS.map(({ tokens }) => `${tokens} tokens`).join(' | ')} |
| --- | --- | --- | ${LENGTHS.map(() => '---').join(' | ')} |
${table.join('\n')}`);
