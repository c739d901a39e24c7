import { describe, expect, it } from 'vitest';
import { viewOf, requestOf, type ViewChanges } from '../../testing/worker-views.js';
import { systemFingerprint } from '../system-fingerprint.js';
import { FILTERS } from './index.js';

const verdict = (worker: ViewChanges, request = requestOf()) =>
  FILTERS.find((filter) => !filter.admits(request, viewOf(worker)))?.name;

describe('filters', () => {
  it.each<[string, ViewChanges, string | undefined]>([
    ['a good worker', {}, undefined],
    ['one that drains', { state: 'draining' }, 'ready'],
    ['one that failed', { state: 'failed' }, 'ready'],
    ['one of another model', { modelId: 'n' }, 'model'],
    ['one of another model that drains', { modelId: 'n', state: 'draining' }, 'model'],
    ['one with another processor', { processorRevision: 'q' }, 'processor'],
    ['one with another processor that drains', { processorRevision: 'q', state: 'draining' }, 'processor'],
    ['one of another model with another processor', { modelId: 'n', processorRevision: 'q' }, 'model'],
    ['one that is too small', { capacity: 9, free: 9 }, 'capacity'],
    ['one that is just large enough', { capacity: 10, free: 10 }, undefined],
    ['one that is full', { free: 9 }, 'room'],
    ['one with an eighth more requests than it runs', { maxRunning: 16, requests: 18 }, 'slots'],
    ['one that takes another up soon', { maxRunning: 16, requests: 17 }, undefined],
    ['one that runs one at a time, and has it', { maxRunning: 1, requests: 1 }, undefined],
    ['one that runs one at a time, and has the next', { maxRunning: 1, requests: 2 }, 'slots'],
    ['one that cannot be reached', { reach: 'unreachable' }, 'reachable'],
    ['one that drains and cannot be reached', { reach: 'unreachable', state: 'draining' }, 'ready'],
    ['one that was lost a moment ago', { reach: 'reconnecting' }, 'connected'],
    ['one that the registry has lost', { isListed: false }, 'listed'],
    [
      'one that the registry has lost and that cannot be reached',
      { isListed: false, reach: 'unreachable' },
      'reachable',
    ],
    ['one that the registry has lost and that is too small', { isListed: false, capacity: 9 }, 'capacity'],
    ['one that is left alone', { isLeftAlone: true }, 'breaker'],
    ['one that is left alone and full', { isLeftAlone: true, free: 0 }, 'breaker'],
    ['one that is left alone and was lost', { isLeftAlone: true, reach: 'reconnecting' }, 'connected'],
    ['one that is full but for what has just ended', { free: 4, freedPages: 6 }, undefined],
    ['one whose leases are all this router’s', { free: 10, ownPages: 100 }, undefined],
  ])('judge %s', (_name, worker, reason) => {
    expect(verdict(worker)).toBe(reason);
  });

  it.each([
    [undefined, ['raw'], undefined],
    ['raw', ['raw', 'q8'], undefined],
    ['q8', ['raw', 'q8'], undefined],
    ['q4', ['raw', 'q8'], 'codec'],
  ])('want codec %s of %j', (kvCodec, codecs, reason) => {
    expect(verdict({ codecs }, requestOf({ kvCodec }))).toBe(reason);
  });

  it('leave out a worker that failed this request', () => {
    const request = requestOf({ failed: new Set(['b@1']) });
    expect([verdict({ id: 'a' }, request), verdict({ id: 'b' }, request)]).toEqual([undefined, 'not-failed']);
    // another process has come in its place
    expect(verdict({ id: 'b', epoch: 2 }, request)).toBeUndefined();
  });

  it('let an answer that has begun go on behind others', () => {
    expect(verdict({ maxRunning: 1, requests: 9 }, requestOf({ hasBegun: true }))).toBeUndefined();
  });

  it('let guests in beside as many others as a worker takes, and some that were sent too many', () => {
    const [others, guest] = [requestOf(), requestOf({ isGuest: true })];
    expect(verdict({ maxRunning: 32, requests: 36 }, others)).toBe('slots');
    expect(verdict({ maxRunning: 32, requests: 41 }, guest)).toBeUndefined();
    expect(verdict({ maxRunning: 32, requests: 42 }, guest)).toBe('slots');
  });

  it('let a request be sent to a worker that is left alone where it ignores breakers', () => {
    expect(verdict({ isLeftAlone: true }, requestOf({ ignoresBreakers: true }))).toBeUndefined();
  });

  it('leave out workers that would not go on with an answer bit for bit', () => {
    const { record } = viewOf({ arithmetic: 'a' });
    const request = requestOf({ fingerprint: systemFingerprint(record) });
    const verdicts = ['a', 'b'].map((arithmetic) => verdict({ arithmetic }, request));
    expect(verdicts).toEqual([undefined, 'fingerprint']);
    expect(verdict({ arithmetic: 'b' })).toBeUndefined();
  });

  it('let a request wait for what passes by itself', () => {
    const names = FILTERS.filter(({ passes }) => passes).map(({ name }) => name);
    expect(names).toEqual(['listed', 'connected', 'breaker', 'slots', 'room']);
  });
});
