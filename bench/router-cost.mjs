// What a router costs: CPU time of its process (all threads) per request and per streamed token, beside another
// checkout's in the same run. Each side is a real router process on a Redis of its own, before a worker that speaks the
// protocol and only pretends to compute: an answer's tokens come one a step, those of all streams of a step in one
// frame. Sides alternate within every round; medians and the range over the rounds are given.
//
// Usage: node bench/router-cost.mjs [--baseline DIR] [--rounds 5] [--only small,stream] [--out FILE]
//   DIR is a checkout that has been built (its dist folders are there).
//   small      a line of text, four tokens back, streamed
//   prompt4k   about 4,000 tokens of text, all different
//   picture8k  a picture of 8 KB that was never seen, as a data URI
//   picture1m  the same with 1 MB
//   stream     64 streams of 400 tokens at once; CPU per token
//   mixed      all of the above at once; the event loop's lag as the router's own metrics tell it, less the 10 ms
//              between their samples
import { execFileSync, fork } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import { cpus, loadavg } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { crc32, deflateSync } from 'node:zlib';

const ROOT = resolve(import.meta.dirname, '..');
const MODEL = 'emoji-vlm';
/** Of the worker that pretends: between two tokens of a stream. */
const STEP_MS = 10;
const CLOCK_TICKS = Number(execFileSync('getconf', ['CLK_TCK']).toString());

const load = (root, path) => import(join(root, path));

// ---- the worker that pretends: `node router-cost.mjs worker ROOT REDIS_URL` ----

async function pretend(root, redisUrl) {
  const { WorkerServiceService, FinishReason } = await load(root, 'libs/contracts/dist/worker/index.js');
  const { createRedisClient, RedisRegistry } = await load(root, 'libs/platform/dist/redis/index.js');
  const { createRpcServer, listenRpc } = await load(root, 'libs/platform/dist/rpc/index.js');
  const { openModelFolder } = await load(root, 'libs/model/dist/index.js');
  const running = new Map();
  const server = createRpcServer();
  const unused = () => undefined;
  const finish = (request) => {
    const kv = { codec: 'capsule', bytes: 100n, rawBytes: 300n, pictures: { bytes: 40n, rawBytes: 200n } };
    const usage = {
      promptTokens: request.tokenIds.length,
      completionTokens: request.maxTokens,
      cachedTokens: 0,
      kv,
    };
    return { reason: FinishReason.FINISH_REASON_LENGTH, text: '', usage, logprobs: [] };
  };
  const step = () => {
    const frames = new Map();
    for (const [key, job] of running) {
      const events = frames.get(job.call) ?? [];
      frames.set(job.call, events);
      const say = ($case, value) =>
        events.push({ requestId: job.request.requestId, event: { $case, value } });
      if (job.made === 0) say('started', { promptTokens: job.request.tokenIds.length, cachedTokens: 0 });
      say('delta', { text: ' tok', tokenIds: [100 + (job.made % 100)], logprobs: [] });
      job.made += 1;
      if (job.made < job.request.maxTokens) continue;
      say('finished', finish(job.request));
      running.delete(key);
    }
    for (const [call, events] of frames) if (!call.destroyed) call.write({ events });
  };
  setInterval(step, STEP_MS);
  // tickets of pictures that are needed and did not come along, and what to do when one is here
  const needed = new Map();
  const isAsking = 'sendPicture' in WorkerServiceService;
  const needPictures = (call, key, { requestId, pictures }, begin) => {
    const indices = isAsking ? [...pictures.keys()].filter((index) => !pictures[index].file) : [];
    let missing = indices.length;
    if (missing === 0) begin();
    const events = indices.map((index) => {
      const ticket = `${key}/${index}`;
      needed.set(ticket, () => {
        if (--missing === 0) begin();
      });
      return { requestId, event: { $case: 'needPicture', value: { ticket, index } } };
    });
    if (events.length > 0) call.write({ events });
  };
  const sendPicture = (call, callback) => {
    call.on('data', ({ ticket }) => {
      if (ticket !== '') call.ticket = ticket;
    });
    call.on('end', () => {
      needed.get(call.ticket)?.();
      needed.delete(call.ticket);
      callback(null, {});
    });
  };
  let streams = 0;
  server.addService(WorkerServiceService, {
    ...Object.fromEntries(Object.keys(WorkerServiceService).map((name) => [name, unused])),
    ...(isAsking && { sendPicture }),
    connect: (call) => {
      const id = ++streams;
      call.on('error', () => undefined);
      call.on('data', ({ message }) => {
        if (message?.$case !== 'generate') return;
        const request = message.value;
        const key = `${id}/${request.requestId}`;
        needPictures(call, key, request, () => running.set(key, { call, request, made: 0 }));
      });
    },
  });
  const address = `127.0.0.1:${await listenRpc(server, '127.0.0.1:0')}`;
  const folder = await openModelFolder(join(ROOT, 'deploy/models', MODEL));
  const registry = new RedisRegistry(await createRedisClient(redisUrl));
  const descriptor = {
    ...{ workerId: 'w', address, modelId: MODEL, modelRevision: 'r', profileId: '', contextTokens: 8192 },
    ...{ blockTokens: 16, pagesPerBlock: 8, pageBytes: 6144, capacityPages: 8_000_000 },
    ...{ codec: 'raw', codecs: ['raw'], formats: [], precision: 'bf16/f16', arithmetic: 'pretended' },
    ...{ imageProcessor: 'p', processorRevision: folder.processorRevision ?? '' },
  };
  const free = { state: 'ready', running: 0, waiting: 0, freePages: descriptor.capacityPages };
  const { epoch } = await registry.register(descriptor, free, { instanceId: 'pretended', heldEpoch: 0 });
  setInterval(() => void registry.heartbeat('w', epoch, free).catch(() => undefined), 2_000);
  process.send('ready');
}

