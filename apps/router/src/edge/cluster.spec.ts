import { createHash } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  ClusterDelta,
  ClusterFormats,
  ClusterPages,
  ClusterRequestDetail,
  ClusterSnapshot,
  type ClusterWorker,
} from '@kvcapsule/contracts/cluster';
import { PageKind } from '@kvcapsule/contracts/worker';
import { PLAIN_TERMS } from '@kvcapsule/domain/admission';
import { afterEach, describe, expect, it } from 'vitest';
import { endless, silent } from '../testing/fake-worker.js';
import { Harness, until } from '../testing/harness.js';
import { workerRecord } from '../testing/memory-ports.js';

let router: Harness;
afterEach(() => router.stop());

const POOL = {
  rawPages: 8,
  capsulePages: 24,
  cachedPages: 16,
  swappedPages: 2,
  rawBytes: 90_000,
  drawnTokens: 7,
};
const LOAD = { state: 'ready', running: 1, waiting: 2, freePages: 120, pool: POOL } as const;

async function get<T>(path: string, key = ''): Promise<T> {
  const headers = key === '' ? {} : { authorization: `Bearer ${key}` };
  const response = await fetch(`${router.url}${path}`, { headers });
  return (await response.json()) as T;
}

const snapshot = async (key?: string) => ClusterSnapshot.parse(await get('/v1/cluster', key));

/** Reads events as they come. */
class Events {
  readonly events: { readonly event: string; readonly data: unknown }[] = [];
  #text = '';

  constructor(private readonly body: ReadableStream<Uint8Array>) {
    void this.#read();
  }

  static async open(key = ''): Promise<Events> {
    const headers = key === '' ? {} : { authorization: `Bearer ${key}` };
    const { body } = await fetch(`${router.url}/v1/cluster/events`, { headers });
    if (!body) throw new Error('no body');
    return new Events(body);
  }

  ended = false;

  deltas(): ClusterDelta[] {
    return this.events.filter(({ event }) => event === 'delta').map(({ data }) => ClusterDelta.parse(data));
  }

  async #read(): Promise<void> {
    for await (const piece of this.body.pipeThrough(new TextDecoderStream())) {
      const parts = (this.#text + piece).split('\n\n');
      this.#text = parts.pop() ?? '';
      for (const part of parts) {
        const [, event = '', data = ''] = /^event: (.*)\ndata: (.*)$/s.exec(part) ?? [];
        if (event !== '') this.events.push({ event, data: JSON.parse(data) });
      }
    }
    this.ended = true;
  }
}

