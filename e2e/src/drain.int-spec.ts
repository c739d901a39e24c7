import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { ask, Cluster, events, quiet, until } from './harness.js';

const LONG = {
  ...{ model: 'emoji-vlm', stream: true, temperature: 1, ignore_eos: true, messages: [ask('Hello!')] },
  max_tokens: 900,
};

let cluster: Cluster;
afterEach(() => cluster.stop());

/** The whole bodies of streams that have begun; undefined of those that were cut. */
async function begin(count: number): Promise<Promise<string | undefined>[]> {
  const responses = await Promise.all(
    Array.from({ length: count }, (_, seed) => cluster.chat({ ...LONG, seed })),
  );
  expect(responses.map(({ status }) => status)).toEqual(responses.map(() => 200));
  await until(
    async () => (await cluster.routerMetric('kvcapsule_router_requests_running')) === count,
    20_000,
  );
  return responses.map((response) => response.text().catch(() => undefined));
}

/** Resolves to the router's exit code. */
async function endRouter(): Promise<number | null> {
  const { process } = cluster.router;
  const gone = once(process, 'exit');
  process.kill('SIGTERM');
  const [code] = (await gone) as [number | null];
  return code;
}

/** What a stream ended with: its last event. */
const lastOf = (body: string | undefined): string | undefined => events(body ?? '').at(-1);

async function expectNobodyListens(): Promise<void> {
  await until(
    () =>
      fetch(`${cluster.url}/health/live`).then(
        () => false,
        () => true,
      ),
    5_000,
  );
}

describe('a router that is asked to end', () => {
  it('takes no connection any more, lets its streams end, and leaves with code 0', async () => {
    cluster = await Cluster.start();
    const streams = await begin(3);
    const gone = endRouter();
    await expectNobodyListens();
    expect(cluster.router.process.exitCode).toBeNull();
    expect((await Promise.all(streams)).map(lastOf)).toEqual(['[DONE]', '[DONE]', '[DONE]']);
    expect(await gone).toBe(0);
    await quiet(cluster);
  }, 120_000);

  it.each(['SIGCONT', 'SIGSTOP'] as const)(
    'tells streams that go on past its time so, with a code to try again at, and leaves no lease (worker: %s)',
    async (signal) => {
      cluster = await Cluster.start({ routerArgs: ['--drain-ms', '100'] });
      const worker = cluster.workers[0]?.process;
      const streams = await begin(2);
      worker?.kill(signal);
      const gone = endRouter();
      for (const stream of streams) {
        const last = lastOf(await stream) ?? '';
        expect(JSON.parse(last)).toMatchObject({ error: { code: 'draining' } });
      }
      expect(await gone).toBe(0);
      worker?.kill('SIGCONT');
      await quiet(cluster);
    },
    120_000,
  );

  it('ends at once when it is asked again, and leaves no lease', async () => {
    cluster = await Cluster.start();
    const streams = await begin(2);
    const gone = endRouter();
    await expectNobodyListens();
    // what comes within half a second is the same wish, sent by another
    await sleep(600);
    cluster.router.process.kill('SIGTERM');
    expect(await gone).toBe(1);
    for (const stream of streams) expect(lastOf(await stream)).not.toBe('[DONE]');
    await quiet(cluster);
  }, 120_000);
});
