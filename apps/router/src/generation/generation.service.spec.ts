import { setTimeout as sleep } from 'node:timers/promises';
import { KvcError } from '@kvcapsule/contracts/errors';
import { FaultProxy } from '@kvcapsule/testing/network';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { Inflight } from '../operations/inflight.service.js';
import {
  delta,
  echo,
  endless,
  failed,
  finished,
  type Script,
  silent,
  started,
} from '../testing/fake-worker.js';
import { Harness, logs, until } from '../testing/harness.js';
import { workerRecord } from '../testing/memory-ports.js';

let router: Harness;
afterEach(() => router.stop());

const errorOf = async (response: Response) => ((await response.json()) as { error: { code: string } }).error;

describe('placement and leases', () => {
  it('spreads requests and gives every lease back', async () => {
    router = await new Harness().start({}, 2);
    for (const worker of router.workers) worker.script = endless;
    const controller = new AbortController();
    const all = [1, 2, 3, 4].map(() =>
      router.chat('a', {}, { signal: controller.signal }).catch(() => undefined),
    );
    await until(() => router.ports.leases.size === 4);
    await until(() => router.workers.every((worker) => worker.running === 2));
    controller.abort();
    await Promise.all(all);
    await until(() => router.ports.leases.size === 0);
  });

  it.each([
    [17, undefined, 2],
    [32, 1, 2],
    [32, 2, 3],
  ])('reserves for %i tokens and %j of an answer %i blocks', async (tokens, max_tokens, blocks) => {
    router = await new Harness().start();
    await router.chat('x'.repeat(tokens), { max_tokens });
    expect(router.worker.received[0]?.lease).toMatchObject({ epoch: 1n, pages: blocks * 8 });
  });

  it('tells the worker how long the answer may still take', async () => {
    router = await new Harness().start({ requestTimeoutMs: 20_000 });
    await router.chat();
    const remainingMs = Number(router.worker.received[0]?.remainingMs);
    expect(remainingMs).toBeGreaterThan(0);
    expect(remainingMs).toBeLessThanOrEqual(20_000);
  });

  it('refuses what no worker can hold', async () => {
    router = await new Harness().start();
    router.ports.workers = [workerRecord('w0', router.worker.address, { capacityPages: 16 })];
    await sleep(1_100);
    const response = await router.chat('x'.repeat(32));
    expect(response.status).toBe(400);
    expect(await errorOf(response)).toMatchObject({ code: 'kv_capacity_exceeded', param: 'messages' });
    expect((await router.chat('x'.repeat(32), { max_tokens: 1 })).status).toBe(200);
  });

  it('says when no worker is ready', async () => {
    router = await new Harness().start({}, 0);
    const response = await router.chat();
    expect(response.status).toBe(503);
    expect(response.headers.get('retry-after')).toBe('2');
    expect(response.headers.get('retry-after-ms')).toBe('2000');
    expect(await errorOf(response)).toMatchObject({ code: 'no_worker' });
    const ready = await fetch(`${router.url}/health/ready`);
    expect([ready.status, await ready.json()]).toEqual([
      503,
      { status: 'unready', reasons: ['no worker is ready for model demo'] },
    ]);
  });

  it('asks again when the worker has a newer epoch', async () => {
    router = await new Harness().start();
    router.ports.refusals.push(new KvcError('STALE_EPOCH', 'older'));
    expect((await router.chat()).status).toBe(200);
  });
});