// ---- one side: Redis, the worker, the router ----

async function startSide(name, root) {
  const { startRedis } = await load(root, 'libs/platform/dist/redis-server/index.js');
  const redis = await startRedis();
  const worker = fork(import.meta.filename, ['worker', root, redis.url], { stdio: 'inherit' });
  await once(worker, 'message');
  const args = [
    '--port',
    '0',
    '--redis',
    redis.url,
    '--model',
    join(root, 'deploy/models', MODEL),
    '--queue-size',
    '1000',
  ];
  const router = fork(join(root, 'apps/router/dist/main.js'), args, {
    stdio: ['ignore', 'pipe', 'ignore', 'ipc'],
  });
  const [line] = await once(router.stdout, 'data');
  const { url } = JSON.parse(String(line).split('\n')[0]);
  router.stdout.resume();
  const side = {
    name,
    root,
    url: new URL(url),
    pid: router.pid,
  };
  side.stop = async () => {
    router.kill('SIGKILL');
    worker.kill('SIGKILL');
    await redis.kill();
  };
  for (let tries = 0; (await get(side, '/health/ready')).status !== 200; tries += 1) {
    if (tries > 100) throw new Error(`${name} does not get ready`);
    await new Promise((next) => setTimeout(next, 100));
  }
  return side;
}

const get = (side, path) =>
  new Promise((ok, fail) => {
    http
      .get({ host: side.url.hostname, port: side.url.port, path }, (response) => {
        let text = '';
        response
          .on('data', (part) => (text += part))
          .on('end', () => ok({ status: response.statusCode, text }));
      })
      .on('error', fail);
  });

/** CPU seconds of the process, its threads included. */
function cpuSeconds(pid) {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / CLOCK_TICKS;
}

