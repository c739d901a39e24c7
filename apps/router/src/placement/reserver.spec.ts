import { setTimeout as sleep } from 'node:timers/promises';
import { KvcError } from '@kvcapsule/contracts/errors';
import type { WorkerView } from '@kvcapsule/domain/placement';
import { DEFAULT_PRINCIPAL } from '@kvcapsule/domain/request';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Fleet } from '../fleet/fleet.service.js';
import type { PreparedPrompt, PromptPreparer } from '../prepare/prompt-preparer.port.js';
import { MemoryPorts, workerRecord } from '../testing/memory-ports.js';
import { Telemetry } from '../operations/telemetry.service.js';
import type { Settings } from '../settings.js';
import { demandOf, type Demanding } from './demand.js';
import { LedgerGuard } from './ledger-guard.service.js';
import { Placement } from './placement.service.js';
import { Reserver } from './reserver.service.js';

let ports: MemoryPorts;
let fleet: Fleet;
let guard: LedgerGuard;
let reserver: Reserver;

/** One block of text, and one for the answer: 16 pages. */
const prompt: PreparedPrompt = { tokenIds: new Array<number>(16).fill(7), pictures: [] };
const PAGES = 16;

const preparer = { processorRevision: 'p' } as PromptPreparer;
const model = { name: 'demo-vlm', workerModelId: 'demo', preparer };
const asked = (kvCodec?: string): Demanding => ({
  ...{ model, kvCodec, turns: [], cacheSalt: '', sessionKey: undefined },
  principal: DEFAULT_PRINCIPAL,
});
const demand = (kvCodec?: string) => demandOf(asked(kvCodec), prompt, 9);
const idle = { state: 'ready', running: 0, waiting: 0, freePages: 160 } as const;

async function meet(...changes: Parameters<typeof workerRecord>[2][]): Promise<void> {
  ports.workers = changes.map((change, index) => workerRecord(`w${index}`, 'a:1', change));
  await fleet.refresh();
}

beforeEach(() => {
  ports = new MemoryPorts();
  const settings = {
    ...{ placementPolicy: 'cost-aware', placementWeights: {}, queueWaitMs: 1_000 },
  } as Settings;
  fleet = new Fleet(ports, settings);
  guard = new LedgerGuard(ports);
  reserver = new Reserver(settings, guard, fleet, new Placement(fleet, settings), new Telemetry());
});

afterEach(() => {
  guard.onApplicationShutdown();
});

/** Five requests fail there. */
function breakDown(index: number): void {
  const { record } = fleet.views()[index]!;
  for (let failures = 0; failures < 5; failures += 1)
    fleet.begin(record, false)?.failed(performance.now() + failures / 1e3, 1);
}

describe('a worker that runs two requests at one time', () => {
  const running = (requests: number) => ({ maxRunning: 2, load: { ...idle, running: requests } });

  it('gets one more ahead, and the next when one has ended', async () => {
    await meet(running(0));
    const reservations = [];
    for (let request = 0; request < 3; request += 1) reservations.push(await reserver.reserve(demand()));
    expect(reservations).not.toContain(undefined);
    expect(await reserver.reserve(demand())).toBeUndefined();
    await reserver.release(reservations[0]!);
    expect(await reserver.reserve(demand())).toBeDefined();
  });

  it('gets no more of those that the ledger is asked for at one time', async () => {
    await meet(running(0));
    const reservations = await Promise.all(Array.from({ length: 6 }, () => reserver.reserve(demand())));
    const got = reservations.filter((reservation) => reservation !== undefined);
    expect(got).toHaveLength(3);
    await Promise.all(got.map((reservation) => reserver.release(reservation)));
    expect(fleet.views()[0]).toMatchObject({ requests: 0 });
  });

  it('gets none while other routers’ requests fill it', async () => {
    await meet(running(3));
    expect(await reserver.reserve(demand())).toBeUndefined();
    await meet(running(2));
    expect(await reserver.reserve(demand())).toBeDefined();
    // the heartbeat shows that one, too
    await meet(running(2));
    expect(await reserver.reserve(demand())).toBeDefined();
    expect(await reserver.reserve(demand())).toBeUndefined();
  });
});

