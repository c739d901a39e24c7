// A whole picture answer through the API against transformers on the same weights and threads, and what
// router and transport add to the worker's own stream. Alternates the sides; prints medians, quartiles
// and ratios as JSON and writes bench/results/picture-answer.json.
//
// Usage: node bench/picture-answer.mjs [--python PYTHON] [--runs 30]
//   PYTHON needs torch, transformers and pillow; without --python only the router's share is measured.
import { execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { Agent, request } from 'node:http';
import { readFileSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { WorkerServiceClient } from '@kvcapsule/contracts/worker';
import { createRpcClient } from '@kvcapsule/platform/rpc';
import { createRedisClient, RedisLedger, RedisRegistry } from '@kvcapsule/platform/redis';
import { PictureSender } from '../apps/router/dist/fleet/picture-sender.js';
import { ask, Cluster, goldenCases, MODEL_DIR, picture, ROOT } from '../e2e/dist/harness.js';
import { parseOptions } from './options.mjs';
import { countedQuartiles } from './statistics.mjs';

const { values } = parseOptions({
  options: { python: { type: 'string' }, runs: { type: 'string', default: '30' } },
});
const runs = Number(values.runs);
const golden = goldenCases().find((one) => one.name === 'describe');
const file = join(MODEL_DIR, golden.pictures[0]);
const cluster = await Cluster.start({ workerArgs: ['--pool-mib', '64', '--threads', '2'] });

const agent = new Agent({ keepAlive: true, noDelay: true });
const body = JSON.stringify({
  model: 'emoji-vlm',
  temperature: 0,
  max_tokens: 64,
  stream: true,
  messages: [ask('Describe the image.', picture('a'))],
});

/** Streams one answer over the API; milliseconds to the first token, between tokens, and in all. */
async function overApi() {
  const started = performance.now();
  const call = request(`${cluster.url}/v1/chat/completions`, {
    method: 'POST',
    agent,
    headers: { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) },
  });
  call.end(body);
  const [response] = await once(call, 'response');
  const times = [];
  let text = '';
  for await (const chunk of response) {
    const now = performance.now();
    const found = String(chunk).matchAll(/"content":"((?:[^"\\]|\\.)*)"/g);
    const delta = [...found].map((match) => JSON.parse(`"${match[1]}"`)).join('');
    if (delta !== '') times.push(now);
    text += delta;
  }
  return timing(started, times, text);
}

function timing(started, times, text) {
  return {
    total: performance.now() - started,
    first: times[0] - started,
    between: times.length > 1 ? (times.at(-1) - times[0]) / (times.length - 1) : 0,
    text,
  };
}

const redis = await createRedisClient(cluster.store.url);
const worker = await new Promise((resolve, reject) => {
  const heard = ({ told }) => told.length > 0 && resolve(told[0]);
  void new RedisRegistry(redis).follow({ heard, missed: reject }).then((following) => following.stop());
});
const ledger = new RedisLedger(redis);
const client = createRpcClient(WorkerServiceClient, worker.address);
const connect = client.connect();
const encoded = readFileSync(file);
const pictures = new PictureSender(client, [encoded]);
const listeners = new Map();
connect.on('data', ({ events }) => {
  for (const { requestId, event } of events) {
    if (event.$case === 'needPicture') pictures.send(event.value);
    else listeners.get(requestId)?.(event);
  }
});

/** The same answer straight from the worker's stream, tokens and picture prepared beforehand. */
async function fromWorker(n) {
  const requestId = `bench-${n}`;
  const pages = 400;
  await ledger.reserve({ workerId: worker.workerId, epoch: worker.epoch, leaseId: requestId }, pages);
  const ids = golden.input_ids;
  const offset = 2;
  const length = ids.length - offset - 6;
  const times = [];
  let text = '';
  const started = performance.now();
  const done = new Promise((resolve, reject) => {
    listeners.set(requestId, (event) => {
      if (event.$case === 'delta' && event.value.text !== '') {
        times.push(performance.now());
        text += event.value.text;
      }
      if (event.$case === 'failed') reject(new Error(event.value.message));
      if (event.$case === 'finished') {
        text += event.value.text;
        resolve();
      }
    });
  });
  connect.write({
    message: {
      $case: 'generate',
      value: {
        requestId,
        lease: { leaseId: requestId, epoch: BigInt(worker.epoch), pages, provisional: false },
        tokenIds: ids,
        pictures: [
          {
            contentSha256: createHash('sha256').update(encoded).digest(),
            offset,
            length,
            param: '',
          },
        ],
        sampling: { temperature: 0, topP: 1, topK: 0, seed: 0n },
        maxTokens: 64,
        stop: [],
        remainingMs: 0n,
        resumedTokenIds: [],
      },
    },
  });
  await done;
  listeners.delete(requestId);
  return timing(started, times, text);
}

