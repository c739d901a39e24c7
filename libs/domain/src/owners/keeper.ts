/**
 * Of the workers that hold a name, the one whose copy counts as the last one. All who ask of the same workers are told
 * the same, and the names of a worker are kept by all of them in turn; undefined where there is none.
 */
export function keeperOf(name: Uint8Array, workerIds: Iterable<string>): string | undefined {
  let keeper: { readonly workerId: string; readonly rank: number } | undefined;
  for (const workerId of workerIds) {
    const rank = rankOf(name, workerId);
    const isHigher = !keeper || rank > keeper.rank || (rank === keeper.rank && workerId > keeper.workerId);
    if (isHigher) keeper = { workerId, rank };
  }
  return keeper?.workerId;
}

/** FNV-1a over the worker's id, from the name's first bytes on, and MurmurHash's last steps, which spread it. */
function rankOf(name: Uint8Array, workerId: string): number {
  let hash = ((name[0] ?? 0) << 24) | ((name[1] ?? 0) << 16) | ((name[2] ?? 0) << 8) | (name[3] ?? 0);
  for (let at = 0; at < workerId.length; at += 1) {
    hash = Math.imul(hash ^ workerId.charCodeAt(at), 0x01000193);
  }
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
