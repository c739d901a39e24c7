import type { WorkerView } from '../../placement.js';

/** FNV-1a over the characters' codes. */
function hashOf(text: string): number {
  let hash = 0x811c9dc5;
  for (let at = 0; at < text.length; at += 1) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  return hash;
}

/** Mixes all bits into all bits (the end of MurmurHash3), so that near ids do not give near numbers. */
function mixed(hash: number): number {
  let bits = hash;
  bits = Math.imul(bits ^ (bits >>> 16), 0x85ebca6b);
  bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35);
  return (bits ^ (bits >>> 16)) >>> 0;
}

/**
 * The worker whose hash together with the session's is the highest (rendezvous hashing): when one of n workers comes or
 * goes, one in n sessions moves. A worker's epoch does not count: it comes back to its sessions.
 */
export function home(session: string, workers: readonly WorkerView[]): WorkerView | undefined {
  const seed = mixed(hashOf(session));
  let [best, most]: [WorkerView | undefined, number] = [undefined, -1];
  for (const worker of workers) {
    const weight = mixed(seed ^ hashOf(worker.record.workerId));
    if (weight > most) [best, most] = [worker, weight];
  }
  return best;
}
