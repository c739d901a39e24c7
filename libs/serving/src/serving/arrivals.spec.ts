import { KvcError } from '@kvcapsule/contracts/errors';
import { describe, expect, it } from 'vitest';

import { CoreDriver, requestOf } from '../testing/core-driver.js';

const lease = { leaseId: 'l', epoch: 1n, pages: 8 };
const kindsOf = (effects: readonly { readonly kind: string }[]): string[] => effects.map(({ kind }) => kind);

describe('a request that arrives', () => {
  it('is refused with its fault, and the lease that came with it given back', () => {
    const driver = new CoreDriver({ blocks: 30 });
    driver.submit('r', requestOf('r', [[]], { lease }), 0);
    expect(driver.events.get('r')).toMatchObject([{ kind: 'failed', code: 'INVALID_REQUEST' }]);
    expect(driver.declined).toEqual(['l']);
    expect(driver.reports).toEqual([
      { kind: 'requestReceived' },
      { kind: 'requestRefused', code: 'INVALID_REQUEST' },
    ]);
    driver.submit('none', requestOf('none', [[]]), 0);
    expect(driver.declined).toEqual(['l']);
    // its key is free
    driver.submit('r', requestOf('r', [[10]]), 0);
    expect(driver.serving.waiting).toBe(1);
  });

  it('is queued only when its lease is taken over and its features are there, in either order', () => {
    const driver = new CoreDriver({ blocks: 30 });
    const { serving } = driver;
    const request = requestOf('r', [[10], { tokens: 20, mark: 1 }, [11]], { lease });
    const isQueued = (): boolean => serving.scheduler.waiting.length > 0;
    const submitted = serving.submit('r', request, 0);
    expect(kindsOf(submitted)).toEqual(['report', 'acceptLease', 'decodePicture']);
    const [accept, decode] = submitted.slice(1);
    if (accept?.kind !== 'acceptLease' || decode?.kind !== 'decodePicture') throw new Error('in vain');
    expect(accept.lease).toEqual(lease);
    const image = { rgb: Uint8Array.of(1), width: 20, height: 1 };
    const name = 'n' as never;
    expect(kindsOf(serving.pictureDecoded(decode.file, { name, image }))).toContain('encodePicture');
    serving.pictureEncoded(name, { handle: 1, tokens: 20, seconds: 0.4 });
    expect(serving.scheduler.costs.towerSeconds).toBeCloseTo(0.02, 9);
    expect(isQueued()).toBe(false);
    expect(kindsOf(serving.leaseAccepted(accept.id))).toEqual(['wake']);
    expect(isQueued()).toBe(true);
  });

  it('ends with its ledger’s refusal, and gives nothing back that was not taken', () => {
    const driver = new CoreDriver({ blocks: 30 });
    const { serving } = driver;
    const accept = serving.submit('r', requestOf('r', [[10]], { lease }), 0).at(-1);
    if (accept?.kind !== 'acceptLease') throw new Error('in vain');
    const told = serving.leaseAccepted(accept.id, new KvcError('STALE_EPOCH', 'replaced'));
    expect(told).toContainEqual({
      ...{ kind: 'event', key: 'r' },
      event: { kind: 'failed', code: 'STALE_EPOCH', message: 'replaced', param: undefined },
    });
    expect(kindsOf(told)).not.toContain('releaseLease');
    expect([serving.scheduler.waiting, serving.waiting]).toEqual([[], 0]);
  });

  it('ends when its lease was given back meanwhile, and others do not', async () => {
    const driver = new CoreDriver({ blocks: 30 });
    for (const key of ['r', 'other']) driver.submit(key, requestOf(key, [[10]]), 0);
    driver.take(driver.serving.leaseLost('r#1', new KvcError('ABORTED', 'given back')));
    expect(driver.events.get('r')).toMatchObject([{ kind: 'failed', code: 'ABORTED' }]);
    expect(driver.serving.leaseLost('r#1', new KvcError('ABORTED', 'given back'))).toEqual([]);
    await driver.settle();
    expect(driver.events.get('other')?.at(-1)).toMatchObject({ kind: 'finished' });
  });

  it.each([
    ['pages below none', { pages: -1 }],
    ['no end to its name', { leaseId: 'x'.repeat(300) }],
  ])('is refused with a lease of %s', (_name, change) => {
    const driver = new CoreDriver({ blocks: 30 });
    driver.submit('r', requestOf('r', [[10]], { lease: { ...lease, ...change } }), 0);
    expect(driver.events.get('r')).toMatchObject([{ kind: 'failed', code: 'INVALID_REQUEST' }]);
  });

  it('ends with the worker’s fault where what failed has no code', () => {
    const driver = new CoreDriver({ blocks: 30, fails: (count) => count === 1 });
    driver.submit('r', requestOf('r', [[10], { tokens: 20, mark: 1 }]), 0);
    return driver.settle().then(() => {
      expect(driver.events.get('r')).toMatchObject([{ kind: 'failed', code: 'INTERNAL' }]);
      expect(driver.reports.at(-1)).toMatchObject({ kind: 'requestFailed', code: 'INTERNAL' });
    });
  });

  it('ends where the scheduler cannot take it, as one that the pool could never hold', async () => {
    const driver = new CoreDriver({ blocks: 2 });
    driver.submit('r', requestOf('r', [Array.from({ length: 60 }, () => 9)], { lease }), 0);
    await driver.settle();
    expect(driver.events.get('r')).toMatchObject([{ kind: 'failed', code: 'KV_CAPACITY_EXCEEDED' }]);
    expect([driver.serving.waiting, driver.leases.size]).toEqual([0, 0]);
  });

  it('shares its prompt with others of its tenant alone, and of the same worker', async () => {
    const cachedOf = async (tenant: string, salt: string): Promise<number | undefined> => {
      const driver = new CoreDriver({ blocks: 30 });
      const prompt = Array.from({ length: 30 }, () => 9);
      driver.submit('first', requestOf('first', [prompt], { tenant: 'a', cacheSalt: 's' }), 0);
      await driver.settle();
      driver.submit('then', requestOf('then', [prompt], { tenant, cacheSalt: salt }), 0);
      await driver.settle();
      const [started] = driver.events.get('then') ?? [];
      return started?.kind === 'started' ? started.cachedTokens : undefined;
    };
    expect(await cachedOf('a', 's')).toBe(29);
    expect(await cachedOf('b', 's')).toBe(0);
    expect(await cachedOf('a', 't')).toBe(0);
  });

  it('makes no features of pictures that its cached prefix covers', async () => {
    const driver = new CoreDriver({ blocks: 30, config: { encoderCacheBytes: 0 } });
    const parts = [{ tokens: 20, mark: 1 }, [10], { tokens: 33, mark: 2 }, [11]];
    driver.submit('first', requestOf('first', parts.slice(0, 2)), 0);
    await driver.settle();
    expect(driver.engine.encoded).toBe(1);
    driver.submit('then', requestOf('then', parts), 0);
    await driver.settle();
    expect(driver.engine.encoded).toBe(2);
  });

  it('says what of its pictures it is about to leave there, until that is there or the request has ended', async () => {
    const driver = new CoreDriver({ blocks: 60 });
    const { cacheLog } = driver.serving;
    const told = (kind: string) => [...cacheLog.changes()].filter((change) => change.kind === kind).length;
    const parts = [[10, 11], { tokens: 20, mark: 1 }];
    driver.submit('first', requestOf('first', parts), 0);
    driver.submit('alike', requestOf('alike', parts), 0);
    // of both together, features and span
    expect([told('coming'), told('stored')]).toEqual([2, 0]);
    driver.submit('other', requestOf('other', [[12], { tokens: 20, mark: 2 }, { tokens: 20, mark: 3 }]), 0);
    expect(told('coming')).toBe(6);
    driver.take(driver.serving.abort('other'));
    expect(told('coming')).toBe(2);
    await driver.settle();
    expect([told('coming'), told('stored') > 0]).toEqual([0, true]);
    driver.submit('again', requestOf('again', [...parts, [12]]), 0);
    driver.submit('text', requestOf('text', [[10, 11, 12]]), 0);
    expect(told('coming')).toBe(0);
  });

  it('goes before others by its priority', async () => {
    const driver = new CoreDriver({ blocks: 30, config: { maxRunning: 1 } });
    for (const [key, priority] of [
      ['late', 1],
      ['soon', -1],
    ] as const)
      driver.submit(key, requestOf(key, [[10]], { priority, maxTokens: 2 }), 0);
    await driver.settle();
    const ends = driver.reports.flatMap((report) =>
      report.kind === 'requestFinished' ? [report.ids.requestId] : [],
    );
    expect(ends).toEqual(['soon', 'late']);
  });
});