function post(side, agent, body) {
  return new Promise((ok, fail) => {
    const headers = { 'content-type': 'application/json', 'content-length': body.length };
    const where = {
      host: side.url.hostname,
      port: side.url.port,
      path: '/v1/chat/completions',
      method: 'POST',
    };
    const request = http.request({ ...where, agent, headers }, (response) => {
      let head = '';
      response.on('data', (part) => {
        if (head.length < 300) head += part;
      });
      response.on('end', () =>
        response.statusCode === 200 ? ok() : fail(new Error(`${response.statusCode} ${head}`)),
      );
    });
    request.on('error', fail);
    request.end(body);
  });
}

// ---- what is asked ----

const WORDS =
  'bus tree lamp river stone cloud seven green under little basket window copper evening music road'.split(
    ' ',
  );
let asked = 0;
const chat = (content, maxTokens) =>
  Buffer.from(
    JSON.stringify({
      model: MODEL,
      stream: true,
      max_tokens: maxTokens,
      messages: [{ role: 'user', content }],
    }),
  );

function chunk(type, data) {
  const body = Buffer.concat([Buffer.from(type), data]);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(data.length);
  const sum = Buffer.alloc(4);
  sum.writeUInt32BE(crc32(body));
  return Buffer.concat([length, body, sum]);
}

/** A PNG of about so many bytes that nobody has seen: noise, which does not shrink. */
function noisePng(bytes) {
  const side = Math.max(8, Math.round(Math.sqrt(bytes / 3)));
  const header = Buffer.alloc(13);
  header.writeUInt32BE(side, 0);
  header.writeUInt32BE(side, 4);
  header.set([8, 2, 0, 0, 0], 8);
  const rows = randomBytes(side * (side * 3 + 1));
  for (let row = 0; row < side; row += 1) rows[row * (side * 3 + 1)] = 0;
  const signature = Buffer.from([137, 80, 78, 71, 13, 10, 26, 10]);
  const data = deflateSync(rows, { level: 0 });
  return Buffer.concat([
    signature,
    chunk('IHDR', header),
    chunk('IDAT', data),
    chunk('IEND', Buffer.alloc(0)),
  ]);
}

const pictureBody = (bytes) =>
  chat(
    [
      {
        type: 'image_url',
        image_url: { url: `data:image/png;base64,${noisePng(bytes).toString('base64')}` },
      },
      { type: 'text', text: `What is in picture ${asked++}?` },
    ],
    4,
  );

function longText() {
  let text = `${asked++}`;
  // about a token a word and one a separator in the demo's vocabulary; measured by the worker's prompt tokens
  for (let at = 0; at < 1_280; at += 1) text += ` ${WORDS[(at * 7 + asked) % WORDS.length]}`;
  return text;
}

const CASES = {
  small: { requests: 400, at: 8, body: () => chat(`hello ${asked++}`, 4) },
  prompt4k: { requests: 60, at: 4, body: () => chat(longText(), 4) },
  picture8k: { requests: 200, at: 8, body: () => pictureBody(8_000) },
  picture1m: { requests: 40, at: 4, body: () => pictureBody(1_000_000) },
  stream: { requests: 64, at: 64, tokens: 400, body: () => chat(`tell ${asked++}`, 400) },
};

async function drive(side, { requests, at, body }) {
  const bodies = Array.from({ length: requests }, body);
  // Connections of its own: those of the last case may be closed by the router while bodies are made here.
  const agent = new http.Agent({ keepAlive: true, maxSockets: 128 });
  let next = 0;
  const client = async () => {
    for (let index = next++; index < requests; index = next++) await post(side, agent, bodies[index]);
  };
  try {
    await Promise.all(Array.from({ length: at }, client));
  } finally {
    agent.destroy();
  }
}

/** CPU per request in ms, or per token in µs where a case says how many it has. */
async function measure(side, one) {
  const before = cpuSeconds(side.pid);
  await drive(side, one);
  const seconds = cpuSeconds(side.pid) - before;
  return one.tokens ? (seconds * 1e6) / (one.requests * one.tokens) : (seconds * 1e3) / one.requests;
}

/** Between two samples of Node's histogram, which counts them in: a loop that is never late has this lag. */
const SAMPLE_MS = 10;