describe('the cluster', () => {
  it('is told with its workers, what their pools hold, and the sums of it', async () => {
    router = await new Harness().start({}, 2);
    const [first, second] = router.ports.workers as [
      ReturnType<typeof workerRecord>,
      ReturnType<typeof workerRecord>,
    ];
    router.ports.workers = [{ ...first, load: LOAD }, second];
    await router.fleet.refresh();
    const { workers, totals, router: self } = await snapshot();
    expect(workers[0]).toMatchObject({
      ...{ id: 'w0', model: 'demo', state: 'ready', breaker: 'closed', running: 1, waiting: 2, pages: 160 },
      ...{ address: router.worker.address, leased_pages: 40, page_bytes: 1_024 },
      held: {
        raw: 8,
        capsule: 24,
        cached: 16,
        free: 112,
        swapped: 2,
        stored_bytes: 48 * 1_024,
        raw_bytes: 90_000,
      },
    });
    expect(workers[1]).toMatchObject({ id: 'w1', held: null, leased_pages: 0 });
    expect(totals).toMatchObject({
      workers: { ready: 2, draining: 0, failed: 0, stalled: 0, away: 0 },
      ...{ running: 1, waiting: 2, queued: 0, pages: 320, saved_bytes: 90_000 - 48 * 1_024 },
    });
    expect(self).toMatchObject({ draining: false, routers: 1, store_answers: true });
  });

  it('tells of a worker that drains, and of one whose process has gone', async () => {
    router = await new Harness().start({}, 2);
    const [first, second] = router.ports.workers as [
      ReturnType<typeof workerRecord>,
      ReturnType<typeof workerRecord>,
    ];
    router.ports.workers = [{ ...first, load: { ...LOAD, state: 'draining' } }];
    await router.fleet.refresh();
    expect((await snapshot()).workers.map(({ id, state }) => [id, state])).toEqual([
      ['w0', 'draining'],
      [second.workerId, 'away'],
    ]);
  });

  it('says what each page of a pool holds', async () => {
    router = await new Harness().start();
    const {
      PAGE_KIND_FREE: free,
      PAGE_KIND_RAW: raw,
      PAGE_KIND_CAPSULE: capsule,
      PAGE_KIND_CACHED: cached,
    } = PageKind;
    router.worker.pool = { kinds: [raw, capsule, cached, free], pages: [8, 5, 3, 144] };
    expect(ClusterPages.parse(await get('/v1/cluster/workers/w0/pages'))).toEqual({
      ...{ object: 'cluster.pages', worker: 'w0', page_bytes: 1_024, pages_per_block: 8, pages: 160 },
      runs: [
        ['raw', 8],
        ['capsule', 5],
        ['cached', 3],
        ['free', 144],
      ],
    });
    expect(await get('/v1/cluster/workers/w9/pages')).toMatchObject({ error: { code: 'not_found' } });
    router.worker.kill();
    expect(await get('/v1/cluster/workers/w0/pages')).toMatchObject({ error: { code: 'worker_lost' } });
  });

  it('says what codecs keep of each layer', async () => {
    router = await new Harness().start();
    const keys = { bytes: 7_000n, rawBytes: 79_872n, keptEnergy: 0.875 };
    const values = { bytes: 3_000n, rawBytes: 79_872n };
    const common = { tokens: 312, coversMarkers: true, headerBytes: 160n };
    router.worker.formats = [
      { ...common, codec: 'capsule-mixed', profileId: 'p', varies: true, layers: [{ keys, values }] },
      { ...common, codec: 'q8', profileId: '', varies: false, layers: [] },
    ];
    const { formats, ...rest } = ClusterFormats.parse(await get('/v1/cluster/workers/w0/formats'));
    expect(rest).toEqual({ object: 'cluster.formats', worker: 'w0' });
    expect(formats).toEqual([
      {
        ...{ codec: 'capsule-mixed', profile: 'p', tokens: 312, covers_markers: true, header_bytes: 160 },
        varies: true,
        layers: [
          {
            keys: { bytes: 7_000, raw_bytes: 79_872, kept_energy: 0.875 },
            values: { bytes: 3_000, raw_bytes: 79_872, kept_energy: null },
          },
        ],
      },
      {
        ...{ codec: 'q8', profile: null, tokens: 312, covers_markers: true, header_bytes: 160 },
        ...{ varies: false, layers: [] },
      },
    ]);
    expect(await get('/v1/cluster/workers/w9/formats')).toMatchObject({ error: { code: 'not_found' } });
    router.worker.kill();
    expect(await get('/v1/cluster/workers/w0/formats')).toMatchObject({ error: { code: 'worker_lost' } });
  });

  it('tells where its requests are, what they hold and why their workers had them', async () => {
    router = await new Harness().start({ queueWaitMs: 20_000 });
    router.worker.script = silent;
    const gone = new AbortController();
    const headers = { 'content-type': 'application/json', 'x-request-id': 'first' };
    const asked = router
      .chat('hello', { stream: true }, { headers, signal: gone.signal })
      .catch(() => undefined);
    const stateOf = async (id: string) => (await snapshot()).requests.find((each) => each.id === id)?.state;
    await expect.poll(() => stateOf('first'), { timeout: 10_000 }).toBe('prefill');
    router.worker.script = endless;
    const streamed = await router.chat(
      'ab',
      { stream: true },
      { headers: { ...headers, 'x-request-id': 'second' }, signal: gone.signal },
    );
    await expect.poll(() => stateOf('second'), { timeout: 10_000 }).toBe('decoding');
    gone.abort();
    await asked;
    await streamed.text().catch(() => undefined);
    await expect.poll(() => stateOf('first'), { timeout: 10_000 }).toBe('aborted');
    router.worker.script = (request, say) => {
      say({ $case: 'failed', value: { code: 'KV_CAPACITY_EXCEEDED', message: 'no room', param: undefined } });
    };
    await (await router.chat('c', {}, { headers: { ...headers, 'x-request-id': 'third' } })).text();
    const failed = ClusterRequestDetail.parse(await get('/v1/cluster/requests/third'));
    expect(failed.request).toMatchObject({
      state: 'failed',
      error: 'kv_capacity_exceeded',
      worker: 'w0',
      kv: null,
    });
    expect(failed.placements).toMatchObject([{ worker: 'w0', reason: 'only', prompt_tokens: 1 }]);
    expect(await get('/v1/cluster/requests/nobody')).toMatchObject({ error: { code: 'not_found' } });
  });

  it('finds each of several requests that have one id, whoever they are of, with its own placements', async () => {
    const hash = createHash('sha256').update('sk-search').digest();
    const tenants = [{ ...PLAIN_TERMS, name: 'search', keyHashes: [hash] }];
    router = await new Harness().start({ apiKeys: ['sk-plain'], adminApiKeys: ['sk-admin'], tenants });
    for (const [key, prompt] of [
      ['sk-plain', 'ab'],
      ['sk-search', 'abcd'],
      ['sk-search', 'abcdef'],
    ] as const) {
      const authorization = `Bearer ${key}`;
      const headers = { 'content-type': 'application/json', authorization, 'x-request-id': 'same' };
      await (await router.chat(prompt, {}, { headers })).text();
    }
    const look = async (key: string, query = '') =>
      ClusterRequestDetail.parse(await get(`/v1/cluster/requests/same${query}`, key));
    const seen = ({ request, placements, others }: ClusterRequestDetail) => [
      ...[request.tenant, request.prompt_tokens, placements.map((each) => each.prompt_tokens)],
      others.map(({ serial }) => serial),
    ];
    expect(seen(await look('sk-plain'))).toEqual(['default', 2, [2], []]);
    expect(seen(await look('sk-search'))).toEqual(['search', 6, [6], [2]]);
    expect(seen(await look('sk-search', '?serial=2'))).toEqual(['search', 4, [4], [3]]);
    expect(seen(await look('sk-admin'))).toEqual(['search', 6, [6], [2, 1]]);
    expect(seen(await look('sk-admin', '?serial=1'))).toEqual(['default', 2, [2], [3, 2]]);
    for (const query of ['?serial=1', '?serial=9', '?serial=x'])
      expect(await get(`/v1/cluster/requests/same${query}`, 'sk-search')).toMatchObject({
        error: { code: 'not_found' },
      });
  });

  it('remembers what an answer took', async () => {
    router = await new Harness().start();
    const headers = { 'content-type': 'application/json', 'x-request-id': 'whole' };
    await (await router.chat('hey', {}, { headers })).text();
    const { request } = ClusterRequestDetail.parse(await get('/v1/cluster/requests/whole'));
    expect(request).toMatchObject({
      ...{ state: 'finished', model: 'demo', tenant: 'default', prompt_tokens: 3, completion_tokens: 3 },
      kv: { codec: 'capsule', bytes: 100, raw_bytes: 300, pictures: { bytes: 40, raw_bytes: 200 } },
    });
    expect(request.ended_at).toBeGreaterThanOrEqual(request.first_token_at ?? Infinity);
    expect(JSON.stringify(await snapshot())).not.toContain('hey');
  });

  it('shows a tenant its own requests and no addresses, an admin all of them, and nobody anything', async () => {
    const hash = createHash('sha256').update('sk-search').digest();
    const tenants = [{ ...PLAIN_TERMS, name: 'search', keyHashes: [hash] }];
    router = await new Harness().start({ apiKeys: ['sk-plain'], adminApiKeys: ['sk-admin'], tenants });
    for (const key of ['sk-plain', 'sk-search']) {
      const headers = {
        'content-type': 'application/json',
        authorization: `Bearer ${key}`,
        'x-request-id': key,
      };
      await (await router.chat('a', {}, { headers })).text();
    }
    const seen = async (key: string) => (await snapshot(key)).requests.map(({ id }) => id);
    expect([await seen('sk-search'), await seen('sk-plain')]).toEqual([['sk-search'], ['sk-plain']]);
    expect((await seen('sk-admin')).sort()).toEqual(['sk-plain', 'sk-search']);
    expect((await snapshot('sk-search')).workers[0]?.address).toBeNull();
    expect((await snapshot('sk-admin')).workers[0]?.address).toBe(router.worker.address);
    expect(await get('/v1/cluster/requests/sk-plain', 'sk-search')).toMatchObject({
      error: { code: 'not_found' },
    });
    for (const path of ['', '/events', '/requests/sk-plain', '/workers/w0/pages'])
      expect(await get(`/v1/cluster${path}`)).toMatchObject({ error: { code: 'invalid_api_key' } });
  });
});