describe('a worker that fails again and again', () => {
  const workerOf = async (): Promise<string | undefined> => {
    const reservation = await reserver.reserve(demand());
    return reservation?.record.workerId;
  };
  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it('is left alone while another one is there, also one that is full', async () => {
    await meet({}, { load: { ...idle, freePages: PAGES } });
    breakDown(0);
    expect(fleet.breakers()).toEqual({ closed: 1, open: 1, 'half-open': 0 });
    expect(await workerOf()).toBe('w1');
    await meet({}, { load: { ...idle, freePages: 0 } });
    expect(await workerOf()).toBeUndefined();
    expect(reserver.hasOthers(demand())).toBe(true);
  });

  it('gets one request when its time is over, and others once that has come forward', async () => {
    await meet({}, { load: { ...idle, freePages: 0 } });
    breakDown(0);
    await vi.advanceTimersByTimeAsync(1_001);
    const looks = vi.fn();
    fleet.onChange(looks);
    fleet.tick();
    expect(looks).toHaveBeenCalledOnce();
    const probe = await reserver.reserve(demand());
    expect([probe?.record.workerId, probe?.trial.state]).toEqual(['w0', 'half-open']);
    expect(await workerOf()).toBeUndefined();
    probe?.trial.succeeded();
    expect(looks).toHaveBeenCalledTimes(2);
    expect(await workerOf()).toBe('w0');
  });

  it('gets another one when the first has ended without showing anything, or was never sent', async () => {
    await meet({}, { load: { ...idle, freePages: 0 } });
    breakDown(0);
    await vi.advanceTimersByTimeAsync(1_001);
    ports.refusals.push(new KvcError('NO_CAPACITY', 'full'));
    expect(await workerOf()).toBeUndefined();
    const cancelled = await reserver.reserve(demand());
    if (cancelled) await reserver.release(cancelled);
    ports.registry.follow = () => Promise.reject(new Error('not asked'));
    expect(await workerOf()).toBe('w0');
  });

  it('is asked all the same where all of them fail, or nobody else may be asked', async () => {
    await meet({}, {});
    for (const index of [0, 1]) breakDown(index);
    const reservation = await reserver.reserve(demand());
    expect(reservation?.trial.state).toBe('open');
    await meet({}, {});
    reservation?.trial.succeeded();
    expect(fleet.breakers()).toEqual({ closed: 1, open: 1, 'half-open': 0 });
    expect(await workerOf()).toBe(reservation?.record.workerId);
    const failedThere = demand();
    failedThere.failed.add(`${reservation?.record.workerId}@1`);
    expect((await reserver.reserve(failedThere))?.trial.state).toBe('open');
  });

  it('has a clean slate as another process', async () => {
    await meet({}, {});
    breakDown(0);
    await meet({ epoch: 2 }, {});
    expect([fleet.breakers(), fleet.openings]).toEqual([{ closed: 2, open: 0, 'half-open': 0 }, 1]);
  });
});

