import type { ChatCompletion } from '@kvcapsule/contracts/openai';
import { ChatCompletionChunk } from '@kvcapsule/contracts/openai';
import { systemFingerprint } from '@kvcapsule/domain/placement';
import { RetryBudget } from '@kvcapsule/domain/retries';
import fc from 'fast-check';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { Telemetry } from '../operations/telemetry.service.js';
import { CoreWorker } from '../testing/core-worker.js';
import {
  delta,
  endless,
  failed,
  finished,
  recompressed,
  type FakeWorker,
  type Script,
  started,
} from '../testing/fake-worker.js';
import { Harness, until } from '../testing/harness.js';
import { workerRecord } from '../testing/memory-ports.js';

let router: Harness;
afterEach(() => router.stop());

/** What a request met: so many tokens of an attempt, and then this. */
interface Cut {
  readonly tokens: number;
  readonly how: 'kill' | 'WORKER_LOST' | 'DRAINING' | 'STALE_EPOCH' | 'ENGINE_FAILED';
}

/** Workers with real cores; the next attempts, whichever workers they come to, are cut as the list says. */
async function coresWith(workers: number, cuts: Cut[], settings = {}): Promise<CoreWorker[]> {
  router = await new Harness().start({ queueWaitMs: 5_000, ...settings }, workers);
  const cores = router.workers.map(() => new CoreWorker());
  router.workers.forEach((worker, index) => {
    const core = cores[index]!;
    worker.script = (request, say, signal, need) =>
      cutting(worker, core.script, cuts.shift())(request, say, signal, need);
  });
  router.ports.workers = router.workers.map(({ address }, index) =>
    workerRecord(`w${index}`, address, { ...cores[index]?.record }),
  );
  await router.fleet.refresh();
  return cores;
}

function cutting(worker: FakeWorker, script: Script, cut: Cut | undefined): Script {
  if (!cut) return script;
  return (request, say, signal, need) => {
    let left = cut.tokens;
    let over = false;
    const controller = new AbortController();
    signal.addEventListener('abort', () => {
      controller.abort();
    });
    const end = (): void => {
      over = true;
      if (cut.how === 'kill') worker.kill();
      else say(failed(cut.how, 'cut'));
      controller.abort();
    };
    return script(
      request,
      (...events) => {
        if (over) return;
        const [event] = events;
        if (event?.$case !== 'delta') return say(...events);
        if (left === 0) return end();
        left -= 1;
        say(...events);
      },
      controller.signal,
      need,
    );
  };
}

interface Told {
  readonly text: string;
  readonly logprobs: unknown;
  readonly reason: string | null | undefined;
  readonly usage: unknown;
  readonly fingerprints: readonly string[];
}

async function whole(response: Response): Promise<Told> {
  const body = (await response.json()) as ChatCompletion;
  expect(response.status, JSON.stringify(body)).toBe(200);
  const [choice] = body.choices;
  return {
    ...{ text: choice?.message.content ?? '', logprobs: choice?.logprobs?.content ?? [] },
    ...{ reason: choice?.finish_reason, usage: body.usage, fingerprints: [body.system_fingerprint] },
  };
}

async function streamed(response: Response): Promise<Told> {
  const chunks = (await response.text())
    .split('\n\n')
    .flatMap((line) => (line.startsWith('data: {') ? [line.slice('data: '.length)] : []))
    .map((line) => ChatCompletionChunk.parse(JSON.parse(line)));
  const choices = chunks.flatMap((chunk) => chunk.choices);
  return {
    text: choices.map(({ delta: { content = '' } }) => content).join(''),
    logprobs: choices.flatMap(({ logprobs }) => logprobs?.content ?? []),
    reason: choices.at(-1)?.finish_reason,
    usage: chunks.at(-1)?.usage,
    fingerprints: [...new Set(chunks.map(({ system_fingerprint }) => system_fingerprint))],
  };
}

