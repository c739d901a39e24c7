import { KvcError } from '@kvcapsule/contracts/errors';
import { describe, expect, it } from 'vitest';

import { CoreDriver, expectNothingLeft, forced, kindsOf, lease, requestOf } from '../testing/core-driver.js';

describe('a core', () => {
  it('ends what is overdue, wherever it is, and nothing else', async () => {
    const driver = new CoreDriver({ blocks: 30 });
    const { serving } = driver;
    driver.submit('a', requestOf('a', [[10]], { remainingMs: 50, maxTokens: 500 }), 0);
    driver.submit('b', requestOf('b', [[11]], { remainingMs: 80, maxTokens: 3 }), 10);
    expect(driver.wakeAtMs).toBe(50);
    driver.take(serving.plan(20));
    driver.take(serving.expire(50));
    expect(driver.events.get('a')?.at(-1)).toMatchObject({ kind: 'failed', code: 'DEADLINE_EXCEEDED' });
    expect(driver.wakeAtMs).toBe(90);
    await driver.settle();
    expect(kindsOf(driver, 'b').at(-1)).toBe('finished');
    expectNothingLeft(driver);
  });

  it('drains: refuses what comes, lets the rest end, and aborts it at the end of the time', async () => {
    const driver = new CoreDriver({ blocks: 30 });
    const { serving } = driver;
    driver.submit('a', requestOf('a', [[10]], { maxTokens: 500 }), 0);
    driver.take(serving.drain('long', 1000));
    driver.submit('late', requestOf('late', [[10]], lease('x')), 1);
    expect(driver.events.get('late')).toMatchObject([{ kind: 'failed', code: 'DRAINING' }]);
    driver.take(serving.plan(1));
    driver.take(serving.drain('short', 20));
    expect(driver.wakeAtMs).toBe(20);
    driver.take(serving.expire(20));
    expect([...driver.drained].sort()).toEqual([
      ['long', 0],
      ['short', 1],
    ]);
    expect(driver.events.get('a')?.at(-1)).toMatchObject({ kind: 'finished', reason: 'abort' });
    driver.take(serving.drain('again', 2000));
    expect([driver.drained.get('again'), serving.state]).toEqual([0, 'draining']);
    await driver.settle();
    expectNothingLeft(driver);
  });

  it('closes its admission and opens it again, while what is here goes on', async () => {
    const driver = new CoreDriver({ blocks: 30 });
    const { serving } = driver;
    driver.submit('a', requestOf('a', [[10]], { maxTokens: 3 }), 0);
    expect([serving.setAdmission(false), serving.state]).toEqual([true, 'draining']);
    driver.submit('b', requestOf('b', [[10]], lease('b')), 1);
    expect(driver.events.get('b')).toMatchObject([{ kind: 'failed', code: 'DRAINING' }]);
    await driver.settle();
    expect(driver.events.get('a')?.at(-1)).toMatchObject({ kind: 'finished' });
    expect([serving.setAdmission(true), serving.state]).toEqual([true, 'ready']);
    driver.submit('c', requestOf('c', [[10]], { maxTokens: 3 }), 2);
    await driver.settle();
    expect(driver.events.get('c')?.at(-1)).toMatchObject({ kind: 'finished' });
    expectNothingLeft(driver);
  });

  it('opens no admission where it ends or has failed', () => {
    const { serving } = new CoreDriver({ blocks: 30 });
    serving.drain('t', 10);
    expect([serving.setAdmission(true), serving.state]).toEqual([false, 'draining']);
    serving.fail(new KvcError('STALE_EPOCH', 'replaced'));
    expect([serving.setAdmission(true), serving.state]).toEqual([false, 'failed']);
  });

  it('fails everything when it is replaced, and takes nothing more', async () => {
    const driver = new CoreDriver({ blocks: 30 });
    const { serving } = driver;
    for (const key of ['a', 'b']) driver.submit(key, requestOf(key, [[10]], lease(key)), 0);
    driver.take(serving.fail(new KvcError('STALE_EPOCH', 'replaced')));
    for (const key of ['a', 'b'])
      expect(driver.events.get(key)).toMatchObject([{ kind: 'failed', code: 'STALE_EPOCH' }]);
    driver.submit('c', requestOf('c', [[10]]), 0);
    expect(driver.events.get('c')).toMatchObject([{ kind: 'failed', code: 'NO_WORKER' }]);
    await driver.settle();
    expectNothingLeft(driver);
  });

  it('takes a key again when its request has ended, and not before', async () => {
    const driver = new CoreDriver({ blocks: 30 });
    const { serving } = driver;
    const request = requestOf('a', [[10]], lease('a'));
    driver.submit('a', request, 0);
    expect(() => serving.submit('a', request, 0)).toThrow(/key/);
    driver.take(serving.abort('a'));
    // the ledger has not answered the first one's lease yet
    driver.submit('a', request, 0);
    await driver.settle();
    expect(kindsOf(driver, 'a').filter((kind) => kind === 'finished')).toHaveLength(2);
    const last = driver.events.get('a')?.at(-1);
    expect(['stop', 'length']).toContain(last?.kind === 'finished' ? last.reason : undefined);
    expectNothingLeft(driver);
  });

  it('says how far it is with prompts, and counts what the engine has done', async () => {
    const driver = new CoreDriver({ blocks: 30 });
    const { serving } = driver;
    const text = Array.from({ length: 70 }, () => 10);
    driver.submit('a', requestOf('a', [text]), 0);
    driver.take(serving.plan(0));
    expect(serving.progress(['a', 'none'], () => 0)).toEqual({ steps: 0, prefills: [] });
    await driver.answer(0);
    expect(serving.progress(['a'], () => 0)).toEqual({
      steps: 1,
      prefills: [{ requestId: 'a', computedTokens: 40, promptTokens: 70, imageTokens: 0, encodedTokens: 0 }],
    });
    await driver.settle();
    expect(serving.progress(['a'], () => 0).prefills).toEqual([]);
    const { steps } = serving.progress([], () => 0);
    driver.submit('b', requestOf('b', [{ tokens: 20, mark: 1 }], { maxTokens: 1 }), 0);
    await driver.settle();
    // a picture and a step
    expect(serving.progress([], () => 0).steps).toBe(steps + 2);
  });

  it('ends what runs with DRAINING when its process stops', async () => {
    const driver = new CoreDriver({ blocks: 30 });
    driver.submit('a', requestOf('a', [[10]], lease('a')), 0);
    driver.take(driver.serving.plan(0));
    driver.take(driver.serving.stop());
    expect(driver.events.get('a')?.at(-1)).toMatchObject({ kind: 'failed', code: 'DRAINING' });
    await driver.settle();
    expectNothingLeft(driver);
  });

  it('is lost with its engine, and says what became of that', async () => {
    const driver = new CoreDriver({ blocks: 30 });
    const { serving } = driver;
    driver.submit('a', requestOf('a', [[10]]), 0);
    const error = new Error('gone');
    driver.take(serving.lose(error));
    expect(driver.events.get('a')).toMatchObject([{ kind: 'failed', code: 'ENGINE_FAILED' }]);
    expect(driver.reports).toContainEqual({ kind: 'engineLost', error });
    expect(serving.state).toBe('failed');
    driver.take(serving.drain('t', 10));
    // one that has failed is not merely on its way out
    expect(serving.state).toBe('failed');
    await driver.settle();
    expectNothingLeft(driver);
  });

  it('tells every drain once, as soon as the last request has ended, and never again', async () => {
    const driver = new CoreDriver({ blocks: 30 });
    const { serving } = driver;
    driver.submit('a', requestOf('a', [[10]], { maxTokens: 2 }), 0);
    driver.take(serving.drain('first', 100));
    driver.take(serving.drain('second', 200));
    await driver.settle();
    expect([...driver.drained]).toEqual([
      ['first', 0],
      ['second', 0],
    ]);
    expect(serving.expire(1_000)).toEqual([]);
    expect(serving.drain('third', 300)).toEqual([{ kind: 'drained', ticket: 'third', aborted: 0 }]);
  });

  it('is not drained while one request is left', async () => {
    const driver = new CoreDriver({ blocks: 30 });
    const { serving } = driver;
    for (const key of ['a', 'b']) driver.submit(key, requestOf(key, [[10]], { maxTokens: 3 }), 0);
    driver.take(serving.drain('t', 100));
    driver.take(serving.abort('a'));
    expect(driver.drained.size).toBe(0);
    await driver.settle();
    expect([...driver.drained]).toEqual([['t', 0]]);
  });

  it('grows a lease again and again, as far as the ledger lets it', async () => {
    const driver = new CoreDriver({ blocks: 30 });
    const sampling = forced(9);
    driver.submit('a', requestOf('a', [[10]], { ...lease('l'), maxTokens: 150, sampling }), 0);
    await driver.settle();
    const { resizes } = driver;
    expect(resizes.length).toBeGreaterThan(1);
    expect(resizes).toEqual(resizes.toSorted((a, b) => a - b));
    expect(resizes.at(-1)).toBeGreaterThanOrEqual(10 * 8);
  });

  it('lets go of features that were never used', async () => {
    const driver = new CoreDriver({ blocks: 30 });
    driver.submit('a', requestOf('a', [[10], { tokens: 20, mark: 1 }], lease('l')), 0);
    await driver.until(() => driver.serving.scheduler.waiting.length > 0);
    expect(driver.serving.pictures.takenBytes).toBe(80);
    driver.take(driver.serving.abort('a'));
    expectNothingLeft(driver);
  });

  it('tells of one failure where two things fail', async () => {
    const driver = new CoreDriver({ blocks: 30, fails: (count) => count <= 2 });
    driver.submit('a', requestOf('a', [[10], { tokens: 20, mark: 1 }], lease('l')), 0);
    await driver.settle();
    expect(kindsOf(driver, 'a')).toEqual(['failed']);
    expect(driver.reports.filter(({ kind }) => kind === 'requestFailed')).toHaveLength(1);
  });

  it('ends with the abort also where the text that was held back completes a stop string', () => {
    const createDetokenizer = () => ({
      ...{ pending: false, bytesOf: () => undefined, spell: String, push: () => '' },
      flush: () => 'ab',
    });
    const driver = new CoreDriver({ blocks: 30, config: { createDetokenizer } });
    driver.submit('a', requestOf('a', [[10]], { stop: ['ab'] }), 0);
    driver.take(driver.serving.abort('a'));
    expect(driver.events.get('a')).toMatchObject([{ kind: 'finished', reason: 'abort', text: '' }]);
  });

  it('keeps text as its codec says, or as pages that run short make it', async () => {
    const options = {
      ...{ blocks: 20, formats: [{ tokens: 0, bytesPerToken: 17 }] as const },
      config: { codecs: ['raw', 'q8'], textUnderPressure: 'q8', stopTokenIds: new Set<number>() },
    };
    const stored = new CoreDriver(options);
    const text = Array.from({ length: 140 }, (_, at) => 8 + (at % 40));
    stored.submit('a', requestOf('a', [text], { kvCodec: 'q8', maxTokens: 2 }), 0);
    await stored.settle();
    expect(stored.events.get('a')?.at(-1)).toMatchObject({ usage: { kv: { codec: 'q8' } } });
    const pressed = new CoreDriver(options);
    for (const key of ['a', 'b', 'c'])
      pressed.submit(key, requestOf(key, [[key.charCodeAt(0) % 40]], { maxTokens: 120 }), 0);
    await pressed.settle();
    const { textRecompressions, preemptions } = pressed.serving.scheduler.counters;
    expect(textRecompressions).toBeGreaterThan(0);
    expect(preemptions).toBe(0);
    const told = ['a', 'b', 'c'].flatMap((key) => pressed.events.get(key) ?? []);
    const starts = told.flatMap((event) => (event.kind === 'recompressed' ? event.textStarts : []));
    expect(starts).toHaveLength(textRecompressions);
  });

  it('tells of pictures that take another form as pages run short, each once and before its end', async () => {
    const driver = new CoreDriver({
      ...{ blocks: 14, formats: [{ tokens: 40, pages: 3 }] },
      config: { codec: 'raw', codecs: ['raw', 'capsule'], stopTokenIds: new Set<number>() },
    });
    for (const key of ['a', 'b', 'c']) {
      const parts = [[10], { tokens: 40, mark: key.charCodeAt(0) }];
      driver.submit(key, requestOf(key, parts, { maxTokens: 60 }), 0);
    }
    await driver.settle();
    const { recompressions } = driver.serving.scheduler.counters;
    expect(recompressions).toBeGreaterThan(0);
    const told = ['a', 'b', 'c'].map((key) => kindsOf(driver, key));
    expect(told.flat().filter((kind) => kind === 'recompressed')).toHaveLength(recompressions);
    for (const kinds of told) expect(kinds.at(-1)).toBe('finished');
  });

  it('asks for no more time for a request that has ended', async () => {
    const driver = new CoreDriver({ blocks: 30 });
    const { serving } = driver;
    driver.submit('a', requestOf('a', [[10]], { maxTokens: 2, remainingMs: 50 }), 7);
    expect(driver.wakeAtMs).toBe(57);
    await driver.settle();
    expect(serving.expire(57)).toEqual([]);
  });

  it('counts what runs and what waits', () => {
    const driver = new CoreDriver({ blocks: 30, config: { maxRunning: 1 } });
    const { serving } = driver;
    for (const key of ['a', 'b', 'c']) driver.submit(key, requestOf(key, [[10]], { priority: 0 }), 0);
    expect([serving.running, serving.waiting]).toEqual([0, 3]);
    driver.take(serving.plan(0));
    expect([serving.running, serving.waiting]).toEqual([1, 2]);
    expect(serving.gauges).toMatchObject({ heldPages: 8, freePages: 29 * 8 });
  });

  it('tells how a request ended, and gives all back that it held', async () => {
    const driver = new CoreDriver({ blocks: 30 });
    const { serving } = driver;
    driver.submit('a', requestOf('a', [[10], { tokens: 20, mark: 1 }], { ...lease('l'), maxTokens: 5 }), 0);
    await driver.until(() => serving.running > 0);
    const effects = serving.abort('a');
    expect(effects.map(({ kind }) => kind)).toEqual(
      expect.arrayContaining(['forgetPages', 'releaseLease', 'wake', 'report', 'event']),
    );
    const usage = expect.objectContaining({ promptTokens: 23 }) as object;
    const ids = { requestId: 'a', clientRequestId: undefined };
    expect(effects).toContainEqual({
      ...{ kind: 'report', report: { kind: 'requestFinished', key: 'a', ids, reason: 'abort', usage } },
    });
    expect(serving.abort('a')).toEqual([]);
    driver.take(effects);
    await driver.settle();
    expectNothingLeft(driver);
  });

  it('reports what becomes of pictures', async () => {
    const driver = new CoreDriver({ blocks: 30, config: { encoderCacheBytes: 80 } });
    for (const [key, mark] of [
      ['a', 1],
      ['b', 1],
      ['c', 2],
    ] as const) {
      const salted = { cacheSalt: key === 'c' ? 'c' : '', maxTokens: 1 };
      driver.submit(key, requestOf(key, [[key.charCodeAt(0) % 40], { tokens: 20, mark }], salted), 0);
      await driver.settle();
    }
    const looked = driver.reports.flatMap((report) =>
      report.kind === 'featuresLookedUp'
        ? [report.outcome]
        : report.kind === 'featuresEvicted'
          ? ['evicted']
          : [],
    );
    expect(looked).toEqual(['miss', 'hit', 'miss', 'evicted']);
    expect(driver.engine.images.size).toBe(1);
  });
});
