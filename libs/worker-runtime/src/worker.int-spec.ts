import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';

import { WorkerServiceClient } from '@kvcapsule/contracts/worker';
import {
  describeFormats,
  discoverProfiles,
  type Engine,
  type NativeDtype,
  openEngine,
  storedDtype,
  type WeightType,
} from '@kvcapsule/engine';
import { BLOCK_SHAPE } from '@kvcapsule/domain/paging';
import { type ModelFolder, openModelFolder } from '@kvcapsule/model';
import { decodeImage } from '@kvcapsule/multimodal';
import { createRpcClient } from '@kvcapsule/platform/rpc';
import { createMetrics, type WorkerMetrics } from '@kvcapsule/platform/telemetry';
import { MemoryLedger, MemoryRegistry, MemoryStore } from '@kvcapsule/testing/ports';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';

import { type Answer, type Asking, GREEDY, RouterSide } from './testing/harness.js';
import { startWorker, type Worker } from './worker.js';

/** Two cores that others use as well. */
const TIMEOUT_MS = 240_000;
const MODEL_DIR = new URL('../../../deploy/models/emoji-vlm/', import.meta.url).pathname;

const goldenSchema = z.object({
  cases: z.array(
    z.object({
      name: z.string(),
      pictures: z.array(z.string()),
      messages: z.array(
        z.object({
          role: z.string(),
          content: z.union([
            z.string(),
            z.array(
              z.union([
                z.object({ type: z.literal('text'), text: z.string() }),
                z.object({ type: z.literal('image') }),
              ]),
            ),
          ]),
        }),
      ),
      input_ids: z.array(z.number()),
      answer_ids: z.array(z.number()),
      answer: z.string(),
    }),
  ),
});
type GoldenCase = z.infer<typeof goldenSchema>['cases'][number];

let model: ModelFolder;
let golden: GoldenCase[];

beforeAll(async () => {
  model = await openModelFolder(MODEL_DIR);
  golden = goldenSchema.parse(JSON.parse(await readFile(`${MODEL_DIR}golden.json`, 'utf8'))).cases;
});

afterAll(() => model.dispose());

interface Served {
  readonly engine: Engine;
  readonly worker: Worker;
  readonly router: RouterSide;
  readonly metrics: WorkerMetrics;
  close(): Promise<void>;
}

/** The real engine behind the real service; only the store is in memory. */
async function serve(
  poolBlocks: number,
  maxStepTokens: number,
  profiles: readonly string[] = [],
  types: { readonly weights: WeightType; readonly kvDtype: NativeDtype } = {
    weights: 'f32',
    kvDtype: 'f32',
  },
): Promise<Served> {
  const maxRunning = 16;
  const engine = await openEngine({
    ...types,
    modelDir: MODEL_DIR,
    threads: 1,
    poolBlocks,
    maxSlots: maxRunning,
    maxStepTokens,
    profiles,
  });
  const store = new MemoryStore();
  const metrics = createMetrics('worker');
  const worker = await startWorker({
    engine,
    registry: new MemoryRegistry(store),
    ledger: new MemoryLedger(store),
    metrics,
    logger: pino({ level: 'silent' }),
    decodeImage: (bytes, param) => decodeImage(bytes, { param, maxPixels: 50_000_000 }),
    imageProcessor: 'p',
    createDetokenizer: () => model.detokenizer(),
    stopTokenIds: new Set(model.eosTokenIds),
    model: {
      ...{ id: 'emoji-vlm', revision: engine.modelRevision, processorRevision: model.processorRevision },
      ...{ precision: 'f32', arithmetic: 'cpu-avx2-1', engineVersion: 'test' },
    },
    codec: profiles.length > 0 ? 'capsule' : 'raw',
    profileId: '',
    config: {
      id: 'w',
      listen: '127.0.0.1:0',
      poolBlocks,
      swapPages: 0,
      maxStepTokens,
      maxPrefillChunk: maxStepTokens,
      maxRunning,
      encoderCacheBytes: 2 ** 20,
    },
    onReplaced: () => undefined,
  });
  const client = createRpcClient(WorkerServiceClient, worker.address);
  return {
    engine,
    worker,
    metrics,
    router: new RouterSide(client),
    close: async () => {
      client.close();
      await worker.close();
    },
  };
}