async function tell(content: unknown, asked: { readonly stream: boolean }): Promise<Told> {
  const options = asked.stream ? { stream_options: { include_usage: true } } : {};
  const response = await router.chat(content, { ...asked, ...options });
  return asked.stream ? streamed(response) : whole(response);
}

async function expectNothingLeft(cores: readonly CoreWorker[]): Promise<void> {
  await until(() => router.ports.leases.size === 0 && router.inflight.size === 0);
  await until(() => cores.every(({ serving }) => serving.running + serving.waiting === 0));
  for (const { serving } of cores)
    expect(serving.scheduler.pool.freePages).toBe(serving.scheduler.pool.capacityPages);
}

const outcomes = async (): Promise<Record<string, number>> => {
  const { values } = await router.app.get(Telemetry).metrics.failovers.get();
  return Object.fromEntries(values.map(({ labels, value }) => [String(labels.outcome), value]));
};

const letters = fc.array(fc.constantFrom('a', 'b', 'c', 'd'), { minLength: 2, maxLength: 4 });
const question = fc.record({
  text: fc.string({ minLength: 1, maxLength: 20 }),
  withPicture: fc.boolean(),
  asked: fc.record({
    ...{ stream: fc.boolean(), temperature: fc.constantFrom(0, 1), seed: fc.nat(99) },
    ...{ max_tokens: fc.integer({ min: 5, max: 24 }), logprobs: fc.boolean() },
    ...{
      stop: fc.array(
        letters.map((parts) => parts.join('')),
        { maxLength: 2 },
      ),
    },
    ...{ frequency_penalty: fc.constantFrom(0, 1), min_tokens: fc.constantFrom(0, 5) },
    ignore_eos: fc.boolean(),
  }),
});
const cut = fc.record<Cut>({
  tokens: fc.integer({ min: 0, max: 10 }),
  how: fc.constantFrom('WORKER_LOST', 'DRAINING', 'STALE_EPOCH', 'ENGINE_FAILED'),
});

