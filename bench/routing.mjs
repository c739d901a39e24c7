// What routing is worth: the same conversations about pictures over several workers, by this router's policies in turns
// and, where it is asked for, by vllm-router before as many vLLM servers. All get the same requests in the same order
// from as many clients; a side's pictures are new to it in each round.
//
// Usage: node bench/routing.mjs [--workers 2] [--rounds 3] [--clients 6] [--conversations 24] [--turns 4]
//          [--pictures 12] [--pool-mib 24] [--policies cost-aware,least-loaded,round-robin,random]
//          [--vllm VENV] [--router-cache DIR] [--model DIR] [--picture WxH] [--answer-tokens 16] [--out FILE]
//   conversations begin with one of the pictures, popular ones more often (Zipf, 1), and ask about it again in each turn
//   with all that was said before; a client goes on with one until it is over, so that other clients' requests come
//   between its turns
//   VENV is a Python environment with vLLM on its CPU backend, DIR of --router-cache holds vllm-router's environment
//   (bench/router-beside.mjs --install makes it); each vLLM server and each worker has one thread
// Told of each side: pictures that were encoded (ours; beside how many there are), prompt tokens found in caches, time to
// the first token, answers a second. What is not a whole answer fails the side for that round, and a side that does not
// start is named beside the others; --out is written after each round.
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { cpus, loadavg } from 'node:os';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { Cluster, MODEL_DIR, ROOT } from '../e2e/dist/harness.js';
import { SeededRandom } from '../libs/testing/dist/scenes/index.js';
import { parseOptions } from './options.mjs';
import { startPeer } from './router/peers.mjs';
import { ask } from './serving/client.mjs';
import { chatOf, scenesOf, sizeOf } from './serving/loads.mjs';
import { cpuSecondsOf, signalTree } from './serving/process-tree.mjs';
import { startVllm } from './serving/servers.mjs';
import { quantile, roundedSpread, roundedTo } from './statistics.mjs';

const { values } = parseOptions({
  options: {
    workers: { type: 'string', default: '2' },
    rounds: { type: 'string', default: '3' },
    clients: { type: 'string', default: '6' },
    conversations: { type: 'string', default: '24' },
    turns: { type: 'string', default: '4' },
    pictures: { type: 'string', default: '12' },
    'pool-mib': { type: 'string', default: '24' },
    policies: { type: 'string', default: 'cost-aware,least-loaded,round-robin,random' },
    vllm: { type: 'string' },
    'router-cache': { type: 'string', default: join(ROOT, '.cache/peers') },
    model: { type: 'string', default: MODEL_DIR },
    picture: { type: 'string' },
    'answer-tokens': { type: 'string', default: '16' },
    out: { type: 'string' },
  },
});
const [WORKERS, ROUNDS, CLIENTS, CONVERSATIONS, TURNS, PICTURES] = [
  ...['workers', 'rounds', 'clients', 'conversations', 'turns', 'pictures'].map((name) =>
    Number(values[name]),
  ),
];
const SERVED = basename(values.model);
const ANSWER_TOKENS = Number(values['answer-tokens']);
/** Threads of a peer spin on for a while after a request. */
const PAUSE_MS = 1_500;
const FEATURES = 'kvcapsule_worker_picture_encode_seconds_count';

async function startOurs(policy) {
  const cluster = await Cluster.start({
    ...{ workers: WORKERS, model: values.model, startLimitMs: 600_000 },
    workerArgs: ['--pool-mib', values['pool-mib'], '--threads', '1'],
    routerArgs: ['--placement-policy', policy, '--served-model-name', SERVED],
  });
  const encoded = async () => {
    const counts = await Promise.all(
      cluster.workers.map((_, index) => cluster.workerMetric(index, FEATURES)),
    );
    return counts.reduce((sum, count) => sum + count, 0);
  };
  const pids = [cluster.router, ...cluster.workers].map(({ process: part }) => part.pid);
  return {
    ...{ name: `kvcapsule, ${policy}`, url: cluster.url, pids, encoded, stop: () => cluster.stop() },
    ...{ holdStill: () => undefined, resume: () => Promise.resolve() },
  };
}

async function startPeers() {
  const common = { model: values.model, served: SERVED, dtype: 'bfloat16', poolMib: 1_024, threads: 1 };
  const servers = [];
  const stopServers = () => Promise.all(servers.map((server) => server.stop()));
  let router;
  try {
    while (servers.length < WORKERS) servers.push(await startVllm({ ...common, venv: values.vllm }));
    const backends = servers.map(({ url }) => Number(new URL(url).port));
    router = await startPeer('vllm-router', { cache: values['router-cache'], backends, model: SERVED });
  } catch (error) {
    await stopServers();
    throw error;
  }
  const pids = [router.pid, ...servers.flatMap((server) => server.pids())];
  return {
    ...{ name: 'vllm-router cache_aware, vLLM', url: router.url.origin, pids },
    encoded: () => Promise.resolve(NaN),
    holdStill: () => signalTree(pids, 'SIGSTOP'),
    resume: async () => {
      signalTree(pids, 'SIGCONT');
      await Promise.all(servers.map((server) => server.resume()));
    },
    stop: async () => {
      router.stop();
      await stopServers();
    },
  };
}

/** Which picture each conversation of a round is about: the k-th is drawn as often as 1/k. */
function subjects(round) {
  const random = new SeededRandom(round);
  const weights = Array.from({ length: PICTURES }, (_, rank) => 1 / (rank + 1));
  const all = weights.reduce((sum, weight) => sum + weight, 0);
  return Array.from({ length: CONVERSATIONS }, () => {
    let at = random.next() * all;
    const rank = weights.findIndex((weight) => (at -= weight) < 0);
    return rank < 0 ? PICTURES - 1 : rank;
  });
}

