import { connectivityState } from '@grpc/grpc-js';
import type { KvcError } from '@kvcapsule/contracts/errors';
import { Generate } from '@kvcapsule/contracts/worker';
import { NO_WORK } from '@kvcapsule/domain/placement';
import { Logger } from '@nestjs/common';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Following, RegistryListener, RegistryNews } from '@kvcapsule/domain/registry';
import { FakeClient } from '../testing/fake-client.js';
import { MemoryPorts, workerRecord } from '../testing/memory-ports.js';
import { Fleet } from './fleet.service.js';
import type { Settings } from '../settings.js';
import type { LinkListener } from './worker-link.js';

let ports: MemoryPorts;
let fleet: Fleet;
let clients: FakeClient[];
const warn = vi.spyOn(Logger.prototype, 'warn');
const log = vi.spyOn(Logger.prototype, 'log');

/** Faults that its requests met. */
function listener(): LinkListener & { faults: KvcError[] } {
  const faults: KvcError[] = [];
  const nothing = () => undefined;
  const failed = (error: KvcError) => void faults.push(error);
  const heard = {
    started: nothing,
    prefilled: nothing,
    delta: nothing,
    recompressed: nothing,
    finished: nothing,
    flush: nothing,
    failed,
    lost: failed,
    faults,
  };
  return heard;
}

const record = workerRecord('w0', 'host:1');
const settings = { workerStallMs: 60_000 } as Settings;
const names = () => fleet.views().map((view) => [view.record.workerId, view.isListed]);
const reach = () => fleet.views()[0]?.reach;

/** A request on its way to the only worker. */
function ask(requestId = 'r'): ReturnType<typeof listener> {
  const heard = listener();
  fleet.link(record).generate({ message: Generate.create({ requestId }), files: [], work: NO_WORK }, heard);
  return heard;
}

/** Lets time pass in steps of a tenth of a second, with what the worker says at each. */
async function pass(ms: number, each: (passedMs: number) => void = () => undefined): Promise<void> {
  for (let passedMs = 0; passedMs < ms; passedMs += 100) {
    each(passedMs);
    await vi.advanceTimersByTimeAsync(100);
  }
}

beforeEach(async () => {
  vi.useFakeTimers();
  warn.mockClear().mockImplementation(() => undefined);
  log.mockClear().mockImplementation(() => undefined);
  ports = new MemoryPorts();
  clients = [];
  ports.connect = () => {
    clients.push(new FakeClient());
    return client().asClient;
  };
  ports.workers = [record];
  fleet = new Fleet(ports, settings);
  await fleet.onApplicationBootstrap();
});

afterEach(async () => {
  await fleet.onApplicationShutdown();
  vi.useRealTimers();
});

function client(): FakeClient {
  const newest = clients.at(-1);
  if (!newest) throw new Error('nobody has asked for a client');
  return newest;
}

describe('the list of workers', () => {
  it('is another one only when a worker comes, goes or registers again', async () => {
    const first = fleet.views();
    const isSame = () => fleet.views() === first;
    await pass(5_000);
    ports.workers = [{ ...record, load: { ...record.load, running: 3 } }];
    await fleet.refresh();
    expect([isSame(), fleet.views()[0]?.record.load.running]).toEqual([true, 3]);
    ports.workers = [{ ...record, epoch: record.epoch + 1 }];
    await fleet.refresh();
    expect([isSame(), fleet.views()]).toEqual([false, first]);
  });

  it('is waited for by a start that the registry does not answer at once', async () => {
    vi.useRealTimers();
    ports.isAway = true;
    const late = new Fleet(ports, settings);
    const starting = late.onApplicationBootstrap();
    await new Promise((resolve) => setTimeout(resolve, 250));
    expect(late.views()).toEqual([]);
    ports.isAway = false;
    await starting;
    expect(late.views().map((view) => view.record.workerId)).toEqual(['w0']);
    await late.onApplicationShutdown();
  });

  it('stands for as long as a registration takes when Redis comes back empty', async () => {
    ports.workers = [];
    await pass(5_500);
    expect(names()).toEqual([['w0', false]]);
    ports.workers = [{ ...record, epoch: 2 }];
    await pass(1_000);
    expect(names()).toEqual([['w0', true]]);
    ports.workers = [];
    await pass(8_000);
    expect(names()).toEqual([]);
  });

  it('stands however long Redis is away, and is as good for as long again when it comes back empty', async () => {
    ports.isAway = true;
    await pass(60_000);
    const fault = 'Redis does not answer in time';
    expect([names(), fleet.storeFault]).toEqual([[['w0', true]], fault]);
    ports.workers = [];
    ports.isAway = false;
    await pass(5_000);
    expect([names(), fleet.storeFault]).toEqual([[['w0', true]], undefined]);
    await pass(3_000);
    expect(names()).toEqual([]);
  });

  it('does not tell of room any more when it is older than heartbeats are, until it is told of again', async () => {
    const full = { ...record.load, running: 3, waiting: 2, freePages: 0 };
    const load = () => fleet.views()[0]?.record.load;
    ports.workers = [{ ...record, load: full }];
    await pass(2_000);
    expect(load()).toEqual(full);
    ports.isAway = true;
    const looks = vi.fn();
    fleet.onChange(looks);
    await pass(4_000);
    expect(load()).toEqual(full);
    await pass(6_000);
    expect(load()).toEqual({ state: 'ready', running: 0, waiting: 0, freePages: record.capacityPages });
    // nobody else tells requests that wait to look again
    expect(looks.mock.calls.length).toBeGreaterThan(8);
    ports.isAway = false;
    await pass(2_000);
    expect(load()).toEqual(full);
  });

  it('says once that it does not come, and once that it does again, with a count', async () => {
    ports.isAway = true;
    await pass(10_000);
    ports.isAway = false;
    await pass(2_000);
    expect(warn.mock.calls).toEqual([['Redis does not answer in time; the last list of workers stands.']]);
    expect(log.mock.calls).toEqual([['The registry answers again after 10 failures.']]);
  });
});