describe('an answer whose workers fail', () => {
  it('is the same as an undisturbed one, wherever it is cut, streamed and not', async () => {
    const cuts: Cut[] = [];
    const cores = await coresWith(4, cuts);
    await fc.assert(
      fc.asyncProperty(question, fc.array(cut, { maxLength: 2 }), async (asking, faults) => {
        const content = [
          { type: 'text', text: asking.text },
          ...(asking.withPicture ? [{ type: 'image_url', image_url: { url: 'data:picture' } }] : []),
        ];
        const salted = (cache_salt: string) => tell(content, { ...asking.asked, cache_salt } as never);
        // nothing is found in a cache: what is told of that would differ
        const expected = await salted(`${Math.random()}`);
        cuts.push(...faults);
        expect(await salted(`${Math.random()}`)).toEqual(expected);
        cuts.length = 0;
      }),
      { seed: 31, numRuns: 60 },
    );
    await expectNothingLeft(cores);
    expect((await outcomes())['resumed']).toBeGreaterThan(20);
  }, 60_000);

  it('outlives the processes of its workers, one after the other', async () => {
    const cuts: Cut[] = [];
    const cores = await coresWith(4, cuts);
    const asked = { stream: true, max_tokens: 40, temperature: 1, seed: 5, ignore_eos: true, logprobs: true };
    const expected = await tell('a long story', { ...asked, cache_salt: 'a' } as never);
    cuts.push(...[3, 0, 11].map((tokens) => ({ tokens, how: 'kill' as const })));
    expect(await tell('a long story', { ...asked, cache_salt: 'b' } as never)).toEqual(expected);
    expect(cuts).toEqual([]);
    // what each of the dead was promised ends with its epoch
    await until(() => router.ports.leases.size === 3 && router.inflight.size === 0);
    const { resumedTokens } = router.app.get(Telemetry).metrics;
    expect((await resumedTokens.get()).values[0]?.value).toBe(3 + 3 + 14);
    expect(cores).toHaveLength(4);
  });

  it('goes on with a worker that comes while it has none', async () => {
    const cuts: Cut[] = [];
    await coresWith(1, cuts);
    const asked = { stream: true, max_tokens: 20, ignore_eos: true, temperature: 0 };
    const expected = await tell('abc', { ...asked, cache_salt: 'a' } as never);
    cuts.push({ tokens: 4, how: 'DRAINING' });
    const answer = tell('abc', { ...asked, cache_salt: 'b' } as never);
    await until(() => cuts.length === 0);
    // the same worker in a new life
    router.ports.workers = router.ports.workers.map((record) => ({ ...record, epoch: 2 }));
    expect(await answer).toEqual(expected);
  });

  it('ends with the fault when there is no other worker for as long as requests may wait', async () => {
    await coresWith(1, [{ tokens: 4, how: 'DRAINING' }], { queueWaitMs: 200 });
    const text = await (await router.chat('abc', { stream: true, ignore_eos: true })).text();
    expect(text.match(/"content":"[^"]+"/g)).toHaveLength(4);
    expect(text).toContain('"code":"draining"');
    expect(text).not.toContain('[DONE]');
    await until(() => router.ports.leases.size === 0 && router.inflight.size === 0);
    expect(await outcomes()).toEqual({ no_worker: 1 });
  });

  it('leaves nothing behind when its client goes while it has no worker', async () => {
    const cuts: Cut[] = [{ tokens: 4, how: 'DRAINING' }];
    const cores = await coresWith(1, cuts);
    const controller = new AbortController();
    const asked = { stream: true, ignore_eos: true };
    const response = await router.chat('abc', asked, { signal: controller.signal });
    await response.body?.getReader().read();
    await until(() => cuts.length === 0);
    controller.abort();
    await expectNothingLeft(cores);
    expect(router.worker.received).toHaveLength(1);
  });
});

describe('what pressure made of an answer', () => {
  /** The first worker presses a picture and breaks, the second presses that one again, another and some text. */
  const pressing: Script = (request, say) => {
    const isFirst = request.resumedTokenIds.length === 0;
    if (isFirst) say(started(), recompressed([1]), delta('a'), failed('WORKER_LOST', 'broken'));
    else say(started(), recompressed([0, 1], [16]), recompressed([], [80]), delta('b'), finished(request, 2));
  };
  const kv = { codec: 'capsule', bytes: 100, raw_bytes: 300, pictures: { bytes: 40, raw_bytes: 200 } };

  it.each([true, false])('is told in its usage, of all its workers (streamed: %s)', async (stream) => {
    router = await new Harness().start({}, 2);
    for (const worker of router.workers) worker.script = pressing;
    const { usage } = await tell('abc', { stream });
    expect(usage).toMatchObject({ kv_cache: { ...kv, recompressed: { pictures: 2, text_runs: 2 } } });
    expect(await outcomes()).toEqual({ resumed: 1 });
  });

  it('is told although the worker that answers last has pressed nothing', async () => {
    router = await new Harness().start({}, 2);
    for (const worker of router.workers)
      worker.script = (request, say, signal, need) =>
        request.resumedTokenIds.length === 0
          ? pressing(request, say, signal, need)
          : say(started(), finished(request, 1));
    const { usage } = await tell('abc', { stream: true });
    expect(usage).toMatchObject({ kv_cache: { recompressed: { pictures: 1, text_runs: 0 } } });
  });

  it('is not spoken of where it made nothing', async () => {
    router = await new Harness().start();
    const { usage } = await tell('abc', { stream: true });
    expect(usage).toMatchObject({ kv_cache: kv });
    expect(usage).not.toHaveProperty('kv_cache.recompressed');
  });
});

describe('the fingerprint of an answer', () => {
  it('stays where a worker goes on bit for bit, and changes where none is left', async () => {
    const cuts: Cut[] = [];
    await coresWith(3, cuts);
    const [a, b] = ['cpu-avx2-1', 'cpu-avx512-1'].map((arithmetic) => ({ arithmetic }));
    const [first, second, third] = router.ports.workers;
    router.ports.workers = [
      { ...first!, ...a },
      { ...second!, ...b },
      { ...third!, ...a },
    ];
    await router.fleet.refresh();
    const asked = { stream: true, max_tokens: 30, ignore_eos: true };
    const [equal, other] = router.ports.workers.map(systemFingerprint);
    expect([equal, other]).not.toContain(systemFingerprint({ ...first!, arithmetic: 'c' }));
    // whichever worker is first, the second attempt is at its equal where it has one
    for (let runs = 0; runs < 6; runs += 1) {
      cuts.push({ tokens: 3, how: 'DRAINING' });
      const { fingerprints } = await tell(`abc ${runs}`, asked);
      expect([[equal], [other, equal]]).toContainEqual(fingerprints);
    }
    router.ports.workers = router.ports.workers.slice(0, 2);
    await router.fleet.refresh();
    cuts.push({ tokens: 3, how: 'DRAINING' });
    expect(new Set((await tell('abc', asked)).fingerprints)).toEqual(new Set([equal, other]));
    expect((await outcomes())['resumed_elsewhere']).toBeGreaterThan(0);
  });
});

describe('a request that breaks its workers', () => {
  const received = (): number => router.workers.reduce((sum, worker) => sum + worker.received.length, 0);
  const breaking = async (script: Script): Promise<void> => {
    router = await new Harness().start({}, 6);
    for (const worker of router.workers) worker.script = script;
  };

  it('is given to three of them and no more', async () => {
    await breaking((_request, say) => say(started(), failed('ENGINE_FAILED', 'broken')));
    const response = await router.chat();
    expect(response.status).toBe(500);
    expect(await response.json()).toMatchObject({ error: { code: 'retries_exhausted' } });
    expect(received()).toBe(3);
    expect(await outcomes()).toEqual({ restarted: 2, exhausted: 1 });
  });

  it('at the same token is given to three of them after the one that drew it', async () => {
    await breaking(({ resumedTokenIds }, say) => {
      if (resumedTokenIds.length === 0) say(started(), delta('some'));
      say(failed('ENGINE_FAILED', 'broken'));
    });
    const text = await (await router.chat('abc', { stream: true })).text();
    expect(text).toContain('"content":"some"');
    expect(text).toContain('"code":"retries_exhausted"');
    expect(received()).toBe(3);
  });

  it('is not given to another one when too many others have been, and says when to come back', async () => {
    await breaking((_request, say) => say(failed('WORKER_LOST', 'broken')));
    const take = vi.spyOn(RetryBudget.prototype, 'take').mockReturnValue(false);
    const response = await router.chat();
    take.mockRestore();
    expect([response.status, response.headers.get('retry-after')]).toEqual([503, '1']);
    expect(await response.json()).toMatchObject({ error: { code: 'worker_lost' } });
    expect(received()).toBe(1);
    expect(await outcomes()).toEqual({ over_budget: 1 });
  });

  it('is none where each of them brings it on', async () => {
    await breaking((request, say) => {
      const { length } = request.resumedTokenIds;
      if (length < 5) say(started(), delta('x'), failed('WORKER_LOST', 'broken'));
      else say(started(), delta('!'), finished(request, 6));
    });
    const text = await (await router.chat('abc', { stream: true })).text();
    expect(text.match(/"content":"[^"]+"/g)).toHaveLength(6);
    expect(text).toContain('[DONE]');
    expect(received()).toBe(6);
  });

  it('costs nobody else anything', async () => {
    await breaking((request, say, signal, need) =>
      request.tokenIds.length === 1
        ? say(failed('ENGINE_FAILED', 'broken'))
        : endless(request, say, signal, need),
    );
    const controller = new AbortController();
    const other = await router.chat('abc', { stream: true }, { signal: controller.signal });
    expect((await router.chat('a')).status).toBe(500);
    expect(other.status).toBe(200);
    controller.abort();
    await until(() => router.ports.leases.size === 0);
  });
});