describe('the queue', () => {
  it('holds requests until there is room, in their order', async () => {
    router = await new Harness().start();
    router.ports.refusals.push(...[1, 2].map(() => new KvcError('NO_CAPACITY', 'full')));
    const order: string[] = [];
    const ask = (text: string) => router.chat(text).then(() => order.push(text));
    const first = ask('a');
    await sleep(30);
    await Promise.all([first, ask('b')]);
    expect(order).toEqual(['a', 'b']);
  });

  it('keeps nobody waiting for what no worker can ever hold', async () => {
    router = await new Harness().start({ queueWaitMs: 500 });
    const load = { state: 'ready', running: 0, waiting: 0, freePages: 16 } as const;
    router.ports.workers = [workerRecord('w0', router.worker.address, { capacityPages: 16, load })];
    await sleep(1_100);
    router.worker.script = endless;
    const controller = new AbortController();
    const filling = await router.chat('x'.repeat(17), { stream: true }, { signal: controller.signal });
    const order: number[] = [];
    const waiting = router.chat('x'.repeat(17)).then(({ status }) => order.push(status));
    await sleep(50);
    const tooLarge = await router.chat('x'.repeat(32));
    order.push(tooLarge.status);
    expect(await errorOf(tooLarge)).toMatchObject({ code: 'kv_capacity_exceeded' });
    await waiting;
    expect([filling.status, ...order]).toEqual([200, 400, 503]);
    controller.abort();
  });

  it('gives up after a while, and refuses at once when it is full', async () => {
    router = await new Harness().start({ queueEntries: 1, queueWaitMs: 300 });
    router.worker.script = endless;
    const controller = new AbortController();
    const filling = { signal: controller.signal };
    const long = [1, 2, 3, 4, 5].map(() => router.chat('x'.repeat(48), { stream: true }, filling));
    const answers = await Promise.all(long);
    const full = await router.chat('x'.repeat(48));
    expect(full.status).toBe(503);
    expect(full.headers.get('retry-after')).toBe('1');
    expect(await errorOf(full)).toMatchObject({ code: 'no_capacity' });
    expect(answers.every((answer) => answer.status === 200)).toBe(true);
    const [waiting, refused] = await Promise.all([
      router.chat('x'.repeat(48)),
      sleep(20).then(() => router.chat('b')),
    ]);
    expect([waiting.status, refused.status]).toEqual([503, 503]);
    controller.abort();
    await until(() => router.ports.leases.size === 0);
  });

  it('forgets clients that leave before they are admitted (F28)', async () => {
    router = await new Harness().start({ queueEntries: 50, queueWaitMs: 20_000 });
    router.ports.refuseAlways(new KvcError('NO_CAPACITY', 'full'));
    const controller = new AbortController();
    const all = Array.from({ length: 20 }, (_, i) =>
      router.chat('a', { stream: i % 2 === 0 }, { signal: controller.signal }).catch(() => 0),
    );
    await until(() => router.app.get(Inflight).size === 20);
    controller.abort();
    await Promise.all(all);
    await until(() => router.app.get(Inflight).size === 0);
    router.ports.refuseAlways(undefined);
    expect((await router.chat()).status).toBe(200);
    expect(router.worker.received).toHaveLength(1);
  });
});

