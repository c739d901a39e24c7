import { status } from '@grpc/grpc-js';
import { KvcError } from '@kvcapsule/contracts/errors';
import { HealthCheckResponse_ServingStatus, HealthClient } from '@kvcapsule/contracts/health';
import {
  type DescribeFormatsResponse,
  type DescribePoolResponse,
  PageKind,
} from '@kvcapsule/contracts/worker';
import type { StoredFormat } from '@kvcapsule/engine';
import { createRpcClient } from '@kvcapsule/platform/rpc';
import { afterEach, describe, expect, it, vi } from 'vitest';

import { FakeEngine } from '@kvcapsule/testing/engine';
import { workersOf } from '@kvcapsule/testing/ports';
import { generateOf, type Rig, type RigOptions, RouterSide, startRig, until } from '../testing/harness.js';

const rigs: Rig[] = [];

async function rigOf(options: RigOptions = {}): Promise<Rig> {
  const rig = await startRig(options);
  rigs.push(rig);
  return rig;
}

afterEach(async () => {
  vi.restoreAllMocks();
  for (const rig of rigs.splice(0)) await rig.close();
});

/** For requests that must not end by themselves. */
const ENDLESS = { stopTokenIds: new Set<number>() };
/** Token 9, whatever the state. */
const FORCED = { logitBias: [{ tokenId: 9, bias: 100 }] };

const FORMAT: StoredFormat = {
  ...{
    codec: 'capsule-mixed',
    profileId: 'p',
    tokens: 312,
    coversMarkers: true,
    headerBytes: 160,
    varies: true,
  },
  layers: [
    {
      keys: { bytes: 7_000, rawBytes: 79_872, keptEnergy: 0.875 },
      values: { bytes: 3_000, rawBytes: 79_872, keptEnergy: undefined },
    },
  ],
};

