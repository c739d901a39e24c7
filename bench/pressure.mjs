// What a pool that is too small does to requests: as many conversations at once as need `--times` the pool as raw
// rows, with one to four pictures, a first answer of `--answer` to three times as many tokens and a second turn. The
// sides run the same requests in the same pool, in turns; every answer is compared with that of a pool that is never
// short, and that one with an answer that found nothing in a cache.
//
// Usage: node bench/pressure.mjs [--pool-mib 24] [--times 4] [--answer 400] [--rounds 3]
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { ask, Cluster, ROOT } from '../e2e/dist/harness.js';
import { parseOptions } from './options.mjs';
import { pictureOf } from './pictures.mjs';

const { values } = parseOptions({
  options: {
    'pool-mib': { type: 'string', default: '24' },
    times: { type: 'string', default: '4' },
    answer: { type: 'string', default: '400' },
    rounds: { type: 'string', default: '3' },
  },
});
const poolMib = values['pool-mib'];
/** Keys and values of a token of the demo model as raw 16-bit rows. */
const RAW_TOKEN_BYTES = 2 * 6 * 2 * 64 * 2;
const PICTURE_TOKENS = 312;
const POOL_TOKENS = (Number(poolMib) * 2 ** 20) / RAW_TOKEN_BYTES;

/** What a worker is started with, and whether a request names raw: then its pictures are never compressed. */
const SIDES = {
  raw: { worker: ['--codec', 'raw', '--swap-mib', '0'], kvCodec: 'raw', reference: 'raw' },
  'raw, recompressed': {
    worker: ['--codec', 'raw', '--swap-mib', '0', '--text-under-pressure', 'q8'],
    reference: 'raw',
  },
  'default, no swap': { worker: ['--swap-mib', '0', '--text-under-pressure', 'q8'], reference: 'default' },
  default: { worker: [], reference: 'default' },
};
const REFERENCES = {
  raw: { worker: ['--codec', 'raw'], kvCodec: 'raw' },
  default: { worker: [] },
};

const conversations = [];
let needed = 0;
while (needed < POOL_TOKENS * Number(values.times)) {
  const index = conversations.length;
  const count = 1 + (index % 4);
  const pictures = await Promise.all(Array.from({ length: count }, (_, n) => pictureOf(index * 4 + n)));
  const firstTokens = (Number(values.answer) * (2 + ((index * 3) % 5))) / 2;
  conversations.push({ index, first: ask('Describe the image.', ...pictures), firstTokens });
  needed += count * PICTURE_TOKENS + firstTokens;
}

async function turn(cluster, messages, maxTokens, more) {
  for (;;) {
    const response = await cluster.chat({
      model: 'emoji-vlm',
      ...{ messages, temperature: 0, max_tokens: maxTokens, ignore_eos: true, logprobs: true, ...more },
    });
    const body = await response.json();
    // the router's queue refuses who has waited for half a minute, and asks to come again
    if (response.status === 503 || response.status === 429) continue;
    if (response.status !== 200) throw new Error(`${response.status} ${JSON.stringify(body)}`);
    return { ...body.choices[0], usage: body.usage };
  }
}

/** Both turns; the second one goes on from what the first one left, where that is still there. */
async function converse(cluster, { first, firstTokens }, more) {
  const one = await turn(cluster, [first], firstTokens, more);
  const history = [first, { role: 'assistant', content: 'bus.' }, ask('What is at A1?')];
  return [one, await turn(cluster, history, 64, more)];
}

const COUNTERS = {
  preemptions: 'kvcapsule_worker_preemptions_total',
  recomputed_tokens: 'kvcapsule_worker_recomputed_tokens_total',
  swaps_out: 'kvcapsule_worker_swaps_total{direction="out"}',
  recompressions: 'kvcapsule_worker_recompressions_total',
  text_recompressions: 'kvcapsule_worker_text_recompressions_total',
  evicted_pages: 'kvcapsule_worker_evicted_pages_total',
  cached_tokens: 'kvcapsule_worker_prefix_cache_tokens_total{outcome="hit"}',
  worker_cpu_seconds: 'process_cpu_seconds_total',
};