/** Bytes of each layer's keys and values, heads together, of the capsules of packed rows that lie in the pool. */
async function storedCapsules({ engine }: Served, capsuleBytes: number): Promise<number[][]> {
  const { pageBytes, layers, kvHeads } = engine.info;
  const pages = Int32Array.from({ length: 400 * BLOCK_SHAPE.pagesPerBlock }, (_, page) => page);
  const pool = Buffer.from((await engine.readPages(pages)).buffer);
  const units = layers * kvHeads * 2;
  const starts = pages.filter(
    (page) => pool.toString('latin1', page * pageBytes, page * pageBytes + 8) === 'KVCAPSUL',
  );
  return [...starts].map((page) => {
    const begins = Array.from({ length: units }, (_, unit) =>
      pool.readUInt32LE(page * pageBytes + 64 + 4 * unit),
    );
    const bytes = begins.map((begin, unit) => (begins[unit + 1] ?? capsuleBytes) - begin);
    return Array.from({ length: 2 * layers }, (_, part) =>
      Array.from(
        { length: kvHeads },
        (__, head) => bytes[((part >> 1) * kvHeads + head) * 2 + (part & 1)] ?? 0,
      ).reduce((sum, each) => sum + each),
    );
  });
}

async function generateOf(example: GoldenCase, id = example.name): Promise<Asking> {
  const files = await Promise.all(example.pictures.map((file) => readFile(MODEL_DIR + file)));
  const sizes = await Promise.all(
    files.map((bytes) => decodeImage(bytes, { param: 'picture', maxPixels: 50_000_000 })),
  );
  const prompt = await model.prepareChat({
    messages: example.messages,
    pictures: sizes,
    addGenerationPrompt: true,
  });
  expect([...prompt.tokenIds]).toEqual(example.input_ids);
  return {
    requestId: id,
    lease: undefined,
    tokenIds: [...prompt.tokenIds],
    pictures: prompt.pictures.map(({ offset, length }, index) => ({
      offset,
      length,
      encoded: files[index] ?? Buffer.alloc(0),
      contentSha256: createHash('sha256')
        .update(files[index] ?? '')
        .digest(),
      param: `messages.0.content.${index}`,
    })),
    sampling: GREEDY,
    kvCodec: '',
    priority: 0,
    cacheSalt: '',
    maxTokens: example.answer_ids.length,
    stop: [],
    remainingMs: 0n,
    resumedTokenIds: [],
  };
}

describe('golden answers through the service', () => {
  it(
    'tells of layers what capsules of pictures hold on average',
    async () => {
      const served = await serve(400, 2048, await discoverProfiles(MODEL_DIR), {
        weights: 'f32',
        kvDtype: 'f16',
      });
      try {
        const described = await describeFormats(served.engine);
        const at = described.findLastIndex(({ codec }) => codec === 'capsule-mixed');
        const told = (described[at]?.layers ?? []).flatMap(({ keys, values }) => [keys.bytes, values.bytes]);
        for (const example of golden.filter(({ pictures }) => pictures.length === 1))
          await served.router.ask({ ...(await generateOf(example)), kvCodec: 'capsule-mixed', maxTokens: 1 });
        const capsules = await storedCapsules(served, served.engine.info.formats[at]?.bytes ?? 0);
        expect(capsules.length).toBeGreaterThan(2);
        const means = told.map(
          (_, part) => capsules.reduce((sum, parts) => sum + (parts[part] ?? 0), 0) / capsules.length,
        );
        // scale levels, some per cent, are told of, and are not in what lies between two units' rows; where the last
        // unit's end is nobody writes down
        for (const [part, mean] of means.slice(0, -1).entries()) {
          expect(mean).toBeGreaterThan(0.85 * (told[part] ?? 0));
          expect(mean).toBeLessThan(1.15 * (told[part] ?? 0));
        }
      } finally {
        await served.close();
      }
    },
    TIMEOUT_MS,
  );

  it(
    'are those of the reference, one request at a time',
    async () => {
      const { router, close } = await serve(200, 2048);
      for (const example of golden) {
        const answer = await router.ask(await generateOf(example));
        expect([example.name, answer.tokenIds]).toEqual([example.name, example.answer_ids]);
        expect(answer.text).toBe(example.answer);
        expect(answer.finished?.usage?.promptTokens).toBe(example.input_ids.length);
      }
      await close();
    },
    TIMEOUT_MS,
  );

  it(
    'are the same all together, with prefill in chunks and preemption',
    async () => {
      // 21 to 24 blocks a request: three at a time, and growth needs a fourth one's blocks
      const { worker, router, metrics, close } = await serve(66, 100);
      const generates = await Promise.all(golden.map((example) => generateOf(example)));
      for (const generate of generates) router.send(generate);
      for (const example of golden) {
        const answer = await router.answer(example.name);
        expect([example.name, answer.tokenIds]).toEqual([example.name, example.answer_ids]);
        expect(answer.text).toBe(example.answer);
      }
      const { freePages, capacityPages } = worker.serving.scheduler.pool;
      expect(freePages).toBe(capacityPages);
      const { values } = await metrics.tokens.get();
      const completion = golden.reduce((sum, { answer_ids }) => sum + answer_ids.length, 0);
      expect(values.find(({ labels }) => labels.kind === 'completion')?.value).toBe(completion);
      await close();
    },
    TIMEOUT_MS,
  );
});

