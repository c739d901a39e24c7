// How many conversations of four pictures a pool of fixed size serves: the default codec beside raw, in one run.
// Through the API; pictures and conversations are real requests. pressure.mjs shows a pool that is too small.
//
// Usage: node bench/capacity.mjs [--pool-mib 10] [--most 80] [--seconds 40]
//   capacity: N conversations have had their first turn; all ask again. N is served when all are answered
//     without preemption and every one finds its four pictures where it left them.
//   goodput: more conversations than a raw pool holds take turns for --seconds; answers a second.
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { ask, Cluster, ROOT } from '../e2e/dist/harness.js';
import { parseOptions } from './options.mjs';
import { pictureOf } from './pictures.mjs';
import { median } from './statistics.mjs';

const { values } = parseOptions({
  options: {
    'pool-mib': { type: 'string', default: '10' },
    most: { type: 'string', default: '80' },
    seconds: { type: 'string', default: '40' },
  },
});
const poolMib = values['pool-mib'];
/** Keys and values of a token of the demo model as raw 16-bit rows. */
const RAW_TOKEN_BYTES = 2 * 6 * 2 * 64 * 2;
const FOUR_PICTURES_TOKENS = 4 * 312;
const rawConversations = (Number(poolMib) * 2 ** 20) / RAW_TOKEN_BYTES / FOUR_PICTURES_TOKENS;

const start = (codec, pool) =>
  Cluster.start({
    // every picture's features stay: what is measured is the pool
    workerArgs: ['--pool-mib', pool, '--max-prefill-chunk', '2048', '--encoder-cache-mib', '512', ...codec],
  });
/** Requests on their way at one time; the router queues no longer than its limit. */
const CLIENTS = 6;
const CODECS = { raw: ['--codec', 'raw', '--swap-mib', '0'], default: [] };

const conversations = await Promise.all(
  Array.from({ length: Number(values.most) }, async (_, index) => ({
    first: ask(
      'Describe the image.',
      ...(await Promise.all([0, 1, 2, 3].map((n) => pictureOf(index * 4 + n)))),
    ),
  })),
);

async function turn(cluster, messages, maxTokens) {
  const response = await cluster.chat({
    model: 'emoji-vlm',
    ...{ messages, temperature: 0, max_tokens: maxTokens, ignore_eos: true },
  });
  if (response.status !== 200) throw new Error(`${response.status} ${await response.text()}`);
  const { choices, usage } = await response.json();
  return { text: choices[0].message.content, usage };
}

const opening = (cluster, { first }) => turn(cluster, [first], 4);
function again(cluster, { first }) {
  const history = [first, { role: 'assistant', content: 'bus.' }, ask('What is at A1?')];
  return turn(cluster, history, 16);
}
const preemptions = (cluster) => cluster.workerMetric(0, 'kvcapsule_worker_preemptions_total');

/** Some at one time, in the order of the list. */
async function inParallel(list, work) {
  const results = [];
  let next = 0;
  const client = async () => {
    for (let at = next++; at < list.length; at = next++) results[at] = await work(list[at]);
  };
  await Promise.all(Array.from({ length: CLIENTS }, client));
  return results;
}

/** Whether so many conversations go on from what their first turns left. */
async function serves(codec, count) {
  const cluster = await start(CODECS[codec], poolMib);
  try {
    const some = conversations.slice(0, count);
    for (const conversation of some) await opening(cluster, conversation);
    const before = await preemptions(cluster);
    const answers = await inParallel(some, (conversation) => again(cluster, conversation));
    const hits = answers.filter(
      ({ usage }) => usage.prompt_tokens_details.cached_tokens >= FOUR_PICTURES_TOKENS,
    );
    return hits.length === count && (await preemptions(cluster)) === before;
  } finally {
    await cluster.stop();
  }
}

/** The largest count that is served, by bisection. */
async function capacity(codec, low, high) {
  if (await serves(codec, high)) return high;
  while (high - low > Math.max(1, Math.floor(low / 16))) {
    const middle = Math.floor((low + high) / 2);
    if (await serves(codec, middle)) low = middle;
    else high = middle;
  }
  return low;
}

/** Answers a second while some conversations, more than raw rows have room for, take turns. */
async function goodput(codec, count) {
  const cluster = await start(CODECS[codec], poolMib);
  try {
    const some = conversations.slice(0, count);
    for (const conversation of some) await opening(cluster, conversation);
    const end = performance.now() + Number(values.seconds) * 1000;
    let answered = 0,
      next = 0;
    const client = async () => {
      while (performance.now() < end) {
        await again(cluster, some[next++ % count]);
        if (performance.now() < end) answered += 1;
      }
    };
    await Promise.all(Array.from({ length: CLIENTS }, client));
    return answered / Number(values.seconds);
  } finally {
    await cluster.stop();
  }
}

const held = Math.max(1, Math.floor(rawConversations));
const raw = await capacity('raw', 0, held);
const capsule = await capacity('default', raw, Number(values.most));
console.error({ raw, capsule });
const turns = Math.min(capsule, raw * 10);
const rates = { raw: [], default: [] };
for (let round = 0; round < 3; round += 1)
  for (const codec of ['raw', 'default']) rates[codec].push(await goodput(codec, turns));
console.error(rates);
const result = {
  command: `node bench/capacity.mjs --pool-mib ${poolMib} --most ${values.most} --seconds ${values.seconds}`,
  commit: execFileSync('git', ['rev-parse', 'HEAD'], { cwd: ROOT }).toString().trim(),
  machine: `${cpus()[0].model}, ${cpus().length} cores`,
  conversations_served: { raw, default: capsule, ratio: capsule / raw },
  goodput: {
    conversations: turns,
    answers_per_second: rates,
    ratio: median(rates.default) / median(rates.raw),
  },
};
console.log(JSON.stringify(result, undefined, 2));
writeFileSync(join(ROOT, 'bench/results/capacity.json'), `${JSON.stringify(result, undefined, 2)}\n`);