function residentMiB(pid) {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)[1]) / 1024;
}

let python, lines, versions;
if (values.python !== undefined) {
  python = spawn(
    values.python,
    [join(ROOT, 'bench/transformers_answer.py'), MODEL_DIR, file, 'Describe the image.', '2'],
    { stdio: ['pipe', 'pipe', 'inherit'] },
  );
  lines = createInterface({ input: python.stdout })[Symbol.asyncIterator]();
  versions = JSON.parse((await lines.next()).value);
}
async function withTransformers() {
  python.stdin.write('\n');
  const { seconds, first_seconds, tokens, text } = JSON.parse((await lines.next()).value);
  return {
    total: seconds * 1e3,
    first: first_seconds * 1e3,
    between: ((seconds - first_seconds) * 1e3) / (tokens - 1),
    text,
  };
}

const api = [],
  direct = [],
  peer = [];
for (let n = -3; n < runs; n++) {
  // OpenMP's threads spin for a while after torch's last operation: let them go to sleep first
  await sleep(400);
  const first = await overApi();
  await sleep(400);
  const second = await fromWorker(n);
  const sides = [first, second, python === undefined ? undefined : await withTransformers()];
  if (n < 0) {
    if (n === -3) console.error(sides.map((side) => side?.text));
    continue;
  }
  api.push(sides[0]);
  direct.push(sides[1]);
  if (sides[2] !== undefined) peer.push(sides[2]);
}
const pairs = (a, b, key, by) => countedQuartiles(a.map((one, i) => by(one[key], b[i][key])));
const result = {
  command: `node bench/picture-answer.mjs --runs ${runs}${python === undefined ? '' : ' --python PYTHON'}`,
  commit: execFileSync('git', ['rev-parse', 'HEAD'], { cwd: ROOT }).toString().trim(),
  machine: `${cpus()[0].model}, ${cpus().length} cores`,
  peer: versions,
  unit: 'ms',
  api: {
    total: countedQuartiles(api.map((x) => x.total)),
    first: countedQuartiles(api.map((x) => x.first)),
    between: countedQuartiles(api.map((x) => x.between)),
  },
  worker: {
    total: countedQuartiles(direct.map((x) => x.total)),
    first: countedQuartiles(direct.map((x) => x.first)),
    between: countedQuartiles(direct.map((x) => x.between)),
  },
  transformers:
    peer.length === 0
      ? undefined
      : {
          total: countedQuartiles(peer.map((x) => x.total)),
          first: countedQuartiles(peer.map((x) => x.first)),
          between: countedQuartiles(peer.map((x) => x.between)),
        },
  ratio_total_api_to_transformers: peer.length === 0 ? undefined : pairs(api, peer, 'total', (a, b) => a / b),
  router_adds_to_first: pairs(api, direct, 'first', (a, b) => a - b),
  router_adds_between: pairs(api, direct, 'between', (a, b) => a - b),
  resident_mib: {
    router: residentMiB(cluster.router.process.pid),
    worker: residentMiB(cluster.workers[0].process.pid),
  },
};
console.log(JSON.stringify(result, undefined, 2));
writeFileSync(join(ROOT, 'bench/results/picture-answer.json'), `${JSON.stringify(result, undefined, 2)}\n`);
connect.end();
client.close();
redis.disconnect();
agent.destroy();
if (python !== undefined) {
  python.stdin.end();
  await once(python, 'exit');
}
await cluster.stop();