it(
  'answers with capsules the same alone and together, in less memory',
  async () => {
    const profiles = await discoverProfiles(MODEL_DIR);
    expect(profiles.length).toBeGreaterThan(0);
    const roomy = await serve(400, 2048, profiles);
    // a picture's span and its capsule stand side by side for a moment: two requests at a time
    const tight = await serve(80, 100, profiles);
    const generates = await Promise.all(golden.map((example) => generateOf(example)));
    for (const generate of generates) tight.router.send(generate);
    let compressed = 0;
    for (const generate of generates) {
      const alone = await roomy.router.ask(generate);
      const together = await tight.router.answer(generate.requestId);
      expect([generate.requestId, together.tokenIds]).toEqual([generate.requestId, alone.tokenIds]);
      const cachedTokens = expect.any(Number) as number;
      expect(together.finished?.usage).toEqual({ ...alone.finished?.usage, cachedTokens });
      const kv = alone.finished?.usage?.kv;
      if (kv?.codec !== 'capsule') continue;
      compressed += 1;
      // this pool's rows are of 32 bits
      expect(kv.bytes).toBeLessThan(2n * kv.rawBytes);
    }
    expect(compressed).toBeGreaterThan(10);
    const { freePages, capacityPages } = tight.worker.serving.scheduler.pool;
    expect(freePages).toBe(capacityPages);
    await roomy.close();
    await tight.close();
  },
  TIMEOUT_MS,
);

it(
  'answers over stored text the same in a pool that is never short and in one that is, from the cache and not',
  async () => {
    const roomy = await serve(400, 2048, [], { weights: 'f16', kvDtype: 'f16' });
    const tight = await serve(40, 100, [], { weights: 'f16', kvDtype: 'f16' });
    const texts = golden.filter(({ pictures }) => pictures.length === 0);
    const generates = await Promise.all(
      Array.from({ length: 6 }, async (_, index) => {
        const example = texts[index % texts.length];
        if (!example) throw new Error('no golden case is without pictures');
        const generate = await generateOf(example, `r${index}`);
        const sampling = { ...GREEDY, temperature: 1, seed: BigInt(index), topLogprobs: 1, ignoreEos: true };
        return { ...generate, sampling, maxTokens: 200, kvCodec: index % 2 === 0 ? 'q8' : 'q4' };
      }),
    );
    for (const generate of generates) tight.router.send(generate);
    for (const generate of generates) {
      const alone = await roomy.router.ask({ ...generate, cacheSalt: generate.requestId });
      const together = await tight.router.answer(generate.requestId);
      expect([generate.requestId, together.tokenIds]).toEqual([generate.requestId, alone.tokenIds]);
      expect(together.logprobs).toEqual(alone.logprobs);
      // a second turn goes on from stored runs, under another name than raw text's
      const history = { ...generate, tokenIds: [...generate.tokenIds, ...alone.tokenIds], maxTokens: 20 };
      const warm = await tight.router.ask({ ...history, requestId: `${generate.requestId} again` });
      const cold = await roomy.router.ask({ ...history, cacheSalt: 'cold' + generate.requestId });
      expect(cold.finished?.usage?.cachedTokens).toBe(0);
      expect([warm.tokenIds, warm.logprobs]).toEqual([cold.tokenIds, cold.logprobs]);
      const { codec, bytes = 0n, rawBytes = 0n } = warm.finished?.usage?.kv ?? {};
      expect(codec).toBe(generate.kvCodec);
      expect(Number(bytes) / Number(rawBytes)).toBeLessThan(codec === 'q8' ? 0.7 : 0.5);
    }
    expect(tight.worker.serving.scheduler.counters.preemptions).toBeGreaterThan(0);
    expect(tight.worker.serving.scheduler.counters.prefixHitTokens).toBeGreaterThan(0);
    await roomy.close();
    await tight.close();
  },
  TIMEOUT_MS,
);

