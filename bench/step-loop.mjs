// Where a worker's time goes between one native step and the next while it decodes, with the next step planned ahead
// and, beside it, planned when the last one has been taken in. A real worker with its gRPC port in one process
// (registry and ledger are stubs), its client in another; the two loops alternate. Medians over steady decode steps:
//   queued    share of steps that the engine had been given before the one before them was known to have ended
//   period    from one step's result to the next one's, and its lower quartile: what others leave of the machine
//   native    inside the engine's step: page ops, forward pass, sampling
//   plan      the scheduler's plan;  complete: its taking in of the result
//   loop_cpu  CPU time of the event loop's thread, transport included
//   waiting   the engine's thread has no step: period minus native
//
// Usage: node bench/step-loop.mjs [--rounds 5] [--threads 1] [--tokens 300] [--batches 1,4,16]
import { createHash } from 'node:crypto';
import { execFileSync, fork } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { cpus, loadavg } from 'node:os';
import { join } from 'node:path';
import { WorkerServiceClient } from '@kvcapsule/contracts/worker';
import { openEngine } from '@kvcapsule/engine';
import { openModelFolder } from '@kvcapsule/model';
import { decodeImage } from '@kvcapsule/multimodal';
import { createLogger } from '@kvcapsule/platform/logging';
import { createRpcClient } from '@kvcapsule/platform/rpc';
import { createMetrics } from '@kvcapsule/platform/telemetry';
import { startWorker } from '@kvcapsule/worker-runtime';
import { PictureSender } from '../apps/router/dist/fleet/picture-sender.js';
import { parseOptions } from './options.mjs';
import { median, quantile } from './statistics.mjs';

const ROOT = join(import.meta.dirname, '..');
const MODEL_DIR = join(ROOT, 'deploy/models/emoji-vlm');

/** Steps of one case, as the engine's caller sees them. */
let steps = [];

