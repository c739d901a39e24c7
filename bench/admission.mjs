// What letting a request in costs a router: CPU of this process per request, of the pure queue and of the service that
// drives it, with nobody waiting and with a full queue of 256 requests of 32 tenants.
//
// Usage: node bench/admission.mjs [--rounds 9] [--out FILE]
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { cpus, loadavg } from 'node:os';
import { join, resolve } from 'node:path';
import { parseOptions } from './options.mjs';
import { quartiles, roundedAll } from './statistics.mjs';

const ROOT = resolve(import.meta.dirname, '..');
const { values } = parseOptions({
  options: { rounds: { type: 'string', default: '9' }, out: { type: 'string' } },
});
const { AdmissionQueue, PLAIN_TERMS } = await import(join(ROOT, 'libs/domain/dist/admission/index.js'));
const { Admission } = await import(join(ROOT, 'apps/router/dist/admission/admission.service.js'));
const { Telemetry } = await import(join(ROOT, 'apps/router/dist/operations/telemetry.service.js'));

const TENANTS = 32;
const WAITING = 256;
const names = Array.from({ length: TENANTS }, (_, index) => `tenant-${index}`);
const terms = names.map((name) => ({ ...PLAIN_TERMS, name, keyHashes: [] }));
const ask = (id) => ({
  ...{ modelId: 'm', tenant: names[id % TENANTS], work: 100 + (id % 7), isCharged: false, priority: 0 },
  ...{ bytes: 100, pages: 0, arrivedMs: performance.now(), deadlineMs: Infinity },
});
const limits = { entriesPerModel: WAITING, bytes: 1e9, waitMs: 30_000 };

/** CPU of this process in µs, each. */
async function cpuOf(times, act) {
  const before = process.cpuUsage();
  await act(times);
  const { user, system } = process.cpuUsage(before);
  return (user + system) / times;
}

const queueOf = () => new AdmissionQueue(limits, new Map(terms.map((each) => [each.name, each])));

function alone(times) {
  const queue = queueOf();
  for (let id = 0; id < times; id += 1) {
    const each = ask(id);
    queue.enter(id, each, each.arrivedMs);
    queue.admitted(queue.next(each.arrivedMs), 1, each.arrivedMs);
    queue.settle(each, 50, 25);
  }
}

/** Each that gets in is followed by one that finds no room and by one that comes. */
function full(times) {
  const queue = queueOf();
  for (let id = 0; id < WAITING; id += 1) queue.enter(id, ask(id), performance.now());
  for (let id = 0; id < times; id += 1) {
    const nowMs = performance.now();
    queue.wake();
    queue.admitted(queue.next(nowMs), 1, nowMs);
    for (let next = queue.next(nowMs); next !== undefined; next = queue.next(nowMs))
      queue.blocked(next, nowMs);
    queue.enter(WAITING + id, ask(id), nowMs);
  }
}

const settings = { queueEntries: WAITING, queueBytes: 1e9, queueWaitMs: 30_000, tenants: terms };
const attempt = { run: () => Promise.resolve('won'), pagesOf: () => 1, giveBack: () => undefined };

/** Everything of a request's way but the reservation itself: account, queue, metrics, promise. */
async function service(times) {
  const admission = new Admission(settings, { routers: 1 }, { onChange: () => undefined }, new Telemetry());
  const { signal } = new AbortController();
  for (let id = 0; id < times; id += 1) {
    const ticket = admission.open({ modelId: 'm', tenant: names[id % TENANTS] }, 0);
    ticket.charge({ promptTokens: 50, maxTokens: 100, bytes: 100, pages: () => 0 });
    await ticket.enter(attempt, Infinity, signal);
    ticket.close(25);
  }
  admission.onApplicationShutdown();
}

const CASES = { 'queue, nobody waits': alone, 'service, nobody waits': service, 'queue, 256 wait': full };
const TIMES = 5_000;
const samples = Object.fromEntries(Object.keys(CASES).map((name) => [name, []]));
// the first round warms up and counts for nothing
for (let round = 0; round <= Number(values.rounds); round += 1)
  for (const [name, act] of Object.entries(CASES)) {
    const us = await cpuOf(TIMES, act);
    if (round > 0) samples[name].push(us);
    console.error(`round ${round} of ${values.rounds}, ${name}: ${us.toFixed(2)} µs`);
  }

const rows = Object.entries(samples).map(([name, all]) => {
  const { median: us, q1, q3 } = roundedAll(quartiles(all));
  return { name, us, q1, q3 };
});
console.table(rows);
const commit = execFileSync('git', ['-C', ROOT, 'rev-parse', '--short', 'HEAD']).toString().trim();
const machine = `${cpus()[0].model}, ${cpus().length} cores`;
const command = `node bench/admission.mjs --rounds ${values.rounds}`;
const result = { command, commit, machine, load: loadavg(), unit: 'µs of CPU a request', rows };
if (values.out) writeFileSync(values.out, `${JSON.stringify(result, undefined, 2)}\n`);
process.exit(0);