/** The event loop's lag while everything runs at once, in ms: the router's own histogram since the last scrape. */
async function lag(side) {
  await get(side, '/metrics');
  const { small, prompt4k, picture8k, picture1m, stream } = CASES;
  await Promise.all([small, prompt4k, picture8k, picture1m, stream].map((one) => drive(side, one)));
  const { text } = await get(side, '/metrics');
  const of = (name) => 1000 * Number(new RegExp(`^${name} (\\S+)`, 'm').exec(text)?.[1] ?? NaN) - SAMPLE_MS;
  return { p99: of('nodejs_eventloop_lag_p99_seconds'), max: of('nodejs_eventloop_lag_max_seconds') };
}

const sorted = (values) => values.toSorted((a, b) => a - b);
const median = (values) => sorted(values)[Math.floor(values.length / 2)];
const spread = (values) => ({
  median: median(values),
  least: sorted(values)[0],
  most: sorted(values).at(-1),
});
const rounded = (value) => Number(value.toPrecision(4));
const roundedAll = (object) =>
  Object.fromEntries(Object.entries(object).map(([key, value]) => [key, rounded(value)]));
const commitOf = (root) =>
  execFileSync('git', ['-C', root, 'rev-parse', '--short', 'HEAD']).toString().trim();

async function main() {
  const { values } = parseArgs({
    options: {
      baseline: { type: 'string' },
      rounds: { type: 'string', default: '5' },
      only: { type: 'string', default: [...Object.keys(CASES), 'mixed'].join(',') },
      out: { type: 'string' },
    },
  });
  const names = values.only.split(',');
  const roots = { ...(values.baseline && { baseline: resolve(values.baseline) }), current: ROOT };
  for (const root of Object.values(roots))
    if (!existsSync(join(root, 'apps/router/dist/main.js'))) throw new Error(`${root} is not built`);
  const sides = await Promise.all(Object.entries(roots).map(([name, root]) => startSide(name, root)));
  const samples = {};
  const note = (name, side, value) => ((samples[name] ??= {})[side] ??= []).push(value);
  try {
    // the first round warms both up and counts for nothing
    for (let round = 0; round <= Number(values.rounds); round += 1) {
      for (const name of names) {
        for (const side of round % 2 ? sides : sides.toReversed()) {
          const value = name === 'mixed' ? await lag(side) : await measure(side, CASES[name]);
          if (round > 0) note(name, side.name, value);
        }
      }
    }
  } finally {
    await Promise.all(sides.map((side) => side.stop()));
  }
  const rows = names.map((name) => {
    const unit =
      name === 'mixed' ? 'ms lag, p99' : CASES[name].tokens ? 'µs CPU a token' : 'ms CPU a request';
    const of = (side) => samples[name][side]?.map((value) => (name === 'mixed' ? value.p99 : value));
    const [before, after] = [of('baseline'), of('current')];
    const ratio = before && spread(before.map((value, round) => value / after[round]));
    return {
      name,
      unit,
      ...(before && { baseline: roundedAll(spread(before)), ratio: roundedAll(ratio) }),
      current: roundedAll(spread(after)),
    };
  });
  const result = {
    command: `node bench/router-cost.mjs ${process.argv
      .slice(2)
      .filter((word, at, all) => word !== '--out' && all[at - 1] !== '--out')
      .join(' ')}`,
    commits: Object.fromEntries(Object.entries(roots).map(([name, root]) => [name, commitOf(root)])),
    machine: `${cpus()[0].model}, ${cpus().length} cores`,
    load: loadavg().map(rounded),
    rows,
  };
  console.table(
    rows.map(({ name, unit, baseline, current, ratio }) => ({
      name,
      unit,
      baseline: baseline?.median,
      current: current.median,
      ratio: ratio?.median,
    })),
  );
  if (values.out) writeFileSync(values.out, `${JSON.stringify(result, undefined, 2)}\n`);
}

if (process.argv[2] === 'worker') await pretend(process.argv[3], process.argv[4]);
else await main();
