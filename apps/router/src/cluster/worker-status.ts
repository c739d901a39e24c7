import { type ClusterTotals, type ClusterWorker, type WorkerState } from '@kvcapsule/contracts/cluster';
import { HEARTBEAT_INTERVAL_MS, type WorkerRecord } from '@kvcapsule/domain/registry';
import type { Member } from '../fleet/member.js';

/** A worker with open requests reports every second; one that is silent for longer may hang. */
const STALLED_MS = 3_000;
/** Heartbeats that come later than this are late. */
const LATE_MS = 2 * HEARTBEAT_INTERVAL_MS;

type Held = NonNullable<ClusterWorker['held']>;

/** @param silentMs since its last heartbeat; undefined where the registry has it no more */
export function workerStatus(member: Member, silentMs: number | undefined, nowMs: number): ClusterWorker {
  const { record } = member;
  const { load, capacityPages, pageBytes } = record;
  return {
    ...{ id: record.workerId, epoch: record.epoch, model: record.modelId, address: record.address },
    state: stateOf(member),
    breaker: member.breaker.state(nowMs),
    codec: record.codec,
    ...{ running: load.running, waiting: load.waiting, max_running: record.maxRunning },
    ...{ pages: capacityPages, page_bytes: pageBytes },
    leased_pages: Math.max(0, capacityPages - load.freePages),
    held: heldOf(record),
    tokens_per_second: Math.round(member.tokensPerSecond(nowMs) * 10) / 10,
    silent_seconds: silentMs === undefined || silentMs < LATE_MS ? 0 : Math.floor(silentMs / 1_000),
  };
}

function stateOf({ record, isListed, reach, channel }: Member): WorkerState {
  if (record.load.state === 'failed') return 'failed';
  if (!isListed || reach === 'unreachable') return 'away';
  if (channel.current && channel.current.silentMs > STALLED_MS) return 'stalled';
  return record.load.state;
}

function heldOf({ load: { pool }, capacityPages, pageBytes }: WorkerRecord): Held | null {
  if (!pool) return null;
  const { rawPages: raw, capsulePages: capsule, cachedPages: cached, swappedPages, rawBytes } = pool;
  const held = raw + capsule + cached;
  return {
    ...{ raw, capsule, cached, free: Math.max(0, capacityPages - held), swapped: swappedPages },
    stored_bytes: held * pageBytes,
    raw_bytes: rawBytes,
  };
}

const NOTHING: Held = {
  ...{ raw: 0, capsule: 0, cached: 0, free: 0, swapped: 0 },
  ...{ stored_bytes: 0, raw_bytes: 0 },
};

/** @param queued requests of this router that no worker has yet */
export function totalsOf(workers: readonly ClusterWorker[], queued: number): ClusterTotals {
  const states = { ready: 0, draining: 0, failed: 0, stalled: 0, away: 0 };
  const held = { ...NOTHING };
  const sum = { running: 0, waiting: 0, pages: 0, leased_pages: 0, tokens_per_second: 0 };
  let saved = 0;
  for (const worker of workers) {
    states[worker.state] += 1;
    for (const name of keysOf(sum)) sum[name] += worker[name];
    if (!worker.held) continue;
    for (const name of keysOf(held)) held[name] += worker.held[name];
    saved += Math.max(0, worker.held.raw_bytes - worker.held.stored_bytes);
  }
  const tokensPerSecond = Math.round(sum.tokens_per_second * 10) / 10;
  return { workers: states, ...sum, tokens_per_second: tokensPerSecond, queued, held, saved_bytes: saved };
}

function keysOf<T extends object>(of: T): (keyof T)[] {
  return Object.keys(of) as (keyof T)[];
}