describe('a worker that is lost', () => {
  it('mid-stream and alone: one error event, after requests have waited for room', async () => {
    router = await new Harness().start({ queueWaitMs: 300 });
    router.worker.script = endless;
    const response = await router.chat('abc', { stream: true });
    const beganMs = performance.now();
    setTimeout(() => router.worker.kill(), 50);
    const text = await response.text();
    expect(performance.now() - beganMs).toBeLessThan(3_000);
    expect(text).toContain('"code":"worker_lost"');
    expect(text).not.toContain('[DONE]');
    await until(() => router.inflight.size === 0);
    // it may only be out of reach, and hold its pages
    expect(router.ports.leases.size).toBe(1);
  });

  it('mid-stream: lines with the client’s id say which worker, and how the answer ended', async () => {
    router = await new Harness().start({ queueWaitMs: 100 });
    router.worker.script = (_request, say) => say(started(), delta('half'), failed('DRAINING', 'gone'));
    const headers = { 'content-type': 'application/json', 'x-request-id': 'broken-1' };
    await (await router.chat('abc', { stream: true }, { headers })).text();
    const lines = () => logs.filter((line) => line.includes('"requestId":"broken-1"'));
    await until(() => lines().length === 2);
    const [request] = router.worker.received;
    expect(request?.clientRequestId).toBe('broken-1');
    expect(lines().map((line): unknown => JSON.parse(line))).toEqual([
      expect.objectContaining({
        ...{ workerId: 'w0', workerRequestId: request?.requestId, code: 'DRAINING', tokens: 4 },
        msg: 'a worker gave a request up',
      }),
      expect.objectContaining({ status: 200, code: 'DRAINING', msg: 'request completed' }),
    ]);
  });

  it('before the first token: another one answers', async () => {
    router = await new Harness().start({}, 2);
    const [first, second] = router.workers;
    first?.kill();
    const texts = await Promise.all([1, 2, 3].map(async () => (await router.chat()).status));
    expect(texts).toEqual([200, 200, 200]);
    expect(second?.received).toHaveLength(3);
    const isHeld = ({ requestId }: { requestId: string }) => router.ports.leases.has(requestId);
    await until(() => second?.received.some(isHeld) === false);
  });

  it('and alone: 503', async () => {
    router = await new Harness().start();
    router.worker.kill();
    const response = await router.chat();
    expect(response.status).toBe(503);
    expect(await errorOf(response)).toMatchObject({ code: 'worker_lost' });
  });

  it('that drains sends the request elsewhere', async () => {
    router = await new Harness().start({}, 2);
    const [first] = router.workers;
    if (first) first.script = (_request, say) => say(failed('DRAINING', 'bye'));
    expect((await router.chat()).status).toBe(200);
  });

  it.each([true, false])('mid-answer: another one goes on with it (stream: %s)', async (stream) => {
    router = await new Harness().start({}, 2);
    for (const worker of router.workers) {
      worker.script = async (request, say) => {
        if (request.resumedTokenIds.length > 0) return say(started(), delta('er'), finished(request, 6));
        say(started(), delta('answ'));
        await sleep(20);
        say(failed('WORKER_LOST', 'gone'));
      };
    }
    const response = await router.chat('abc', { stream });
    expect(response.status).toBe(200);
    const text = await response.text();
    if (stream) expect(text.match(/"content":"[^"]+"/g)).toEqual(['"content":"answ"', '"content":"er"']);
    else expect(text).toContain('"content":"answer"');
    const received = router.workers.flatMap((worker) => worker.received);
    expect(received.map(({ resumedTokenIds }) => resumedTokenIds)).toContainEqual(
      [...'answ'].map((c) => c.charCodeAt(0)),
    );
    expect(received).toHaveLength(2);
    expect(received[0]?.sampling).toEqual(received[1]?.sampling);
    await until(() => router.ports.leases.size === 0);
  });

  it('has no room after all: another one answers', async () => {
    router = await new Harness().start({}, 2);
    const refuse: Script = (_request, say) => say(failed('NO_CAPACITY', 'full'));
    for (const worker of router.workers) {
      worker.script = (request, say, signal, need) => {
        const isFirst = router.workers.reduce((sum, { received }) => sum + received.length, 0) === 1;
        return (isFirst ? refuse : echo)(request, say, signal, need);
      };
    }
    expect((await router.chat()).status).toBe(200);
    for (const worker of router.workers) worker.script = refuse;
    const response = await router.chat();
    expect(response.status).toBe(503);
    expect(await errorOf(response)).toMatchObject({ code: 'no_capacity' });
  });

  it('is not replaced by one of another model or without the codec', async () => {
    router = await new Harness().start({}, 1);
    router.ports.workers.push(
      workerRecord('other', router.worker.address, { modelId: 'other' }),
      workerRecord('raw', router.worker.address, { codecs: ['raw'] }),
    );
    await sleep(1_100);
    router.worker.script = (_request, say) => say(failed('DRAINING', 'bye'));
    const response = await router.chat('abc', { kv_codec: 'q8' });
    expect(await errorOf(response)).toMatchObject({ code: 'draining', message: 'bye' });
  });

  it('has gone when its heartbeats stay away', { timeout: 15_000 }, async () => {
    router = await new Harness().start({ queueWaitMs: 100 });
    router.worker.script = (_request, say) => say(started(), delta('a'));
    const response = await router.chat('abc', { stream: true });
    router.ports.workers = [];
    expect(await response.text()).toContain('"code":"worker_lost"');
  });

  it('goes on with its answers while only its heartbeats stay away', async () => {
    router = await new Harness().start();
    let late = false;
    router.worker.script = async (request, say) => {
      say(started());
      for (; !late; await sleep(50)) say(delta('a'));
      say(finished(request, 1));
    };
    const response = await router.chat('abc', { stream: true });
    router.ports.workers = [];
    // longer than a worker that says nothing would be waited for
    await sleep(8_000);
    expect(await errorOf(await router.chat())).toMatchObject({ code: 'no_worker' });
    late = true;
    const text = await response.text();
    expect(text).toContain('[DONE]');
    expect(text).not.toContain('worker_lost');
  });
});

describe('Redis away', () => {
  it('new requests are answered provisionally, and readiness is degraded', async () => {
    router = await new Harness().start();
    router.ports.isAway = true;
    for (const lacks of ['first', 'second'])
      expect([lacks, (await router.chat()).status]).toEqual([lacks, 200]);
    expect(router.worker.received.map(({ lease }) => lease?.provisional)).toEqual([true, true]);
    const ready = await fetch(`${router.url}/health/ready`);
    expect([ready.status, await ready.json()]).toEqual([
      200,
      { status: 'degraded', reasons: ['Redis does not answer in time'] },
    ]);
    const scrape = async () => (await fetch(`${router.url}/metrics`)).text();
    expect(await scrape()).toContain('kvcapsule_router_ledger_away 1');
    expect(await scrape()).toContain('kvcapsule_router_reservations_total{outcome="provisional"} 2');
    router.ports.isAway = false;
    await vi.waitFor(async () => expect(await scrape()).toContain('kvcapsule_router_ledger_away 0'), 5_000);
    expect((await router.chat()).status).toBe(200);
    expect(router.worker.received.at(-1)?.lease?.provisional).toBe(false);
    await until(() => router.ports.leases.size === 0);
  });

  it('a worker without room refuses, and is asked again when something has changed', async () => {
    router = await new Harness().start({ queueWaitMs: 20_000 });
    router.ports.isAway = true;
    router.worker.script = silent;
    const other = router.chat('abc', { stream: true }, { signal: AbortSignal.timeout(500) });
    other.then((response) => response.text()).catch(() => undefined);
    await until(() => router.worker.running === 1);
    router.worker.script = (request, say, signal, need) =>
      router.worker.running > 1
        ? say(failed('NO_CAPACITY', 'The worker has too few free pages.'))
        : echo(request, say, signal, need);
    const response = await router.chat();
    expect([response.status, router.worker.received.length > 2]).toEqual([200, true]);
  });

  it('gives the reason when no worker has room for as long as requests may wait', async () => {
    router = await new Harness().start({ queueWaitMs: 300 });
    router.ports.isAway = true;
    router.worker.script = (_request, say) => say(failed('NO_CAPACITY', 'full'));
    const response = await router.chat();
    expect([response.status, response.headers.has('retry-after')]).toEqual([503, true]);
    expect(await errorOf(response)).toMatchObject({ code: 'no_capacity' });
    // once for the request, and once again for each look at the list
    expect(router.worker.received.length).toBeLessThan(5);
  });
});

describe('an answer of the ledger that is lost', () => {
  it('leaves no lease behind, and the request goes on under another', async () => {
    router = await new Harness().start();
    router.ports.losesAnswers = true;
    expect((await router.chat()).status).toBe(200);
    expect(router.worker.received[0]?.lease?.provisional).toBe(true);
    await until(() => router.ports.leases.size === 0);
  });
});

describe('a ledger that does not answer', () => {
  it('delays neither an answer’s end nor the next worker', async () => {
    router = await new Harness().start({}, 2);
    vi.spyOn(router.ports.ledger, 'release').mockReturnValue(new Promise(() => undefined));
    let fails = true;
    for (const worker of router.workers)
      worker.script = (request, say, signal, need) => {
        if (!fails) return echo(request, say, signal, need);
        fails = false;
        say(failed('WORKER_LOST', 'gone'));
      };
    expect((await router.chat()).status).toBe(200);
  });
});

describe('time', () => {
  it('is up at the deadline', async () => {
    router = await new Harness().start({ requestTimeoutMs: 200 });
    router.worker.script = silent;
    const response = await router.chat();
    expect(response.status).toBe(503);
    expect(await errorOf(response)).toMatchObject({ code: 'deadline_exceeded' });
    await until(() => router.worker.aborted.length === 1);
  });

  it('ends for streams when the router stops', async () => {
    router = await new Harness().start({ drainMs: 200 });
    router.worker.script = endless;
    const response = await router.chat('abc', { stream: true });
    const text = response.text();
    await router.app.close();
    expect(await text).toContain('"code":"draining"');
  });
});

describe('a worker that does not hear that a request is aborted', () => {
  it('keeps its lease and gives it back itself: nobody is promised the same pages meanwhile', async () => {
    router = await new Harness().start();
    const { worker, ports, fleet } = router;
    worker.script = endless;
    const proxy = await FaultProxy.start(Number(worker.address.split(':')[1]));
    // one request fills it, although its heartbeats do not show that
    const load = { state: 'ready', running: 0, waiting: 0, freePages: 8 } as const;
    ports.workers = [workerRecord('w0', `127.0.0.1:${proxy.port}`, { capacityPages: 8, load })];
    await fleet.refresh();
    const controller = new AbortController();
    const first = await router.chat('abc', { stream: true }, { signal: controller.signal });
    expect(first.status).toBe(200);
    const [held] = [...ports.leases];
    proxy.set('deaf');
    controller.abort();
    await until(() => fleet.views()[0]?.requests === 0);
    const second = router.chat('abc', { max_tokens: 1 });
    await sleep(300);
    expect([[...ports.leases], worker.running, worker.received.length]).toEqual([[held], 1, 1]);
    worker.script = echo;
    proxy.set('passing');
    await until(() => worker.running === 0);
    await ports.ledger.release({ workerId: 'w0', epoch: 1, leaseId: worker.received[0]?.requestId ?? '' });
    fleet.changed();
    expect((await second).status).toBe(200);
    await until(() => ports.leases.size === 0);
    await proxy.stop();
  });
});