/** What a reader of the stream knows in the end. */
function known({ events }: Events): ClusterWorker[] {
  const workers = new Map<string, ClusterWorker>();
  for (const { event, data } of events) {
    if (event === 'snapshot') {
      workers.clear();
      for (const worker of ClusterSnapshot.parse(data).workers) workers.set(worker.id, worker);
    } else {
      const delta = ClusterDelta.parse(data);
      for (const worker of delta.workers ?? []) workers.set(worker.id, worker);
      for (const id of delta.gone_workers ?? []) workers.delete(id);
    }
  }
  return [...workers.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
}

describe('events of the cluster', () => {
  it('begin with everything and then tell what changes', async () => {
    router = await new Harness().start({}, 2);
    const events = await Events.open();
    await until(() => events.events.length > 0);
    expect(events.events.map(({ event }) => event)).toEqual(['snapshot']);
    const [first, second] = router.ports.workers as [
      ReturnType<typeof workerRecord>,
      ReturnType<typeof workerRecord>,
    ];
    router.ports.workers = [{ ...first, load: LOAD }, second];
    await router.fleet.refresh();
    await until(() => events.deltas().some(({ workers }) => workers?.[0]?.running === 1));
    const delta = events.deltas().find(({ workers }) => workers !== undefined);
    expect(delta?.workers?.map(({ id }) => id)).toEqual(['w0']);
    expect(known(events)).toEqual((await snapshot()).workers);
  });

  it('are twice a second at most, however many listen', async () => {
    router = await new Harness().start();
    const readers = await Promise.all(Array.from({ length: 5 }, () => Events.open()));
    const [first] = router.ports.workers as [ReturnType<typeof workerRecord>];
    const changes = 40;
    for (let running = 1; running <= changes; running += 1) {
      router.ports.workers = [{ ...first, load: { ...LOAD, running } }];
      await router.fleet.refresh();
      await sleep(25);
    }
    const isTold = (reader: Events) => known(reader)[0]?.running === changes;
    await until(() => readers.every(isTold));
    for (const reader of readers) expect(reader.deltas().length).toBeLessThan(changes / 3);
  });

  it('end when the router does, at once', async () => {
    router = await new Harness().start({ drainMs: 60_000 });
    const events = await Events.open();
    await until(() => events.events.length > 0);
    await router.app.close();
    await until(() => events.ended);
  });

  it('are for 64 listeners; another one is refused until somebody leaves', async () => {
    router = await new Harness().start();
    const gone = new AbortController();
    const url = `${router.url}/v1/cluster/events`;
    const listen = (signal?: AbortSignal) => fetch(url, signal ? { signal } : {});
    const [leaver] = await Promise.all([listen(gone.signal), ...Array.from({ length: 63 }, () => listen())]);
    const refused = await listen();
    expect([leaver.status, refused.status, refused.headers.get('retry-after')]).toEqual([200, 429, '5']);
    expect(await refused.json()).toMatchObject({ error: { code: 'rate_limit_exceeded' } });
    gone.abort();
    await expect.poll(async () => (await listen()).status, { interval: 50, timeout: 10_000 }).toBe(200);
  });

  it('leave room for admins, and for other tenants than the one that has most', async () => {
    const tenants = ['a', 'b', 'c', 'd'].map((name) => ({
      ...PLAIN_TERMS,
      ...{ name, keyHashes: [createHash('sha256').update(`sk-${name}`).digest()] },
    }));
    router = await new Harness().start({ adminApiKeys: ['sk-admin'], tenants });
    const listen = async (name: string): Promise<number> => {
      const headers = { authorization: `Bearer sk-${name}` };
      return (await fetch(`${router.url}/v1/cluster/events`, { headers })).status;
    };
    for (const name of ['a', 'b', 'c']) {
      const taken = await Promise.all(Array.from({ length: 16 }, () => listen(name)));
      expect([new Set(taken), await listen(name)]).toEqual([new Set([200]), 429]);
    }
    expect([await listen('d'), await listen('admin')]).toEqual([429, 200]);
  });

  it('are described to a HEAD, which ends and is no listener', async () => {
    router = await new Harness().start();
    for (let asked = 0; asked < 65; asked += 1) {
      const { status, headers } = await fetch(`${router.url}/v1/cluster/events`, { method: 'HEAD' });
      expect([status, headers.get('content-type')]).toEqual([200, 'text/event-stream; charset=utf-8']);
    }
    const { events } = await Events.open();
    await until(() => events.length > 0);
  });
});

const WORKERS = 1_000;

describe('a reader that takes nothing', () => {
  let socket: Socket | undefined;
  afterEach(() => socket?.destroy());

  it('has no more in memory than its socket holds, and is told everything anew once it reads', async () => {
    router = await new Harness().start({}, 0);
    const fleet = (round: number) =>
      Array.from({ length: WORKERS }, (_, at) =>
        workerRecord(`w${at}`, `127.0.0.1:${at + 1}`, { load: { ...LOAD, running: round } }),
      );
    router.ports.workers = fleet(0);
    await router.fleet.refresh();
    const { port } = new URL(router.url);
    socket = connect(Number(port), '127.0.0.1');
    socket.write('GET /v1/cluster/events HTTP/1.1\r\nhost: x\r\n\r\n');
    socket.pause();
    const [taken] = await new Promise<[Socket]>((resolve) => {
      router.app.getHttpServer().once('connection', (each: Socket) => resolve([each]));
    });
    let round = 0;
    const change = async () => {
      round += 1;
      router.ports.workers = fleet(round);
      await router.fleet.refresh();
      await sleep(520);
      return taken.writableLength;
    };
    // what the two ends of the connection keep comes first: some megabytes
    while ((await change()) === 0) expect(round).toBeLessThan(40);
    const held = taken.writableLength;
    for (let more = 0; more < 4; more += 1) expect(await change()).toBe(held);
    let text = '';
    socket.setEncoding('utf8').on('data', (piece: string) => (text += piece));
    socket.resume();
    await until(() => text.split('event: snapshot').length > 2 && text.includes(`"running":${round},`));
    expect(text.split('event: delta').length - 1).toBeLessThan(round - 3);
  }, 60_000);
});