describe('requests that wait', () => {
  const load = (freePages: number) => ({ ...record.load, freePages });
  const beat = (freePages: number) => ({
    told: [{ ...record, load: load(freePages) }],
    ...{ gone: [], freed: false },
  });
  const nothing = { told: [], gone: [], freed: false };

  /** A fleet that hears what it is told, and how often it has let requests look. */
  async function listening() {
    let listener: RegistryListener | undefined;
    const wants = vi.fn();
    const following = { look: () => Promise.resolve(), want: wants, stop: () => Promise.resolve() };
    ports.registry.follow = (given) => {
      listener = given;
      return Promise.resolve(following as unknown as Following);
    };
    const hearing = new Fleet(ports, settings);
    await hearing.refresh();
    const looks = vi.fn();
    hearing.onChange(looks);
    const hear = (news: RegistryNews) => {
      listener?.heard(news);
      return looks.mock.calls.length;
    };
    hear(beat(0));
    looks.mockClear();
    return { hearing, hear, wants };
  }

  it('look again when pages were given back, and when a worker comes, goes or changes, at once', async () => {
    const { hear } = await listening();
    expect(hear({ ...beat(1), freed: true })).toBe(1);
    expect(hear({ ...nothing, freed: true })).toBe(2);
    expect(hear({ ...nothing, gone: ['w0'] })).toBe(3);
    expect(hear(beat(1))).toBe(4);
    expect(hear({ ...nothing, told: [{ ...record, workerId: 'w1' }] })).toBe(5);
    expect(hear({ ...nothing, told: [{ ...record, load: { ...load(1), state: 'draining' } }] })).toBe(6);
  });

  it('look again for heartbeats four times a second at most, and for each in the end', async () => {
    const { hear } = await listening();
    expect(hear(beat(1))).toBe(0);
    await pass(200);
    expect(hear(beat(2))).toBe(0);
    await pass(100);
    expect([hear(nothing), hear(nothing), hear(beat(3))]).toEqual([1, 1, 1]);
    await pass(300);
    expect([hear(nothing), hear(nothing)]).toEqual([2, 2]);
  });

  it('make the registry tell at once of pages that are given back', async () => {
    const { hearing, wants } = await listening();
    hearing.wanted();
    await pass(100);
    expect(wants).toHaveBeenCalledOnce();
  });
});

describe('a worker that is silent', () => {
  it('hangs: its requests fail within six seconds, and only an answer of the process makes it reachable', async () => {
    const heard = ask();
    client().stream.say({ steps: 1 });
    await pass(4_900);
    expect(heard.faults).toEqual([]);
    await pass(1_100);
    expect(heard.faults).toMatchObject([{ code: 'WORKER_LOST' }]);
    expect([clients.length, client().closed, client().stream.cancelled]).toEqual([1, true, true]);
    await pass(100);
    expect([clients.length, reach()]).toEqual([2, 'open']);
  });

  it('is left alone while it has no requests', async () => {
    const heard = ask();
    const { stream } = client();
    stream.say({ events: [{ requestId: 'r', event: { $case: 'failed', value: failure } }] });
    await pass(60_000);
    expect([heard.faults.length, stream.cancelled]).toEqual([1, false]);
    ask('later');
    await pass(4_000);
    expect(stream.cancelled).toBe(false);
  });
});