describe('reserving', () => {
  it('sets the pages aside and counts them until they are released', async () => {
    await meet({});
    const reservation = await reserver.reserve(demand());
    expect(reservation).toMatchObject({ record: { workerId: 'w0' }, pages: PAGES });
    expect([...ports.leases.values()].map(({ pages }) => pages)).toEqual([PAGES]);
    expect(fleet.views()[0]).toMatchObject({ requests: 1, ownPages: PAGES, freedPages: 0 });
    const changed = vi.fn();
    fleet.onChange(changed);
    if (reservation) await reserver.release(reservation);
    expect(ports.leases.size).toBe(0);
    expect(fleet.views()[0]).toMatchObject({ requests: 0, ownPages: 0, freedPages: PAGES });
    expect(changed).toHaveBeenCalledOnce();
  });

  it('takes no room that has to stay free, wherever it is, and counts what its own requests hold at once', async () => {
    const load = { ...idle, freePages: 48 };
    await meet({ capacityPages: 1_600, load });
    const turn = { headroom: { requests: 2, pages: PAGES }, isGuest: false };
    const first = await reserver.reserve(demand(), turn);
    expect([first?.pages, fleet.views()[0]?.roomPages]).toEqual([PAGES, 32]);
    const reserve = vi.spyOn(ports.ledger, 'reserve');
    expect(await reserver.reserve(demand(), turn)).toBeUndefined();
    expect(reserve).not.toHaveBeenCalled();
    await meet({ capacityPages: 1_600, load: { ...load, freePages: 32 } }, { capacityPages: 1_600, load });
    expect(fleet.views().map(({ roomPages }) => roomPages)).toEqual([32, 48]);
    expect(await reserver.reserve(demand(), turn)).toBeDefined();
  });

  it('counts what others hold by the last heartbeat, whatever its own requests do after it', async () => {
    await meet({ capacityPages: 160, load: { ...idle, freePages: 64 } });
    const reservation = await reserver.reserve(demand());
    expect(fleet.views()[0]?.roomPages).toBe(48);
    await meet({ capacityPages: 160, load: { ...idle, freePages: 40 } });
    expect(fleet.views()[0]?.roomPages).toBe(40);
    if (reservation) await reserver.release(reservation);
    expect(fleet.views()[0]?.roomPages).toBe(56);
  });

  it('asks the ledger for three workers at most, each once', async () => {
    await meet({}, {}, {}, {}, {});
    const reserve = vi.spyOn(ports.ledger, 'reserve');
    ports.refuseAlways(new KvcError('NO_CAPACITY', 'full'));
    expect(await reserver.reserve(demand())).toBeUndefined();
    expect(reserve).toHaveBeenCalledTimes(3);
    expect(new Set(reserve.mock.calls.map(([key]) => key.workerId)).size).toBe(3);
  });

  it('asks the next worker when the ledger refuses', async () => {
    await meet({}, {});
    ports.refusals.push(new KvcError('STALE_EPOCH', 'older'));
    expect(await reserver.reserve(demand())).toBeDefined();
  });

  it('asks nobody while the heartbeats show no room', async () => {
    await meet({ load: { ...idle, freePages: PAGES - 1 } }, { load: { ...idle, freePages: 0 } });
    const reserve = vi.spyOn(ports.ledger, 'reserve');
    expect(await reserver.reserve(demand())).toBeUndefined();
    expect(reserve).not.toHaveBeenCalled();
  });

  it('takes pages of its own that were just given back for free until heartbeats must show them', async () => {
    await meet({ load: { ...idle, freePages: PAGES } });
    const first = await reserver.reserve(demand());
    await meet({ load: { ...idle, freePages: 0 } });
    expect(await reserver.reserve(demand())).toBeUndefined();
    if (first) await reserver.release(first);
    const second = await reserver.reserve(demand());
    expect(second).toBeDefined();
    for (let second = 0; second < 3; second += 1) fleet.tick();
    expect(fleet.views()[0]).toMatchObject({ freedPages: 0 });
  });

  it('leaves nothing behind when the answer of the ledger is lost, and goes on under another lease', async () => {
    await meet({});
    ports.losesAnswers = true;
    const reserve = vi.spyOn(ports.ledger, 'reserve');
    const reservation = await reserver.reserve(demand());
    expect(reservation).toMatchObject({ provisional: true, pages: PAGES });
    expect(reserve.mock.calls[0]?.[0].leaseId).not.toBe(reservation?.key.leaseId);
    await vi.waitFor(() => {
      expect(ports.leases.size).toBe(0);
    });
  });

  it('goes to a worker that the store has forgotten only where nobody else has room', async () => {
    await meet({}, {});
    ports.refusals.push(new KvcError('NO_WORKER', 'unknown'));
    expect(await reserver.reserve(demand())).toMatchObject({ provisional: false });
    ports.refusals.push(new KvcError('NO_WORKER', 'unknown'), new KvcError('NO_CAPACITY', 'full'));
    expect(await reserver.reserve(demand())).toMatchObject({ provisional: true });
    expect(guard.isOpen).toBe(false);
  });
});

