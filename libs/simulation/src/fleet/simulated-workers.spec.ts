import { createHash } from 'node:crypto';
import { fileURLToPath } from 'node:url';

import { FinishReason, WorkerServiceClient } from '@kvcapsule/contracts/worker';
import { openModelFolder } from '@kvcapsule/model';
import { createRpcClient } from '@kvcapsule/platform/rpc';
import { encodePng } from '@kvcapsule/testing/pictures';
import { MemoryLedger, MemoryRegistry, MemoryStore, workersOf } from '@kvcapsule/testing/ports';
import { type Answer, type Asking, GREEDY, RouterSide, until } from '@kvcapsule/worker-runtime/testing';
import fc from 'fast-check';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';

import { DEMO_ENGINE, readEngineModel, type SimulatedModel, textTokens } from '../model/index.js';
import { type SimulatedWorker, type SimulationOptions, startSimulatedWorkers } from './simulated-workers.js';

// the whole check may run on two busy cores
vi.setConfig({ testTimeout: 120_000 });

const DEMO = fileURLToPath(new URL('../../../../deploy/models/emoji-vlm', import.meta.url));

let model: SimulatedModel;
beforeAll(async () => {
  const folder = await openModelFolder(DEMO);
  const engine = await readEngineModel(DEMO_ENGINE);
  model = { id: 'demo', revision: 'r', folder, engine, ordinaryTokens: textTokens(folder) };
});
afterAll(() => model.folder.dispose());

async function start(count: number, options: Partial<SimulationOptions> = {}) {
  const store = new MemoryStore();
  const registry = new MemoryRegistry(store);
  const fleet = await startSimulatedWorkers(count, {
    ...{ model, registry, ledger: new MemoryLedger(store), logger: pino({ level: 'silent' }) },
    ...{ idPrefix: 'sim-', host: '127.0.0.1', speedup: 1e6, poolBlocks: 512, answerTokens: 40 },
    ...options,
  });
  const clients = fleet.workers.map(({ address }) => createRpcClient(WorkerServiceClient, address));
  const close = async () => {
    for (const client of clients) client.close();
    await fleet.close();
  };
  return { fleet, registry, routers: clients.map((client) => new RouterSide(client)), close };
}

function pictureOf(shade: number): Buffer {
  const samples = new Uint8Array(64 * 64).fill(shade);
  return encodePng({ width: 64, height: 64, colour: 'grey', bitDepth: 8, samples });
}

interface Shape {
  readonly words: string;
  readonly shade: number | null;
  readonly maxTokens: number;
  readonly seed?: bigint | undefined;
  readonly kvCodec?: string;
  readonly topLogprobs?: number | undefined;
}

async function askingOf(
  requestId: string,
  { words, shade, maxTokens, seed, kvCodec, ...more }: Shape,
): Promise<Asking> {
  const shown = shade === null ? [] : [{ type: 'image_url' as const }];
  const prompt = await model.folder.prepareChat({
    messages: [{ role: 'user', content: [...shown, { type: 'text', text: words }] }],
    pictures: shown.map(() => ({ width: 64, height: 64 })),
    addGenerationPrompt: true,
  });
  const encoded = pictureOf(shade ?? 0);
  const contentSha256 = createHash('sha256').update(encoded).digest();
  return {
    ...{ requestId, lease: undefined, tokenIds: [...prompt.tokenIds], maxTokens, stop: [], priority: 0 },
    ...{ kvCodec: kvCodec ?? '', cacheSalt: '', remainingMs: 0n, resumedTokenIds: [] },
    pictures: prompt.pictures.map(({ offset, length }) => ({
      ...{ offset, length, param: 'p', encoded, contentSha256 },
    })),
    sampling: {
      ...GREEDY,
      ...(seed !== undefined && { temperature: 1, seed }),
      ...(more.topLogprobs !== undefined && { topLogprobs: more.topLogprobs }),
    },
  };
}

const essence = ({ text, tokenIds, logprobs, finished }: Answer) => ({
  ...{ text, tokenIds, logprobs, reason: finished?.reason },
});

/** Slots of ended requests are closed with the next step, so one more request shows what is left in the engine. */
async function expectNothingHeld({ serving, engine }: SimulatedWorker, router?: RouterSide): Promise<void> {
  const { scheduler, pictures } = serving;
  await router?.ask(await askingOf('last', { words: 'a', shade: null, maxTokens: 1 }));
  expect(engine.usedPages).toBe(engine.info.pagesPerBlock);
  await until(() => pictures.takenBytes === 0 && engine.pictures === pictures.cache.pictures);
  expect(scheduler.pool.freePages).toBe(scheduler.pool.capacityPages);
  expect([serving.running, serving.waiting]).toEqual([0, 0]);
}

const shapes = fc.record({
  words: fc.stringMatching(/^[a-z ]{1,120}$/),
  shade: fc.option(fc.nat(2)),
  maxTokens: fc.integer({ min: 1, max: 60 }),
  seed: fc.option(fc.bigInt({ min: 0n, max: 99n }), { nil: undefined }),
  kvCodec: fc.constantFrom('', 'raw', 'q8'),
  topLogprobs: fc.option(fc.nat(2), { nil: undefined }),
  /** Milliseconds until the router changes its mind. */
  abortMs: fc.option(fc.nat(30), { freq: 3 }),
});

