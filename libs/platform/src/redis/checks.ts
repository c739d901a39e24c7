import { KvcError } from '@kvcapsule/contracts';

/** Worker ids stand inside a key's hash tag, so braces and colons are kept out. */
export const WORKER_ID = /^[A-Za-z0-9._-]{1,64}$/;

export function checkWorkerId(workerId: string): void {
  if (!WORKER_ID.test(workerId)) {
    throw new KvcError('INTERNAL', 'a worker id is 1 to 64 letters, digits, dots, dashes or underscores');
  }
}

/** A router's id stands in leases and records, between colons and blanks. */
export function checkRouterId(routerId: string): void {
  if (!WORKER_ID.test(routerId)) {
    throw new KvcError('INTERNAL', 'a router id is 1 to 64 letters, digits, dots, dashes or underscores');
  }
}

/** Pages and epochs cross into Lua as plain integers. */
export function checkCount(what: string, value: number): void {
  if (!Number.isSafeInteger(value) || value < 0) {
    throw new KvcError('INTERNAL', `${what} is a whole number from 0 up`);
  }
}