/** One conversation to its end; what was measured of each turn. */
async function converse(url, scene, number) {
  const body = chatOf(SERVED)(`${scene.questions[0].ask} (${number})`, ANSWER_TOKENS, scene, true);
  const turns = [];
  for (let turn = 0; turn < TURNS; turn += 1) {
    const { began, times, text, promptTokens, cachedTokens } = await ask(url, body);
    turns.push({ turn, first: times[0] - began, promptTokens, cachedTokens });
    const question = scene.questions[(turn + 1) % scene.questions.length].ask;
    body.messages.push({ role: 'assistant', content: text }, { role: 'user', content: question });
  }
  return turns;
}

/** All conversations of a round over one side. */
async function drive({ url }, scenes, about) {
  const turns = [];
  let next = 0;
  const client = async () => {
    for (let at = next++; at < about.length; at = next++)
      turns.push(...(await converse(url, scenes[about[at]], at)));
  };
  await Promise.all(Array.from({ length: CLIENTS }, client));
  return turns;
}

const sum = (list) => list.reduce((total, value) => total + value, 0);

async function measure(side, scenes, about) {
  await side.resume();
  await sleep(PAUSE_MS);
  const [encoded, cpu] = [await side.encoded(), cpuSecondsOf(side.pids)];
  const began = performance.now();
  try {
    const turns = await drive(side, scenes, about);
    const seconds = (performance.now() - began) / 1_000;
    const later = turns.filter(({ turn }) => turn > 0);
    return {
      encoded: (await side.encoded()) - encoded,
      cached: sum(turns.map((turn) => turn.cachedTokens)) / sum(turns.map((turn) => turn.promptTokens)),
      firstMs: quantile(
        turns.map(({ first }) => first),
        0.5,
      ),
      firstP90Ms: quantile(
        turns.map(({ first }) => first),
        0.9,
      ),
      laterMs: quantile(
        later.map(({ first }) => first),
        0.5,
      ),
      perSecond: turns.length / seconds,
      cpu: cpuSecondsOf(side.pids) - cpu,
    };
  } catch (error) {
    return { failed: error.message };
  } finally {
    side.holdStill();
  }
}

const rounded = roundedTo(3);
/** Median, least and most over the rounds. */
function spread(list) {
  const over = roundedSpread(list, rounded);
  return over && [over.median, over.least, over.most];
}

const MEASURES = ['encoded', 'cached', 'firstMs', 'firstP90Ms', 'laterMs', 'perSecond', 'cpu'];

function resultOf(rounds, notStarted) {
  const [ours] = Object.keys(rounds[0].sides);
  const names = Object.keys(rounds[0].sides);
  const sides = names.map((name) => {
    const of = (measure) => rounds.map(({ sides }) => sides[name]?.[measure] ?? NaN);
    const ratio = (measure) =>
      of(measure).map((value, i) => value / (rounds[i].sides[ours]?.[measure] ?? NaN));
    return {
      name,
      ...Object.fromEntries(MEASURES.map((measure) => [measure, spread(of(measure))])),
      over_first: Object.fromEntries(MEASURES.map((measure) => [measure, spread(ratio(measure))])),
      failed: rounds.flatMap(({ sides }) => sides[name]?.failed ?? []),
    };
  });
  return {
    command: ['node bench/routing.mjs', ...commandLine()].join(' '),
    commit: execFileSync('git', ['-C', ROOT, 'rev-parse', '--short', 'HEAD']).toString().trim(),
    machine: `${cpus()[0].model}, ${cpus().length} cores`,
    load: loadavg().map(rounded),
    pictures: spread(rounds.map(({ pictures }) => pictures)),
    notStarted,
    sides,
  };
}

/** The command as it was given, folders of this machine left out. */
function commandLine() {
  const folders = { vllm: 'VENV', 'router-cache': 'DIR', model: 'DIR', out: 'FILE' };
  const { tokens } = parseArgs({ args: process.argv.slice(2), strict: false, tokens: true });
  return tokens
    .filter(({ kind }) => kind === 'option')
    .map(({ name }) => `--${name} ${folders[name] ?? values[name]}`);
}

const sides = [];
const stopAll = () => Promise.all(sides.splice(0).map((side) => side.stop()));
for (const signal of ['SIGINT', 'SIGTERM'])
  process.once(signal, () => void stopAll().finally(() => process.exit(1)));
try {
  const notStarted = [];
  const starts = values.policies.split(',').map((policy) => () => startOurs(policy));
  for (const start of [...starts, ...(values.vllm ? [startPeers] : [])]) {
    try {
      sides.push(await start());
    } catch (error) {
      notStarted.push(error.message);
      console.error(error.message);
    }
  }
  for (const side of sides) side.holdStill();
  const rounds = [];
  for (let round = 0; round <= ROUNDS; round += 1) {
    const scenes = await scenesOf(round, PICTURES, sizeOf(values.picture));
    const about = subjects(round);
    const byName = {};
    for (let turn = 0; turn < sides.length; turn += 1) {
      const side = sides[(turn + round) % sides.length];
      byName[side.name] = await measure(side, scenes, about);
      console.error(`round ${round}, ${side.name}: ${JSON.stringify(byName[side.name])}`);
    }
    // the first one warms up
    if (round === 0) continue;
    const inOrder = Object.fromEntries(sides.map(({ name }) => [name, byName[name]]));
    rounds.push({ pictures: new Set(about).size, sides: inOrder });
    if (values.out)
      writeFileSync(values.out, `${JSON.stringify(resultOf(rounds, notStarted), undefined, 2)}\n`);
  }
  console.log(JSON.stringify(resultOf(rounds, notStarted), undefined, 2));
} finally {
  await stopAll();
}
