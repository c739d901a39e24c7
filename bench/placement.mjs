// What it costs a router to place a request, and to read the registry once, beside another checkout's in the same run:
// CPU of this process over 1,000 workers (half of them full), a prompt of 4,000 tokens and four pictures. Sides
// alternate; medians with quartiles. Placing is everything from the prompt to the reservation, the ledger's answer
// aside; reading is what a router does each second, with loads that changed since the last time.
//
// Usage: node bench/placement.mjs --baseline DIR [--rounds 15] [--workers 1000] [--out FILE]
//   DIR is a checkout that has been built (its dist folders are there).
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { cpus, loadavg } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';

const ROOT = resolve(import.meta.dirname, '..');
const { values } = parseArgs({
  options: {
    baseline: { type: 'string' },
    rounds: { type: 'string', default: '15' },
    workers: { type: 'string', default: '1000' },
    out: { type: 'string' },
  },
});
if (!values.baseline) throw new Error('--baseline DIR is needed: a checkout that has been built');
const WORKERS = Number(values.workers);
const PLACEMENTS = 20;
const LISTS = 3;

/** Three codecs: capsules of five sizes of pictures each, and rows with scales for everything else. */
const formats = ['q8', 'q4', 'capsule'].flatMap((codec) => [
  {
    codec,
    tokens: 0,
    // the counts are for a checkout that chose formats by them
    ...{ profileId: '', markerRows: [], markerTokens: 0 },
    pages: 0,
    headerBytes: 64,
    bytesPerToken: codec === 'q8' ? 1_632 : 864,
  },
  ...[64, 128, 192, 256, 320].map((tokens) => ({
    ...{ codec, profileId: 'p', tokens, markerRows: [], markerTokens: 0, headerBytes: 0, bytesPerToken: 0 },
    pages: Math.ceil(tokens / 24),
  })),
]);
const load = (index) => ({
  ...{ state: 'ready', running: index % 7, waiting: index % 3 },
  freePages: index % 2 === 0 ? 4_000 + (index % 13) : 8,
});
const record = (index) => ({
  workerId: `worker-${index}`,
  address: `10.0.${index >> 8}.${index % 256}:9000`,
  ...{ epoch: 1, modelId: 'demo', modelRevision: 'f'.repeat(64), processorRevision: 'a'.repeat(64) },
  ...{ profileId: 'p', contextTokens: 8_192 },
  ...{ blockTokens: 16, pagesPerBlock: 8, pageBytes: 6_144, capacityPages: 8_192 },
  ...{ codec: 'capsule', codecs: ['raw', 'q8', 'q4', 'capsule'], formats, load: load(index) },
});
const records = Array.from({ length: WORKERS }, (_, index) => record(index));
const model = { name: 'demo', workerModelId: 'demo', preparer: { processorRevision: 'a'.repeat(64) } };
const request = { model, turns: [], principal: { tenant: '' }, cacheSalt: '' };
const prompt = {
  tokenIds: Array.from({ length: 4_000 }, (_, index) => index % 997),
  pictures: [0, 1, 2, 3].map((index) => ({
    ...{ sha256: Buffer.alloc(32), encoded: Buffer.alloc(0), param: '' },
    ...{ offset: 100 + index * 400, length: 300, imageTokens: 256 },
    markerRows: Array.from({ length: 44 }, (_, row) => row),
  })),
};
const placed = new Error('placed');
const following = { look: () => Promise.resolve(), want: () => undefined, stop: () => Promise.resolve() };
const ports = {
  registry: {
    // of a checkout that asks for all of them
    list: () => Promise.resolve(records),
    follow: (listener) => {
      listener.heard({ told: records, gone: [], freed: false });
      return Promise.resolve(following);
    },
  },
  ledger: { reserve: () => Promise.resolve(), release: () => Promise.resolve() },
  connect: () => {
    throw placed;
  },
};
const router = (root, path) => import(join(root, 'apps/router/dist', path));

/** Placing as this checkout does it. */
async function reserverOf(root) {
  const { Fleet } = await router(root, 'fleet/fleet.service.js');
  const { Placement } = await router(root, 'placement/placement.service.js');
  const { Reserver } = await router(root, 'placement/reserver.service.js');
  const { demandOf } = await router(root, 'placement/demand.js');
  const fleet = new Fleet(ports);
  await fleet.refresh();
  const policy = { placementPolicy: 'cost-aware', placementWeights: {} };
  const reserver = new Reserver(ports, fleet, new Placement(fleet, policy));
  return async () => {
    const reservation = await reserver.reserve(demandOf(request, prompt, 8_192));
    if (!reservation) throw new Error('no worker was found');
    await reserver.release(reservation);
  };
}