describe('simulated workers', () => {
  it('are found in the registry under ids of their own, as workers of the model', async () => {
    const { fleet, registry, close } = await start(3);
    const records = await workersOf(registry);
    expect(records.map(({ workerId }) => workerId)).toEqual(['sim-0', 'sim-1', 'sim-2']);
    expect(new Set(records.map(({ address }) => address)).size).toBe(3);
    const [{ info }, [record]] = [model.engine, records];
    expect(record).toMatchObject({
      ...{ modelId: 'demo', arithmetic: 'simulated-1', capacityPages: 512 * info.pagesPerBlock },
      ...{ processorRevision: model.folder.processorRevision, contextTokens: info.contextTokens },
    });
    expect(record?.formats).toHaveLength(info.formats.length);
    await close();
    expect([await workersOf(registry), fleet.workers.length]).toEqual([[], 3]);
  });

  it('give the same answer to the same request alone, in any batch and on any worker, and keep no page', async () => {
    const scenario = fc.record({
      requests: fc.array(shapes, { minLength: 1, maxLength: 10, size: 'max' }),
      poolBlocks: fc.integer({ min: 40, max: 120 }),
      speedup: fc.constantFrom(20, 1e6),
    });
    await fc.assert(
      fc.asyncProperty(scenario, async ({ requests, ...options }) => {
        const [batched, alone] = [await start(2, options), await start(1)];
        try {
          await Promise.all(
            requests.map(async ({ abortMs, ...shape }, index) => {
              const asking = await askingOf(`r${index}`, shape);
              const router = batched.routers[index % 2];
              const answer = router?.ask(asking);
              if (abortMs !== null) setTimeout(() => router?.abort(asking.requestId), abortMs);
              const given = await answer;
              const expected = await alone.routers[0]?.ask(asking);
              if (!given || !expected) throw new Error('no answer');
              expect(given.error).toBeUndefined();
              if (given.finished?.reason === FinishReason.FINISH_REASON_ABORT)
                expect(given.tokenIds).toEqual(expected.tokenIds.slice(0, given.tokenIds.length));
              else expect(essence(given)).toEqual(essence(expected));
            }),
          );
          for (const [index, worker] of batched.fleet.workers.entries())
            await expectNothingHeld(worker, batched.routers[index]);
        } finally {
          await Promise.all([batched.close(), alone.close()]);
        }
      }),
      { numRuns: 12, seed: 21 },
    );
  });

  it('answer after a prompt and some of its answer as they went on before', async () => {
    const { routers, close } = await start(2);
    const shape = { words: 'tell me of the sea', shade: 1, maxTokens: 30, seed: 7n };
    const whole = await routers[0]?.ask({ ...(await askingOf('whole', shape)) });
    const asking = await askingOf('rest', shape);
    const begun = whole?.tokenIds.slice(0, 12) ?? [];
    const rest = await routers[1]?.ask({
      ...asking,
      tokenIds: [...asking.tokenIds, ...begun],
      maxTokens: shape.maxTokens - begun.length,
    });
    expect(rest?.tokenIds).toEqual(whole?.tokenIds.slice(begun.length));
    await close();
  });

  it('answer otherwise to other pictures, other words and other seeds', async () => {
    const { routers, close } = await start(1);
    const shape = { words: 'what is it', shade: 1, maxTokens: 30, seed: 7n };
    const others = [
      shape,
      { ...shape, shade: 2 },
      { ...shape, words: 'what was it' },
      { ...shape, seed: 8n },
    ];
    const answers = await Promise.all(
      others.map(async (other, index) => routers[0]?.ask(await askingOf(`r${index}`, other))),
    );
    expect(new Set(answers.map((answer) => answer?.tokenIds.join(' '))).size).toBe(others.length);
    await close();
  });

  it('refuse a picture that is none', async () => {
    const { fleet, routers, close } = await start(1);
    const asking = await askingOf('r', { words: 'what', shade: 1, maxTokens: 4 });
    const [picture] = asking.pictures;
    if (!picture) throw new Error('there is a picture');
    const broken = { ...picture, encoded: Buffer.from('no picture'), contentSha256: Buffer.alloc(32) };
    expect((await routers[0]?.ask({ ...asking, pictures: [broken] }))?.error?.code).toBe('IMAGE_INVALID');
    for (const [index, worker] of fleet.workers.entries()) await expectNothingHeld(worker, routers[index]);
    await close();
  });

  it('finish what runs and refuse what comes while they drain', async () => {
    const { fleet, routers, close } = await start(1, { speedup: 0.1, answerTokens: 1e6 });
    const running = routers[0]?.ask(await askingOf('a', { words: 'what', shade: null, maxTokens: 40 }));
    await until(() => fleet.workers[0]?.serving.running === 1);
    const drained = fleet.drain(60_000);
    const late = await routers[0]?.ask(await askingOf('b', { words: 'what', shade: null, maxTokens: 2 }));
    expect(late?.error?.code).toBe('DRAINING');
    expect((await running)?.finished).toBeDefined();
    expect(await drained).toBe(0);
    await close();
  });
});
