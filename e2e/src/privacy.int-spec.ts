import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { expositionFaults } from './exposition.js';
import { ask, Cluster, killPart, type Part, picture, until } from './harness.js';

const KEY = 'kvc-canary-key-4711';
const CANARY = 'zebrafinch';

let cluster: Cluster;
beforeAll(async () => {
  cluster = await Cluster.start({ routerArgs: ['--api-key', KEY] });
}, 120_000);
afterAll(() => cluster.stop());

const headersOf = (key: string) => ({
  'content-type': 'application/json',
  authorization: `Bearer ${key}`,
});
const send = (body: unknown, key = KEY): Promise<Response> => cluster.chat(body, { headers: headersOf(key) });
const chat = (messages: readonly unknown[], more: object = {}): object => ({
  ...{ model: 'emoji-vlm', max_tokens: 5, temperature: 0, messages },
  ...more,
});

describe('keys and user content', () => {
  it('are asked for, and refused when they are wrong', async () => {
    expect((await cluster.chat(chat([ask('hi')]))).status).toBe(401);
    const wrong = await send(chat([ask('hi')]), `${KEY}-not`);
    expect([wrong.status, await wrong.text()]).toEqual([401, expect.stringContaining('"invalid_api_key"')]);
    expect((await send(chat([ask('hi')]))).status).toBe(200);
    expect((await fetch(`${cluster.url}/health/ready`)).status).toBe(200);
  });

  it('leave the client’s id of a request in the lines of router and worker', async () => {
    const answer = await cluster.chat(chat([ask('hi')]), {
      headers: {
        ...{ 'content-type': 'application/json', authorization: `Bearer ${KEY}` },
        'x-request-id': 'client-id-4711',
      },
    });
    expect(answer.headers.get('x-request-id')).toBe('client-id-4711');
    await answer.text();
    await expect.poll(() => cluster.logs()).toContain('"clientRequestId":"client-id-4711"');
    await expect.poll(() => cluster.logs()).toContain('"requestId":"client-id-4711"');
  });

  it('never reach logs or metrics, whatever goes wrong', async () => {
    const encoded = picture('a');
    const bodies = [
      chat([ask(CANARY, encoded)]),
      chat([ask(CANARY, encoded)], { stream: true, stop: [CANARY] }),
      chat([ask(CANARY)], { temperature: CANARY }),
      chat([{ role: CANARY, content: CANARY }]),
      chat([ask(CANARY)], { model: CANARY }),
      chat([ask(CANARY)], { user: CANARY, cache_salt: CANARY, [CANARY]: CANARY }),
      chat([ask('hi', `http://127.0.0.1:1/${CANARY}?token=${CANARY}`)]),
      chat([ask('hi', `http://no-such-host.invalid/?token=${CANARY}`)]),
      chat([ask('hi', encoded.slice(0, 5_000))]),
      chat([ask(`${CANARY} `.repeat(9_000))]),
      `{"model": "${CANARY}`,
    ];
    const answers = await Promise.all(bodies.map((body) => send(body)));
    expect(answers.map(({ status }) => status)).toEqual([
      200, 200, 400, 400, 404, 400, 400, 400, 400, 400, 400,
    ]);
    await Promise.all(answers.map((answer) => answer.text()));
    const paths = [
      `/v1/chat/completions?token=${CANARY}`,
      `/${CANARY}`,
      `/v1/models/${CANARY}`,
      `/%${CANARY}`,
    ];
    const marked = { ...headersOf(KEY), cookie: CANARY, 'user-agent': CANARY, traceparent: CANARY };
    for (const path of paths) await (await fetch(`${cluster.url}${path}`, { headers: marked })).text();
    const cut = send(chat([ask(CANARY)], { max_tokens: 4_000, stream: true }));
    await (await cut).body?.getReader().read();
    if (cluster.workers[0]) await killPart(cluster.workers[0]);
    cluster.workers[0] = await cluster.startWorker(0);
    await cluster.untilReady();
    const metrics = await (await fetch(`${cluster.url}/metrics`)).text();
    const seen = `${cluster.logs()}\n${metrics}`;
    expect(seen).toContain('"level"');
    for (const secret of [CANARY, KEY, encoded.slice(30, 90)]) expect(seen).not.toContain(secret);
  }, 180_000);
});

/** A line as the guide of logs describes it. */
interface Line {
  readonly level: number;
  readonly time: number;
  readonly name: string;
  readonly msg: string;
  readonly requestId?: string;
  readonly clientRequestId?: string;
  readonly [field: string]: unknown;
}