describe('the same request with the same seed', () => {
  const BATCHES = [2, 3, 5, 8, 16];

  /** Questions about pictures under every codec, sampled, with their log-probabilities. */
  async function sampled(codecs: readonly string[]): Promise<Asking[]> {
    const asked = golden.filter(({ pictures }) => pictures.length > 0);
    return Promise.all(
      Array.from({ length: 16 }, async (_, index) => {
        const example = asked[index % asked.length];
        if (!example) throw new Error('no golden case has a picture');
        const generate = await generateOf(example, `r${index}`);
        const penalties = index % 3 === 0 ? { frequencyPenalty: 0.5, repetitionPenalty: 1.1 } : {};
        const sampling = {
          ...GREEDY,
          ...penalties,
          temperature: 1,
          seed: BigInt(index),
          topLogprobs: 4,
          ignoreEos: true,
        };
        return { ...generate, sampling, maxTokens: 24, kvCodec: codecs[index % codecs.length] ?? '' };
      }),
    );
  }

  it.each([
    { weights: 'f32', kvDtype: 'f32' },
    { weights: 'f16', kvDtype: 'f16' },
    { weights: 'q4_1', kvDtype: 'f16' },
  ] as const)(
    'gives the same tokens and numbers alone, in batches and in chunks ($weights)',
    async (types) => {
      const profiles = await discoverProfiles(MODEL_DIR);
      const roomy = await serve(700, 8192, profiles, types);
      const tight = await serve(68, 100, profiles, types);
      const generates = await sampled(['raw', 'q8', 'q4', 'capsule', 'capsule-mixed']);
      const alone = new Map<string, Answer>();
      for (const generate of generates) alone.set(generate.requestId, await roomy.router.ask(generate));
      const expectSame = async (router: RouterSide, batch: readonly Asking[]): Promise<void> => {
        for (const generate of batch) router.send(generate);
        for (const { requestId } of batch) {
          const { tokenIds, logprobs } = await router.answer(requestId);
          const expected = alone.get(requestId);
          expect([requestId, tokenIds]).toEqual([requestId, expected?.tokenIds]);
          // to the last bit
          expect([requestId, logprobs]).toEqual([requestId, expected?.logprobs]);
        }
      };
      for (const size of BATCHES) await expectSame(roomy.router, generates.slice(-size));
      await expectSame(tight.router, generates);
      await roomy.close();
      await tight.close();
    },
    3 * TIMEOUT_MS,
  );

  it(
    'gives the same tokens, text and numbers where it goes on in another worker after any token',
    async () => {
      const profiles = await discoverProfiles(MODEL_DIR);
      const types = { weights: 'f16', kvDtype: 'f16' } as const;
      const [first, second] = await Promise.all([1, 2].map(() => serve(700, 8192, profiles, types)));
      if (!first || !second) throw new Error('no workers');
      const generates = await sampled(['raw', 'capsule', 'q8', 'capsule-mixed']);
      for (const generate of generates.slice(0, 6)) {
        const whole = await first.router.ask({ ...generate, cacheSalt: generate.requestId });
        for (let count = 0; count <= whole.tokenIds.length; count += 1) {
          const resumedTokenIds = whole.tokenIds.slice(0, count);
          const requestId = `${generate.requestId}/${count}`;
          // a salt of its own: nothing of it is cached
          const asked = { ...generate, requestId, cacheSalt: requestId, resumedTokenIds };
          const rest = await second.router.ask(asked);
          expect([count, rest.tokenIds]).toEqual([count, whole.tokenIds.slice(count)]);
          // to the last bit
          expect([count, rest.logprobs]).toEqual([count, whole.logprobs.slice(count)]);
          expect(whole.text.endsWith(rest.text)).toBe(true);
          expect(rest.finished).toMatchObject({
            reason: whole.finished?.reason,
            usage: whole.finished?.usage,
          });
        }
      }
      await first.close();
      await second.close();
    },
    TIMEOUT_MS,
  );

  it('gives the same numbers from weights as they are stored as from 32 bits', async () => {
    const dtype = await storedDtype(MODEL_DIR);
    expect(dtype).toBe('bf16');
    const profiles = await discoverProfiles(MODEL_DIR);
    const [stored, wide] = await Promise.all(
      [dtype, 'f32' as const].map((weights) => serve(700, 8192, profiles, { weights, kvDtype: 'f16' })),
    );
    if (!stored || !wide) throw new Error('no workers');
    for (const generate of (await sampled(['raw', 'capsule-mixed'])).slice(0, 6)) {
      const expected = await wide.router.ask(generate);
      expect(await stored.router.ask(generate)).toMatchObject({
        tokenIds: expected.tokenIds,
        logprobs: expected.logprobs,
      });
    }
    await stored.close();
    await wide.close();
  });
});