describe('a worker that had no room after all', () => {
  const full = new KvcError('NO_CAPACITY', 'full');

  it('is not asked before something has changed, and others are', async () => {
    await meet({}, {});
    ports.isAway = true;
    const request = demand();
    const first = await reserver.reserve(request);
    expect(reserver.waitsOn(request, first!, full)).toBe(true);
    await reserver.release(first!);
    const second = await reserver.reserve(request);
    expect(second?.record.workerId).not.toBe(first?.record.workerId);
    expect(reserver.waitsOn(request, second!, full)).toBe(true);
    await reserver.release(second!);
    expect(await reserver.reserve(request)).toBeUndefined();
    // for another request it may have room
    expect(await reserver.reserve(demand())).toBeDefined();
    fleet.changed();
    expect(await reserver.reserve(request)).toBeDefined();
    expect(request.failed.size).toBe(0);
  });

  it('is waited for as long as requests may wait, then the reason is given', async () => {
    await meet({});
    const request = demand();
    const reservation = await reserver.reserve(request);
    request.refusedMs = performance.now() - 1_001;
    expect(() => reserver.waitsOn(request, reservation!, full)).toThrow('within 1 s');
  });

  it('is not waited for after another error', async () => {
    await meet({});
    const request = demand();
    const reservation = await reserver.reserve(request);
    expect(reserver.waitsOn(request, reservation!, new KvcError('WORKER_LOST', 'gone'))).toBe(false);
    expect(reserver.waitsOn(request, reservation!, new Error('broken'))).toBe(false);
  });
});

describe('what a request has its worker compute', () => {
  it('is pending there until its first token comes', async () => {
    await meet({});
    const reservation = await reserver.reserve(demand());
    expect(fleet.views()[0]).toMatchObject({ pendingRequests: 1, pendingTokens: 16 });
    reservation?.work.answered(performance.now() + 160);
    expect(fleet.views()[0]).toMatchObject({ pendingRequests: 0, pendingTokens: 0, requests: 1 });
    expect(fleet.views()[0]?.msPerToken).toBeGreaterThan(5);
  });

  it('is no longer where the request has ended before', async () => {
    await meet({});
    const reservation = await reserver.reserve(demand());
    if (reservation) await reserver.release(reservation);
    expect(fleet.views()[0]).toMatchObject({ pendingRequests: 0, pendingTokens: 0, msPerToken: undefined });
  });

  it('goes on, after a fault, on a worker that computes alike', async () => {
    const [twin, other] = [{ arithmetic: 'a' }, { arithmetic: 'b' }];
    await meet(twin);
    const request = demand();
    const first = await reserver.reserve(request);
    await meet(twin, other, other, other, other, twin);
    request.failed.add('w0@1');
    if (first) await reserver.release(first);
    expect(await reserver.reserve(request)).toMatchObject({
      record: { workerId: 'w5' },
      pick: { reason: 'hardware' },
    });
  });
});

