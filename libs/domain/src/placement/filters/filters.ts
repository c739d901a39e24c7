import { guestSlots } from '../../scheduling/index.js';
import { type Filter, processOf } from '../placement.js';
import { systemFingerprint } from '../system-fingerprint.js';

export const ready: Filter = {
  name: 'ready',
  reason: 'not ready',
  passes: false,
  admits: (_request, { record }) => record.load.state === 'ready',
};

export const model: Filter = {
  name: 'model',
  reason: 'of another model',
  passes: false,
  admits: ({ modelId }, { record }) => record.modelId === modelId,
};

/** Its tokenizer and template are those that the prompt was made by: with others its ids would be other text. */
export const processor: Filter = {
  name: 'processor',
  reason: 'with another tokenizer or template revision',
  passes: false,
  admits: ({ processorRevision }, { record }) => record.processorRevision === processorRevision,
};

export const reachable: Filter = {
  name: 'reachable',
  reason: 'unreachable',
  passes: false,
  admits: (_request, { reach }) => reach !== 'unreachable',
};

/** Its connection was lost a moment ago and may be back the next. */
export const connected: Filter = {
  name: 'connected',
  reason: 'reconnecting',
  passes: true,
  admits: (_request, { reach }) => reach !== 'reconnecting',
};

/** A reservation on a worker that the registry has lost would be refused until it registers again. */
export const listed: Filter = {
  name: 'listed',
  reason: 'missing from the registry',
  passes: true,
  admits: (_request, { isListed }) => isListed,
};

export const codec: Filter = {
  name: 'codec',
  reason: 'without the codec',
  passes: false,
  admits: ({ kvCodec }, { record }) => kvCodec === undefined || record.codecs.includes(kvCodec),
};

export const notFailed: Filter = {
  name: 'not-failed',
  reason: 'that failed this request',
  passes: false,
  admits: ({ failed }, { record }) => failed.size === 0 || !failed.has(processOf(record)),
};

/** It goes on with an answer that another worker has begun as that one would have. */
export const fingerprint: Filter = {
  name: 'fingerprint',
  reason: 'of other weights, arithmetic or forms',
  passes: false,
  admits: (request, { record }) =>
    request.fingerprint === undefined || systemFingerprint(record) === request.fingerprint,
};

/** Its pool could hold the request if it were empty. */
export const capacity: Filter = {
  name: 'capacity',
  reason: 'too small',
  passes: false,
  admits: (request, worker) => worker.record.capacityPages >= request.pagesOn(worker),
};

/** It has failed requests again and again: others are asked while there are any. */
export const breaker: Filter = {
  name: 'breaker',
  reason: 'left alone after failures',
  passes: true,
  admits: ({ ignoresBreakers }, { isLeftAlone }) => !isLeftAlone || ignoresBreakers === true,
};

/** Of the requests that a worker runs at one time, how many more are sent ahead: it takes one up as another ends. */
const AHEAD = 1 / 8;

/**
 * It is about to take up what it has. A line belongs before the cluster, where tenants take turns: in a worker it goes
 * first come, first served. An answer that has begun has had its turn, and a guest passes the line in the worker.
 */
export const slots: Filter = {
  name: 'slots',
  reason: 'with as many requests as they run',
  passes: true,
  admits: ({ hasBegun, isGuest }, { record: { maxRunning }, requests }) => {
    const ahead = Math.max(1, Math.floor(AHEAD * maxRunning));
    // counts are late, and others may be more than they should: a guest is not to wait for that
    const guests = isGuest === true ? ahead + guestSlots(maxRunning) : 0;
    return hasBegun === true || requests < maxRunning + ahead + guests;
  },
};

/**
 * Its pool may have room at this moment. What this router reserved since the heartbeat is not taken off: a worker
 * shrinks a lease as soon as it has compressed the prompt, and the ledger has the last word.
 */
export const room: Filter = {
  name: 'room',
  reason: 'full',
  passes: true,
  admits: (request, worker) => worker.record.load.freePages + worker.freedPages >= request.pagesOn(worker),
};
