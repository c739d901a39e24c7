import type { Filter } from '../placement.js';
import {
  breaker,
  capacity,
  codec,
  connected,
  fingerprint,
  listed,
  model,
  notFailed,
  processor,
  reachable,
  ready,
  room,
  slots,
} from './filters.js';

/** Every filter that takes part in placement, those that say most about a worker first. */
export const FILTERS: readonly Filter[] = [
  model,
  processor,
  ready,
  reachable,
  codec,
  notFailed,
  fingerprint,
  capacity,
  listed,
  connected,
  breaker,
  slots,
  room,
];