describe('workers that cannot take a request', () => {
  it.each<[string, Parameters<typeof workerRecord>[2][], string]>([
    ['nobody', [], 'No worker is ready.'],
    ['one of another model', [{ modelId: 'n' }], 'No worker is ready.'],
    [
      'two that drain and one that failed',
      [{ load: { ...idle, state: 'draining' } }, { load: { ...idle, state: 'failed' } }, { modelId: 'n' }],
      'No worker is ready: 2 not ready.',
    ],
    [
      'one that drains and one without the codec',
      [{ load: { ...idle, state: 'draining' } }, { codecs: ['raw'] }],
      'No worker is ready: 1 not ready, 1 without the codec.',
    ],
    [
      'two with another processor, of which one drains, and one that drains',
      [
        { processorRevision: 'q' },
        { processorRevision: 'q', load: { ...idle, state: 'draining' } },
        { load: { ...idle, state: 'draining' } },
      ],
      'No worker is ready: 2 with another tokenizer or template revision, 1 not ready.',
    ],
  ])('%s: NO_WORKER', async (_name, workers, message) => {
    await meet(...workers);
    await expect(reserver.reserve(demand('q8'))).rejects.toMatchObject({
      code: 'NO_WORKER',
      message,
      retryAfterMs: 2_000,
    });
  });

  it('one that has come back since the last refresh: it is found', async () => {
    await meet({ load: { ...idle, state: 'failed' } });
    ports.workers = [workerRecord('w0', 'a:2', { epoch: 2, load: idle })];
    await sleep(120);
    expect(await reserver.reserve(demand())).toMatchObject({ record: { epoch: 2, address: 'a:2' } });
  });

  it('all too small: KV_CAPACITY_EXCEEDED with both sizes', async () => {
    await meet(
      { capacityPages: 12, load: { ...idle, freePages: 12 } },
      { capacityPages: 15, load: { ...idle, freePages: 15 } },
      { load: { ...idle, state: 'draining' } },
    );
    await expect(reserver.reserve(demand())).rejects.toMatchObject({
      code: 'KV_CAPACITY_EXCEEDED',
      message: 'The prompt needs 16 KV pages; the largest worker has 15.',
      param: 'messages',
    });
  });

  it('all too small, one with smaller pages: KV_CAPACITY_EXCEEDED with the fewest', async () => {
    await meet(
      { capacityPages: 12, load: { ...idle, freePages: 12 } },
      { capacityPages: 15, pagesPerBlock: 16, load: { ...idle, freePages: 15 } },
    );
    await expect(reserver.reserve(demand())).rejects.toThrow('needs 16 KV pages');
  });

  it('one too small, another full: the request waits', async () => {
    await meet({ capacityPages: 8, load: { ...idle, freePages: 8 } }, { load: { ...idle, freePages: 0 } });
    expect(await reserver.reserve(demand())).toBeUndefined();
  });
});

describe('a request that no worker could hold', () => {
  const small = { capacityPages: 8, load: { ...idle, freePages: 8 } };

  it('is told so before it waits', async () => {
    await meet(small);
    await expect(reserver.checkFits(demand())).rejects.toMatchObject({ code: 'KV_CAPACITY_EXCEEDED' });
  });

  it('is not where a larger worker has come since the last refresh', async () => {
    await meet(small);
    ports.workers = [workerRecord('w0', 'a:1', small), workerRecord('w1', 'a:2')];
    await sleep(120);
    await expect(reserver.checkFits(demand())).resolves.toBeUndefined();
  });

  it.each<[string, Parameters<typeof workerRecord>[2][]]>([
    ['one that fits', [{}]],
    ['one that fits and is full', [small, { load: { ...idle, freePages: 0 } }]],
    ['one that drains: who reserves is told', [{ load: { ...idle, state: 'draining' } }]],
    ['nobody: who reserves is told', []],
  ])('is not before %s', async (_name, workers) => {
    await meet(...workers);
    const before = ports.looks;
    await sleep(120);
    await expect(reserver.checkFits(demand())).resolves.toBeUndefined();
    // the registry is asked only for those that are to be refused
    expect(ports.looks).toBe(before);
  });
});