const failure = { code: 'DRAINING', message: 'bye', param: undefined };

describe('a worker that reports', () => {
  it('is left alone however long a prefill takes', async () => {
    const heard = ask();
    await pass(600_000, (passedMs) => {
      if (passedMs % 1_000 === 0) client().stream.say({ steps: Math.floor(passedMs / 50_000) });
    });
    expect(heard.faults).toEqual([]);
  });

  it('is left alone while heartbeats do not reach Redis', async () => {
    const heard = ask();
    ports.workers = [];
    await pass(20_000, () => client().stream.say({ steps: 1 }));
    expect([heard.faults, names()]).toEqual([[], []]);
  });

  it('hangs when its engine finishes no step for as long as it may', async () => {
    const heard = ask();
    await pass(59_000, () => client().stream.say({ steps: 7 }));
    expect(heard.faults).toEqual([]);
    await pass(3_000, () => clients[0]?.stream.say({ steps: 7 }));
    expect(heard.faults).toMatchObject([{ message: 'The worker made no progress for too long.' }]);
  });

  it('makes progress with every token it sends', async () => {
    const heard = ask();
    const delta = { text: 'a', tokenIds: [1], logprobs: [] };
    await pass(400_000, () =>
      client().stream.say({
        events: [{ requestId: 'r', event: { $case: 'delta', value: delta } }],
        steps: 7,
      }),
    );
    expect(heard.faults).toEqual([]);
  });
});

describe('a worker whose connection is lost', () => {
  const cut = () => client().stream.emit('error', new Error('14 UNAVAILABLE'));

  it('is not asked until it stands again, over one channel, with growing pauses between looks', async () => {
    const heard = ask();
    client().state = connectivityState.TRANSIENT_FAILURE;
    const look = vi.spyOn(client(), 'getChannel');
    cut();
    expect(heard.faults).toMatchObject([{ code: 'WORKER_LOST' }]);
    expect(reach()).toBe('reconnecting');
    expect(() => fleet.link(record)).toThrow('connection');
    await pass(2_900);
    expect(reach()).toBe('reconnecting');
    await pass(200);
    expect(reach()).toBe('unreachable');
    await pass(26_900);
    expect(() => fleet.link(record)).toThrow('connection');
    expect(look.mock.calls.length).toBeLessThan(20);
    const changed = vi.fn();
    client().state = connectivityState.READY;
    fleet.onChange(changed);
    await pass(2_000);
    expect(reach()).toBe('open');
    expect(changed.mock.calls.length).toBeGreaterThan(2);
    ask();
    expect([clients.length, client().streams.length]).toEqual([1, 2]);
    expect(warn.mock.calls).toEqual([['Worker w0: The connection to the worker was lost.']]);
    expect(log).toHaveBeenCalledTimes(1);
  });

  it('is not asked while its connection stands and nobody answers on it', async () => {
    ask();
    client().answers = false;
    cut();
    await pass(10_000);
    expect([reach(), fleet.answers('w0@1')]).toEqual(['unreachable', false]);
    client().answers = true;
    await pass(2_000);
    expect([reach(), fleet.answers('w0@1'), fleet.answers('w0@2')]).toEqual(['open', true, false]);
  });

  it('waits longer each time when it takes connections and drops them, and says so once', async () => {
    let cuts = 0;
    await pass(20_000, () => {
      if (reach() !== 'open') return;
      ask();
      cut();
      cuts += 1;
    });
    expect(cuts).toBeGreaterThan(8);
    expect(cuts).toBeLessThan(20);
    expect(warn).toHaveBeenCalledTimes(1);
    while (reach() !== 'open') await pass(100);
    ask();
    client().stream.say({ steps: 1 });
    cut();
    await pass(200);
    expect(reach()).toBe('open');
  });

  it('gets another channel with another address, and none is left open', async () => {
    const heard = ask();
    ports.workers = [{ ...record, address: 'host:2', epoch: 2 }];
    await pass(1_000);
    expect(heard.faults).toMatchObject([{ message: 'The worker was replaced by a newer one.' }]);
    fleet.link(record);
    expect(clients.map(({ closed }) => closed)).toEqual([true, false]);
    ports.workers = [];
    await pass(12_000);
    expect(clients.map(({ closed }) => closed)).toEqual([true, true]);
    expect(() => fleet.link(record)).toThrow('gone');
    await pass(10_000);
    // the fleet's own, and the one that reads the list
    expect(vi.getTimerCount()).toBe(2);
  });
});
