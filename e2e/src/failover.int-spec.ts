import { once } from 'node:events';
import { afterEach, describe, expect, it } from 'vitest';
import { ask, Cluster, events, killPart, type Part, picture, quiet, until } from './harness.js';

interface Chunk {
  readonly system_fingerprint: string;
  readonly choices: readonly {
    readonly delta: { readonly content?: string };
    readonly logprobs: { readonly content: readonly unknown[] } | null;
    readonly finish_reason: string | null;
  }[];
  readonly usage?: { readonly completion_tokens: number; readonly prompt_tokens: number } | null;
  readonly error?: { readonly code: string };
}

/** Of a stream everything that is not its cutting into chunks, its id and its time. */
function toldBy(body: string): object {
  const data = events(body);
  const chunks = data.filter((event) => event !== '[DONE]').map((event) => JSON.parse(event) as Chunk);
  const choices = chunks.flatMap((chunk) => chunk.choices ?? []);
  return {
    text: choices.map(({ delta }) => delta.content ?? '').join(''),
    logprobs: choices.flatMap(({ logprobs }) => logprobs?.content ?? []),
    reason: choices.at(-1)?.finish_reason,
    usage: chunks.at(-1)?.usage,
    fingerprints: [...new Set(chunks.map((chunk) => chunk.system_fingerprint))],
    errors: chunks.flatMap(({ error }) => error?.code ?? []),
    done: data.at(-1) === '[DONE]',
  };
}

/** Texts and pictures, greedy and drawn, with scores, penalties and stop strings that come near. */
const REQUESTS = [
  { messages: [ask('Hello!')], temperature: 0, max_tokens: 900 },
  {
    messages: [ask('Tell me more.')],
    temperature: 1,
    seed: 7,
    max_tokens: 800,
    logprobs: true,
    top_logprobs: 2,
  },
  {
    messages: [ask('Describe the image.', picture('a'))],
    temperature: 1,
    seed: 3,
    max_tokens: 700,
    logprobs: true,
  },
  {
    ...{ messages: [ask('Describe the image.', picture('b'))], temperature: 1, seed: 4, max_tokens: 700 },
    ...{ frequency_penalty: 0.5, stop: ['a zebra that is not there', 'the the the the'], min_tokens: 300 },
  },
].map((request) => ({
  ...{ model: 'emoji-vlm', stream: true, ignore_eos: true, stream_options: { include_usage: true } },
  ...request,
}));

let cluster: Cluster;
afterEach(() => cluster.stop());

/** Every request at once; nothing of them is found in a cache. Resolves when all of their answers have begun. */
async function beginAll(round: string): Promise<Promise<object>[]> {
  const begun = REQUESTS.map((request, index) =>
    cluster.chat({ ...request, cache_salt: `${round} ${String(index)}` }),
  );
  const responses = await Promise.all(begun);
  expect(responses.map(({ status }) => status)).toEqual(REQUESTS.map(() => 200));
  return responses.map(async (response) => toldBy(await response.text()));
}

const askAll = async (round: string): Promise<object[]> => Promise.all(await beginAll(round));

/** Requests that the worker has begun. */
const runningOn = (i: number): Promise<number> =>
  cluster.workerMetric(i, 'kvcapsule_worker_requests_running');

/** The worker that has most to do, once one has begun. */
async function busiest(): Promise<number> {
  let counts: number[] = [];
  await until(async () => {
    counts = await Promise.all(cluster.workers.map((_, i) => runningOn(i)));
    return Math.max(...counts) > 0;
  }, 180_000);
  return counts.indexOf(Math.max(...counts));
}

const outcome = (of: string): Promise<number> =>
  cluster.routerMetric(`kvcapsule_router_failovers_total{outcome="${of}"}`).catch(() => 0);

async function restart(at: number): Promise<void> {
  await killPart(cluster.workers[at] as Part);
  cluster.workers[at] = await cluster.startWorker(at);
}

describe('streams whose worker is lost', () => {
  it('are those of an undisturbed run, through the end of one worker after the other', async () => {
    cluster = await Cluster.start({ workers: 2 });
    const expected = await askAll('undisturbed');
    expect(expected).toMatchObject(REQUESTS.map(() => ({ done: true, errors: [] })));
    const answers = await beginAll('killed');
    const at = await busiest();
    await restart(at);
    await restart(1 - at);
    expect(await Promise.all(answers)).toEqual(expected);
    expect(await outcome('resumed')).toBeGreaterThan(0);
    for (const id of ['worker-0', 'worker-1']) await quiet(cluster, id);
  }, 240_000);

  it('go on when the only worker comes back', async () => {
    cluster = await Cluster.start();
    const expected = await askAll('undisturbed');
    const answers = await beginAll('killed');
    await restart(0);
    expect(await Promise.all(answers)).toEqual(expected);
    expect(await outcome('resumed')).toBeGreaterThan(0);
    await quiet(cluster);
  }, 120_000);
});

describe('a worker that is asked to end', () => {
  it('hands what it cannot end in time to others, and no client notices', async () => {
    cluster = await Cluster.start({
      workers: 2,
      workerArgs: ['--pool-mib', '64', '--drain-timeout-ms', '100'],
    });
    const expected = await askAll('undisturbed');
    const answers = await beginAll('drained');
    const at = await busiest();
    const { process: drained } = cluster.workers[at] as Part;
    const gone = once(drained, 'exit');
    drained.kill('SIGTERM');
    expect(await Promise.all(answers)).toEqual(expected);
    expect(await gone).toEqual([0, null]);
    expect(await outcome('resumed')).toBeGreaterThan(0);
    expect(await outcome('no_worker')).toBe(0);
  }, 240_000);
});

describe('a worker that is stopped', () => {
  it('is left by its silence, its streams go on elsewhere, and it comes back without a stale write', async () => {
    cluster = await Cluster.start({ workers: 2 });
    const expected = await askAll('undisturbed');
    const answers = await beginAll('stopped');
    const at = await busiest();
    const { process: stopped } = cluster.workers[at] as Part;
    stopped.kill('SIGSTOP');
    const stoppedAt = Date.now();
    try {
      // found after five seconds of silence, looked for every second
      await until(async () => (await outcome('resumed')) > 0, 60_000);
      expect(Date.now() - stoppedAt).toBeLessThan(10_000);
      expect(await Promise.all(answers)).toEqual(expected);
      // what is new is not sent there
      expect(await askAll('meanwhile')).toEqual(expected);
    } finally {
      stopped.kill('SIGCONT');
    }
    // it drops what it had of the streams that have moved, and serves again
    await until(async () => (await runningOn(at)) === 0, 60_000);
    for (const id of ['worker-0', 'worker-1']) await quiet(cluster, id);
    expect(await askAll('after')).toEqual(expected);
    expect(stopped.exitCode).toBeNull();
  }, 240_000);
});

describe('a whole answer whose worker is lost', () => {
  it('is that of an undisturbed run', async () => {
    cluster = await Cluster.start({ workers: 2 });
    const request = { ...REQUESTS[1], stream: false, stream_options: undefined };
    const choices = async (cache_salt: string): Promise<unknown> => {
      const response = await cluster.chat({ ...request, cache_salt });
      expect(response.status).toBe(200);
      const body = (await response.json()) as {
        choices: unknown;
        usage: unknown;
        system_fingerprint: unknown;
      };
      return [body.choices, body.usage, body.system_fingerprint];
    };
    const expected = await choices('undisturbed');
    const answer = choices('killed');
    const at = await busiest();
    await restart(at);
    expect(await answer).toEqual(expected);
  }, 120_000);
});