const [INFO, WARN] = [30, 40];
const linesOf = (part: Part | undefined) =>
  readFileSync(part?.logFile ?? '', 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Line);

/** Lines of one request: what its client calls it is what router and worker have in common. */
const about = (id: string) => {
  const router = linesOf(cluster.router).filter(({ requestId }) => requestId === id);
  const worker = linesOf(cluster.workers[0]).filter(({ clientRequestId }) => clientRequestId === id);
  return { router, worker };
};
const named = (id: string, init: RequestInit = {}) => ({
  headers: { ...headersOf(KEY), 'x-request-id': id },
  ...init,
});

describe('lines of the log', { timeout: 180_000 }, () => {
  it('of a request that is answered are one of the router and one of the worker, for nobody', async () => {
    await (await cluster.chat(chat([ask('hi')]), named('well'))).text();
    await until(() => about('well').worker.length > 0 && about('well').router.length > 0, 30_000);
    const { router, worker } = about('well');
    expect(router).toMatchObject([
      {
        ...{ level: INFO, name: 'router', msg: 'request completed', method: 'POST', status: 200 },
        ...{ route: '/v1/chat/completions', durationMs: expect.any(Number) as number },
      },
    ]);
    expect(router[0]).not.toHaveProperty('code');
    expect(worker).toMatchObject([
      { level: INFO, name: 'worker-0', msg: 'a request ended', requestId: expect.any(String) as string },
    ]);
  });

  it('of what a client got wrong is the router’s alone, with the code, for nobody', async () => {
    await (await cluster.chat(chat([ask('hi')], { n: 0 }), named('wrong'))).text();
    await until(() => about('wrong').router.length > 0, 30_000);
    expect(about('wrong')).toMatchObject({
      router: [{ level: INFO, msg: 'request completed', status: 400, code: 'INVALID_REQUEST' }],
      worker: [],
    });
  });

  it('of what a client gave up say so, for nobody', async () => {
    const leave = new AbortController();
    const body = chat([ask('hi')], { max_tokens: 4_000, ignore_eos: true, stream: true });
    const answer = await cluster.chat(body, named('left', { signal: leave.signal }));
    await answer.body?.getReader().read();
    leave.abort();
    await until(() => about('left').worker.length > 0 && about('left').router.length > 0, 30_000);
    expect(about('left')).toMatchObject({
      router: [{ level: INFO, msg: 'request broken off', code: 'ABORTED' }],
      worker: [{ level: INFO, msg: 'a request ended', reason: 'abort' }],
    });
  });

  it('of a request that a worker’s end cost are a warning beside the line of the request', async () => {
    const body = chat([ask('hi')], { max_tokens: 4_000, ignore_eos: true, stream: true });
    const answer = await cluster.chat(body, named('lost'));
    await answer.body?.getReader().read();
    if (cluster.workers[0]) await killPart(cluster.workers[0]);
    await until(() => about('lost').router.some(({ msg }) => msg.startsWith('request ')), 120_000);
    const [fault, last] = about('lost').router.toSorted((one, other) => other.level - one.level);
    expect(fault).toMatchObject({ level: WARN, workerRequestId: expect.any(String) as string });
    expect(fault).toMatchObject({ workerId: 'worker-0' });
    expect(last).toMatchObject({ level: INFO, msg: 'request completed', code: expect.any(String) as string });
  });

  it('are JSON with level, time, name and text, all of them', () => {
    const parts = [cluster.router, ...cluster.workers];
    for (const part of parts) {
      const lines = linesOf(part);
      expect(lines.length).toBeGreaterThan(0);
      for (const line of lines) {
        expect([10, 20, 30, 40, 50, 60]).toContain(line.level);
        expect(Math.abs(Date.now() - line.time)).toBeLessThan(3_600_000);
        expect(line.name).toBe(part.name === 'router' ? 'router' : 'worker-0');
        expect(line.msg).toMatch(/\S/);
        if (line.msg.startsWith('request ')) expect(line.requestId).toMatch(/\S/);
        if (line.msg.startsWith('a request '))
          expect([line.requestId, line.clientRequestId]).toEqual([
            expect.stringMatching(/\S/),
            expect.stringMatching(/\S/),
          ]);
        // nothing above a warning has happened
        expect(line.level).toBeLessThanOrEqual(WARN);
      }
    }
  });
});

it('metrics are such that promtool finds nothing wrong with them', async () => {
  cluster.workers[0] = await cluster.startWorker(0);
  await cluster.untilReady();
  for (const url of [`${cluster.url}/metrics`, cluster.workers[0].ready['metrics'] ?? ''])
    expect([url, await expositionFaults(url)]).toEqual([url, []]);
}, 120_000);
