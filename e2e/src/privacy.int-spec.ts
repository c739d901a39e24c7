import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ask, Cluster, killPart, picture } from './harness.js';

const KEY = 'kvc-canary-key-4711';
const CANARY = 'zebrafinch';

describe('keys and user content', () => {
  let cluster: Cluster;
  beforeAll(async () => {
    cluster = await Cluster.start({ routerArgs: ['--api-key', KEY] });
  }, 120_000);
  afterAll(() => cluster.stop());

  const send = (body: unknown, key = KEY): Promise<Response> =>
    cluster.chat(body, { headers: { 'content-type': 'application/json', authorization: `Bearer ${key}` } });
  const chat = (messages: readonly unknown[], more: object = {}): object => ({
    ...{ model: 'emoji-vlm', max_tokens: 5, temperature: 0, messages },
    ...more,
  });

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
      chat([ask('hi', `http://127.0.0.1:1/${CANARY}?token=${CANARY}`)]),
      chat([ask('hi', `http://no-such-host.invalid/?token=${CANARY}`)]),
      chat([ask('hi', encoded.slice(0, 5_000))]),
      chat([ask(`${CANARY} `.repeat(9_000))]),
      `{"model": "${CANARY}`,
    ];
    const answers = await Promise.all(bodies.map((body) => send(body)));
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 400, 400, 400, 400, 400, 400, 400]);
    await Promise.all(answers.map((answer) => answer.text()));
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