function timedEngine(engine) {
  const step = async (plan) => {
    const begin = performance.now();
    const result = await engine.step(plan);
    const decodes = plan.tokens.length === plan.samples.length ? plan.tokens.length : 0;
    const native = 1000 * (result.forwardSeconds + result.compressSeconds);
    steps.push({ begin, end: performance.now(), decodes, native, cpu: process.threadCpuUsage() });
    return result;
  };
  return new Proxy(engine, {
    get: (target, name) => {
      if (name === 'step') return step;
      const value = target[name];
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

/** Lets the loop plan ahead or not. */
function planAhead(scheduler) {
  const plan = scheduler.plan.bind(scheduler);
  let allowed = true;
  scheduler.plan = (ahead) => (ahead && !allowed ? undefined : plan(ahead));
  return (yes) => (allowed = yes);
}

/** Adds up what a method of the scheduler takes. */
function timedMethod(object, name, total) {
  const method = object[name].bind(object);
  object[name] = (...args) => {
    const begin = performance.now();
    const result = method(...args);
    total[name] = (total[name] ?? 0) + performance.now() - begin;
    return result;
  };
}

async function serve(threads) {
  const model = await openModelFolder(MODEL_DIR);
  const options = { modelDir: MODEL_DIR, weights: 'f32', kvDtype: 'f16', threads, poolBlocks: 4096 };
  const engine = await openEngine({ ...options, maxSlots: 32, maxStepTokens: 2048 });
  const nothing = () => Promise.resolve();
  const worker = await startWorker({
    engine: timedEngine(engine),
    registry: {
      register: () => Promise.resolve({ epoch: 1 }),
      heartbeat: nothing,
      freed: nothing,
      deregister: nothing,
    },
    ledger: { commit: nothing, extend: nothing, release: nothing },
    metrics: createMetrics('worker'),
    logger: createLogger({ name: 'step-loop', level: 'silent' }),
    decodeImage: (bytes, param) => decodeImage(bytes, { param, maxPixels: 2 ** 24 }),
    imageProcessor: 'p',
    createDetokenizer: () => model.detokenizer(),
    stopTokenIds: new Set(model.eosTokenIds),
    model: { id: 'demo', revision: engine.modelRevision, precision: 'f32/f16', engineVersion: 'bench' },
    codec: 'capsule-mixed',
    profileId: '',
    config: {
      ...{ id: 'w', listen: '127.0.0.1:0' },
      ...{ poolBlocks: 4096, swapPages: 0, maxStepTokens: 2048, maxPrefillChunk: 256, maxRunning: 32 },
      encoderCacheBytes: 2 ** 26,
    },
    onReplaced: () => undefined,
  });
  const total = {};
  const setAhead = planAhead(worker.serving.scheduler);
  timedMethod(worker.serving.scheduler, 'plan', total);
  timedMethod(worker.serving.scheduler, 'complete', total);
  process.on('message', (message) => {
    if (message !== 'end') {
      setAhead(message === 'ahead');
      steps = [];
      for (const name of Object.keys(total)) total[name] = 0;
      process.send('ready');
    } else {
      process.send({ steps, total });
    }
  });
  process.send(worker.address);
}

const cpuMs = ({ user, system }) => (user + system) / 1000;

/** Medians of the steps that decode the whole batch and follow one another. */
function summary({ steps: all, total }, batch) {
  const pairs = all.slice(1).flatMap((step, index) => {
    const before = all[index];
    return step.decodes === batch && before.decodes === batch ? [{ before, step }] : [];
  });
  const of = (measure) => median(pairs.map(measure));
  const period = of(({ before, step }) => step.end - before.end);
  const native = of(({ step }) => step.native);
  return {
    steps: pairs.length,
    queued: pairs.filter(({ before, step }) => step.begin < before.end).length / pairs.length,
    period,
    period_q25: quantile(
      pairs.map(({ before, step }) => step.end - before.end),
      0.25,
    ),
    native,
    waiting: of(({ before, step }) => step.end - before.end - step.native),
    plan: total.plan / all.length,
    complete: total.complete / all.length,
    loop_cpu: of(({ before, step }) => cpuMs(step.cpu) - cpuMs(before.cpu)),
    tokens_per_second:
      (1000 * batch) /
      (pairs.reduce((sum, { before, step }) => sum + step.end - before.end, 0) / pairs.length),
  };
}

const sampling = {
  ...{ temperature: 1, topP: 1, topK: 0, minP: 0, presencePenalty: 0, frequencyPenalty: 0 },
  ...{ repetitionPenalty: 1, logitBias: [], minTokens: 0, ignoreEos: true },
};

const LOOPS = ['synchronous', 'ahead'];
/** A picture's span begins and ends with this marker. */
const MARKER = 7;

const read = (file) => readFileSync(join(MODEL_DIR, file));
const hashOf = (file) => createHash('sha256').update(read(file)).digest();

function requestOf(example, requestId, seed, maxTokens) {
  const ids = example.input_ids;
  const offset = ids.indexOf(MARKER);
  const spans = example.pictures.map((file) => ({
    ...{ offset, length: ids.lastIndexOf(MARKER) - offset + 1, param: 'p', contentSha256: hashOf(file) },
  }));
  return {
    ...{
      requestId,
      tokenIds: ids,
      pictures: spans,
      sampling: { ...sampling, seed: BigInt(seed) },
      maxTokens,
    },
    ...{ priority: 0, cacheSalt: '', kvCodec: '', stop: [], remainingMs: 0n, resumedTokenIds: [] },
  };
}

async function measure() {
  const { values } = parseOptions({
    options: {
      rounds: { type: 'string', default: '5' },
      threads: { type: 'string', default: '1' },
      tokens: { type: 'string', default: '300' },
      batches: { type: 'string', default: '1,4,16' },
    },
  });
  const worker = fork(import.meta.filename, ['worker', values.threads]);
  const [address] = await once(worker, 'message');
  const client = createRpcClient(WorkerServiceClient, address);
  const stream = client.connect();
  const endings = new Map();
  const { cases } = JSON.parse(readFileSync(join(MODEL_DIR, 'golden.json'), 'utf8'));
  const examples = { text: 'text only', picture: 'describe' };
  const files = cases.find(({ name }) => name === examples.picture).pictures.map(read);
  const pictures = new PictureSender(client, files);
  stream.on('error', () => undefined);
  stream.on('data', ({ events }) => {
    for (const { requestId, event } of events) {
      if (event.$case === 'needPicture') pictures.send(event.value);
      if (event.$case === 'failed') throw new Error(event.value.message);
      if (event.$case === 'finished') endings.get(requestId)();
    }
  });
  const batches = values.batches.split(',').map(Number);
  const rounds = [];
  let asked = 0;
  for (let round = 0; round < Number(values.rounds); round += 1) {
    for (const [kind, name] of Object.entries(examples)) {
      for (const [batch, loop] of batches.flatMap((each) => LOOPS.map((loop) => [each, loop]))) {
        worker.send(loop);
        await once(worker, 'message');
        const answers = Array.from({ length: batch }, () => {
          const id = `r${asked++}`;
          const example = cases.find((one) => one.name === name);
          const ended = new Promise((resolve) => endings.set(id, resolve));
          const generate = requestOf(example, id, asked, Number(values.tokens));
          stream.write({ message: { $case: 'generate', value: generate } });
          return ended;
        });
        await Promise.all(answers);
        worker.send('end');
        const [report] = await once(worker, 'message');
        rounds.push({ kind, batch, loop, ...summary(report, batch) });
      }
    }
  }
  const rows = Object.keys(examples).flatMap((kind) =>
    batches.flatMap((batch) =>
      LOOPS.map((loop) => {
        const same = rounds.filter((one) => one.kind === kind && one.batch === batch && one.loop === loop);
        const numbers = Object.keys(same[0]).filter((name) => !['kind', 'batch', 'loop'].includes(name));
        const medians = numbers.map((name) => [
          name,
          Number(median(same.map((one) => one[name])).toFixed(4)),
        ]);
        return { kind, batch, loop, ...Object.fromEntries(medians) };
      }),
    ),
  );
  const result = {
    command: `node bench/step-loop.mjs --rounds ${values.rounds} --threads ${values.threads} --tokens ${values.tokens}`,
    commit: execFileSync('git', ['rev-parse', 'HEAD'], { cwd: ROOT }).toString().trim(),
    machine: `${cpus()[0].model}, ${cpus().length} cores`,
    load: loadavg(),
    unit: 'ms',
    rows,
  };
  console.table(rows);
  writeFileSync(join(ROOT, 'bench/results/step-loop.json'), `${JSON.stringify(result, undefined, 2)}\n`);
  stream.end();
  client.close();
  worker.kill();
}

if (process.argv[2] === 'worker') await serve(Number(process.argv[3]));
else await measure();