describe('the protocol', () => {
  it('says what formats keep of each layer, looked up once, and anew after a fault', async () => {
    const ask = vi.fn<() => Promise<StoredFormat[]>>();
    ask.mockRejectedValueOnce(new KvcError('PROFILE_INVALID', 'gone')).mockResolvedValue([FORMAT]);
    const [rig, plain] = [await rigOf({ describeFormats: ask }), await rigOf()];
    const describeFormats = ({ client } = rig) =>
      new Promise<DescribeFormatsResponse>((resolve, reject) => {
        client.describeFormats({}, (error, response) => {
          if (error) reject(error);
          else resolve(response);
        });
      });
    await expect(describeFormats()).rejects.toMatchObject({ code: status.INTERNAL });
    const [first, second] = [await describeFormats(), await describeFormats()];
    expect(first).toEqual({
      formats: [
        {
          ...FORMAT,
          headerBytes: 160n,
          layers: [
            {
              keys: { bytes: 7_000n, rawBytes: 79_872n, keptEnergy: 0.875 },
              values: { bytes: 3_000n, rawBytes: 79_872n },
            },
          ],
        },
      ],
    });
    expect([second, ask.mock.calls.length]).toEqual([first, 2]);
    expect(await describeFormats(plain)).toEqual({ formats: [] });
  });

  it('says what each page of the pool holds, and with heartbeats the sums of it', async () => {
    const rig = await rigOf(ENDLESS);
    const describePool = () =>
      new Promise<DescribePoolResponse>((resolve, reject) => {
        rig.client.describePool({}, (error, response) => {
          if (error) reject(error);
          else resolve(response);
        });
      });
    const { capacityPages } = rig.worker.serving.scheduler.pool;
    const free = { kinds: [PageKind.PAGE_KIND_FREE], pages: [capacityPages] };
    expect(await describePool()).toEqual(free);
    const router = new RouterSide(rig.client);
    const parts = [Array.from({ length: 40 }, () => 10)];
    router.send(generateOf({ id: 'a', parts, maxTokens: 10_000, sampling: FORCED }));
    await until(() => rig.worker.serving.poolFigures.drawnTokens > 3);
    const { kinds, pages } = await describePool();
    expect(kinds).toContain(PageKind.PAGE_KIND_RAW);
    expect(pages.reduce((sum, each) => sum + each, 0)).toBe(capacityPages);
    const { rawPages, rawBytes } = rig.worker.serving.poolFigures;
    expect(rawPages).toBeGreaterThanOrEqual(24);
    expect(rawBytes).toBeGreaterThan(0);
  });

  it('says how far it is while a single step takes long', async () => {
    const rig = await rigOf(ENDLESS);
    const router = new RouterSide(rig.client);
    const end = Promise.withResolvers<void>();
    const step = rig.engine.step.bind(rig.engine);
    let calls = 0;
    rig.engine.step = async (plan) => {
      calls += 1;
      if (calls > 1) await end.promise;
      return step(plan);
    };
    const parts = [Array.from({ length: 100 }, () => 10)];
    router.send(generateOf({ id: 'a', parts, maxTokens: 2, sampling: FORCED }));
    await until(() => router.progress.length >= 3);
    const prefill = {
      requestId: 'a',
      computedTokens: 64,
      promptTokens: 100,
      imageTokens: 0,
      encodedTokens: 0,
    };
    expect(router.progress.slice(-2)).toEqual(Array(2).fill({ steps: 1n, prefills: [prefill] }));
    end.resolve();

    expect((await router.answer('a')).tokenIds).toHaveLength(2);
    // with nothing under way there is nothing to report
    const reports = router.progress.length;
    await new Promise((resolve) => setTimeout(resolve, 700));
    expect(router.progress).toHaveLength(reports);
  });

  it('refuses a request for another choice than the first, which it does not know yet', async () => {
    const router = new RouterSide((await rigOf()).client);
    const { error } = await router.ask({ ...generateOf({ id: 'a', parts: [[10]] }), choice: 1 });
    expect(error).toMatchObject({ code: 'INVALID_REQUEST' });
    expect(error?.message).toContain('choice');
  });

  it('goes on with an answer that another worker has begun', async () => {
    const asked = generateOf({ id: 'a', parts: [[10]], maxTokens: 9 });
    const whole = await new RouterSide((await rigOf()).client).ask(asked);
    const resumedTokenIds = whole.tokenIds.slice(0, 5);
    const rest = await new RouterSide((await rigOf()).client).ask({ ...asked, resumedTokenIds });
    expect(rest.tokenIds).toEqual(whole.tokenIds.slice(5));
    expect(rest.finished).toEqual({ ...whole.finished, text: rest.finished?.text });
  });

  it('answers the standard health protocol', async () => {
    const rig = await rigOf();
    const client = createRpcClient(HealthClient, rig.worker.address);
    const check = (service: string) =>
      new Promise((resolve) => {
        client.check({ service }, (error, answer) => {
          resolve(error ? status[error.code] : HealthCheckResponse_ServingStatus[answer.status]);
        });
      });
    const states = () =>
      Promise.all(['', 'kvcapsule.worker.v1.WorkerService', 'kvcapsule.worker.v1.Other'].map(check));
    expect(await states()).toEqual(['SERVING', 'SERVING', 'NOT_FOUND']);
    await rig.worker.drain(0);
    expect(await states()).toEqual(['SERVING', 'NOT_SERVING', 'NOT_FOUND']);
    rig.worker.fail(new KvcError('ENGINE_FAILED', 'broken'));
    expect(await states()).toEqual(['NOT_SERVING', 'NOT_SERVING', 'NOT_FOUND']);
    client.close();
  });

  it('takes no requests while its admission is closed, tells the registry at once, and lets answers end', async () => {
    const rig = await rigOf({ ...ENDLESS, engine: new FakeEngine(64, [], 5) });
    const set = (open: boolean) =>
      new Promise((resolve) => {
        rig.client.setAdmission({ open }, (error, answer) => {
          resolve(error ? status[error.code] : answer);
        });
      });
    const router = new RouterSide(rig.client);
    const running = router.ask(generateOf({ id: 'a', parts: [[10]], maxTokens: 30 }));
    await until(() => rig.worker.serving.running === 1);
    expect(await set(false)).toEqual({ running: 1, waiting: 0 });
    expect((await workersOf(rig.registry))[0]?.load.state).toBe('draining');
    const { error } = await router.ask(generateOf({ id: 'b', parts: [[10]] }));
    expect(error).toMatchObject({ code: 'DRAINING' });
    expect((await running).tokenIds).toHaveLength(30);
    expect(await set(true)).toEqual({ running: 0, waiting: 0 });
    expect((await workersOf(rig.registry))[0]?.load.state).toBe('ready');
    expect((await router.ask(generateOf({ id: 'c', parts: [[10]], maxTokens: 3 }))).tokenIds).toHaveLength(3);
    await rig.worker.drain(0);
    expect(await set(true)).toBe('FAILED_PRECONDITION');
  });

  it('minds no clock that differs from the router’s', async () => {
    const rig = await rigOf({ ...ENDLESS, engine: new FakeEngine(64, [], 5) });
    const router = new RouterSide(rig.client);
    vi.spyOn(Date, 'now').mockReturnValue(Date.now() + 600_000);
    const { tokenIds } = await router.ask(
      generateOf({ id: 'a', parts: [[10]], maxTokens: 5, remainingMs: 20_000n }),
    );
    expect(tokenIds).toHaveLength(5);
  });
});