/** All conversations at once on a worker of their own. */
async function crowd(worker, pool, more) {
  const cluster = await Cluster.start({
    // every picture's features stay: what is measured is the pool
    workerArgs: ['--pool-mib', pool, '--encoder-cache-mib', '512', ...worker],
  });
  try {
    const start = performance.now();
    const answers = await Promise.all(
      conversations.map((conversation) => converse(cluster, conversation, more(conversation))),
    );
    const seconds = (performance.now() - start) / 1000;
    const counted = {};
    for (const [name, metric] of Object.entries(COUNTERS))
      counted[name] = await cluster.workerMetric(0, metric);
    return { answers, seconds, counted };
  } finally {
    await cluster.stop();
  }
}

const named = (kvCodec) => (kvCodec ? { kv_codec: kvCodec } : {});
/** Tokens and their log-probabilities, to the last bit. */
const contentOf = ({ logprobs }) =>
  JSON.stringify(logprobs.content.map(({ token, logprob }) => [token, logprob]));
const equal = (answers, expected) =>
  answers.flat().filter((answer, at) => contentOf(answer) === contentOf(expected.flat()[at])).length;

const references = {};
for (const [name, { worker, kvCodec }] of Object.entries(REFERENCES)) {
  const large = await crowd(worker, '512', () => named(kvCodec));
  const cold = await crowd(worker, '512', ({ index }) => ({ ...named(kvCodec), cache_salt: `${index}` }));
  references[name] = { ...large, salted: equal(cold.answers, large.answers) };
  console.error(name, large.counted, references[name].salted);
}

const rounds = Object.fromEntries(Object.keys(SIDES).map((side) => [side, []]));
for (let round = 1; round <= Number(values.rounds); round += 1) {
  for (const [side, { worker, kvCodec, reference }] of Object.entries(SIDES)) {
    const { answers, seconds, counted } = await crowd(worker, poolMib, () => named(kvCodec));
    const same = equal(answers, references[reference].answers);
    rounds[side].push({ ...counted, seconds, answers_as_in_a_large_pool: same });
    console.error(side, rounds[side].at(-1));
  }
  report(round);
}

/** Writes what is known after so many whole rounds: a run that ends early has its numbers. */
function report(done) {
  const { times, answer } = values;
  const sum = (side, counter) => rounds[side].reduce((total, one) => total + one[counter], 0);
  const bySide = (of) => Object.fromEntries(Object.keys(SIDES).map((side) => [side, of(side)]));
  const result = {
    command: `node bench/pressure.mjs --pool-mib ${poolMib} --times ${times} --answer ${answer} --rounds ${done}`,
    commit: execFileSync('git', ['rev-parse', 'HEAD'], { cwd: ROOT }).toString().trim(),
    machine: `${cpus()[0].model}, ${cpus().length} cores`,
    conversations: conversations.length,
    answers: conversations.length * 2,
    raw_tokens_needed: needed,
    pool_tokens: Math.floor(POOL_TOKENS),
    large_pool: Object.fromEntries(
      Object.entries(references).map(([name, { counted, seconds, salted }]) => [
        name,
        { ...counted, seconds, answers_as_without_a_cache: salted },
      ]),
    ),
    rounds,
    preemptions: bySide((side) => sum(side, 'preemptions')),
    /** null: none at all. */
    times_fewer_preemptions_than_raw: bySide((side) =>
      sum(side, 'preemptions') > 0 ? sum('raw', 'preemptions') / sum(side, 'preemptions') : null,
    ),
  };
  writeFileSync(
    join(ROOT, `bench/results/pressure-${answer}.json`),
    `${JSON.stringify(result, undefined, 2)}\n`,
  );
}