describe('pages of a request', () => {
  const text = { ...{ profileId: '', tokens: 0, markerRows: [], pages: 0, headerBytes: 0 } };
  const stored = {
    formats: [
      { ...text, codec: 'q8', bytesPerToken: 200 },
      { ...text, codec: 'capsule', tokens: 30, pages: 3, bytesPerToken: 0 },
    ],
  };
  const pagesOf = (
    prompt: { tokens: number; picture?: number },
    kvCodec?: string,
    record: Parameters<typeof workerRecord>[2] = {},
    maxTokens = 9,
  ): number => {
    const { tokens, picture } = prompt;
    const spans = [{ offset: 0, length: picture ?? 0, markerRows: [] }];
    const prepared = {
      tokenIds: new Array<number>(tokens).fill(7),
      pictures: picture === undefined ? [] : spans,
    } as unknown as PreparedPrompt;
    const { pagesOn } = demandOf(asked(kvCodec), prepared, maxTokens);
    return pagesOn({ record: workerRecord('w', 'a:1', { ...stored, ...record }) } as WorkerView);
  };

  it('are those of its prompt and of the way to its second token, if it may have one', () => {
    expect([pagesOf({ tokens: 16 }, 'raw', {}, 1), pagesOf({ tokens: 16 }, 'raw')]).toEqual([8, 16]);
  });

  it('are fewer where text is stored by the codec that is named, or by the worker’s own', () => {
    const raw = pagesOf({ tokens: 256 }, 'raw');
    const named = pagesOf({ tokens: 256 }, 'q8');
    expect(named).toBeLessThan(raw);
    expect(pagesOf({ tokens: 256 }, undefined, { codec: 'q8' })).toBe(named);
    expect(pagesOf({ tokens: 256 }, 'raw', { codec: 'q8' })).toBe(raw);
  });

  it('cover the moment at which a picture is there both raw and as a capsule', () => {
    const prompt = { tokens: 80, picture: 30 };
    const [raw, capsule] = [pagesOf(prompt, 'raw'), pagesOf(prompt, 'capsule')];
    expect([raw, capsule]).not.toEqual([0, 0]);
    expect(capsule).not.toBe(raw);
    // another number of tokens has no profile: it stays raw
    const other = { tokens: 80, picture: 31 };
    expect(pagesOf(other, 'capsule')).toBe(pagesOf(other, 'raw'));
  });
});

describe('giving back', () => {
  it('never fails: who has his answer need not know that Redis is away', async () => {
    await meet({});
    const reservation = await reserver.reserve(demand());
    ports.isAway = true;
    await expect(reserver.release(reservation!)).resolves.toBeUndefined();
    expect(fleet.views()[0]).toMatchObject({ requests: 0 });
  });

  it('asks nothing of the ledger where that is sure to have set nothing aside', async () => {
    await meet({});
    const release = vi.spyOn(ports.ledger, 'release');
    for (const code of ['NO_CAPACITY', 'STALE_EPOCH'] as const) {
      ports.refusals.push(new KvcError(code, 'no'));
      expect(await reserver.reserve(demand())).toBeUndefined();
    }
    expect(release).not.toHaveBeenCalled();
  });
});

describe('others than a worker that failed', () => {
  it.each<[string, Parameters<typeof workerRecord>[2][], boolean]>([
    ['another one', [{}, {}], true],
    ['another one that is full', [{}, { load: { ...idle, freePages: 0 } }], true],
    ['nobody', [{}], false],
    ['one that drains', [{}, { load: { ...idle, state: 'draining' } }], false],
    ['one of another model', [{}, { modelId: 'n' }], false],
    ['one with other weights', [{}, { modelRevision: 's' }], true],
    ['one with another processor', [{}, { processorRevision: 'q' }], false],
    ['one without the codec', [{}, { codecs: ['raw'] }], false],
    ['one that is too small', [{}, { capacityPages: 8 }], false],
  ])('%s', async (_name, workers, expected) => {
    await meet(...workers);
    const request = demand('q8');
    request.failed.add('w0@1');
    expect(reserver.hasOthers(request)).toBe(expected);
  });
});