/** Placing as a checkout does it that places inside its generation service; sending ends before it begins. */
async function generationOf(root) {
  const { Fleet } = await router(root, 'generation/fleet.service.js');
  const { GenerationService } = await router(root, 'generation/generation.service.js');
  const fleet = new Fleet(ports);
  await fleet.refresh();
  const settings = { workerModelId: 'demo', queueEntries: 4, queueWaitMs: 1_000, requestTimeoutMs: 10_000 };
  const preparer = { contextTokens: 8_192, prepare: () => Promise.resolve(prompt) };
  const service = new GenerationService(settings, ports, fleet, preparer);
  const sink = { queued: () => undefined };
  return () =>
    service.run({ turns: [] }, sink, new AbortController().signal).catch((error) => {
      if (error !== placed) throw error;
    });
}

async function readerOf(root, url) {
  const { createRedisClient, RedisRegistry } = await import(join(root, 'libs/platform/dist/redis/index.js'));
  const client = await createRedisClient(url);
  const registry = new RedisRegistry(client);
  if (registry.list) return { registry, read: () => registry.list(), close: () => client.disconnect() };
  const tail = await registry.follow({ heard: () => undefined, missed: console.error });
  const close = () => tail.stop().then(() => client.disconnect());
  return { registry, read: () => tail.look(), close };
}

/** CPU of this process in ms, each. */
async function cpuOf(times, act) {
  const before = process.cpuUsage();
  for (let time = 0; time < times; time += 1) await act();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1_000 / times;
}

const quantile = (sorted, share) => sorted[Math.round(share * (sorted.length - 1))];
function summary(samples) {
  const sorted = samples.toSorted((a, b) => a - b);
  const [q1, median, q3] = [0.25, 0.5, 0.75].map((share) => Number(quantile(sorted, share).toFixed(3)));
  return { median, q1, q3 };
}

const { startRedis } = await import(join(ROOT, 'libs/platform/dist/redis-server/index.js'));
const redis = await startRedis();
const baseline = resolve(values.baseline);
const sides = {
  baseline: { place: await generationOf(baseline), reader: await readerOf(baseline, redis.url) },
  this: { place: await reserverOf(ROOT), reader: await readerOf(ROOT, redis.url) },
};
const samples = Object.fromEntries(Object.keys(sides).map((side) => [side, { place: [], list: [] }]));
const { registry } = sides.this.reader;
const epochs = await Promise.all(
  records.map(async (each) => (await registry.register(each, each.load)).epoch),
);

for (let round = -2; round < Number(values.rounds); round += 1) {
  for (const [side, { place, reader }] of Object.entries(sides)) {
    const placeMs = await cpuOf(PLACEMENTS, place);
    let listMs = 0;
    for (let list = 0; list < LISTS; list += 1) {
      await Promise.all(
        records.map((each, index) =>
          registry.heartbeat(
            registry.list ? each.workerId : each,
            epochs[index],
            load(index + list + round + 9),
          ),
        ),
      );
      listMs +=
        (await cpuOf(1, async () => {
          if ((await reader.read()).length !== WORKERS) throw new Error('workers are missing');
        })) / LISTS;
    }
    // the first two rounds warm up
    if (round < 0) continue;
    samples[side].place.push(placeMs);
    samples[side].list.push(listMs);
  }
}
for (const { reader } of Object.values(sides)) reader.close();
await redis.stop();

const commit = (root) => execFileSync('git', ['-C', root, 'rev-parse', '--short', 'HEAD']).toString().trim();
const result = {
  command: `node bench/placement.mjs --baseline DIR --rounds ${values.rounds}`,
  machine: { cpu: cpus()[0].model, cores: cpus().length, load: loadavg()[0], node: process.version },
  workers: WORKERS,
  commits: { baseline: commit(baseline), this: commit(ROOT) },
  cpuMs: Object.fromEntries(
    Object.entries(samples).map(([side, { place, list }]) => [
      side,
      { place: summary(place), list: summary(list) },
    ]),
  ),
};
const text = `${JSON.stringify(result, null, 2)}\n`;
process.stdout.write(text);
if (values.out) writeFileSync(values.out, text);
