import { setFlagsFromString } from 'node:v8';

/**
 * A new picture of a megabyte leaves several megabytes of garbage outside V8's heap. V8 takes them for growth of the
 * old heap, of which it allows a quarter, and marks all of it every few requests: 150 ms of CPU each time. Garbage
 * of young objects, buffers included, goes in milliseconds where they are looked at soon enough.
 */
const HEAP_FLAGS: readonly string[] = [
  // The heap may become three times what was alive after the last marking. Memory outside counts up to 64 MiB.
  '--heap-growing-percent=200',
  // Of young objects at a time, in MiB (twice as many without compressed pointers); 32 are V8's own.
  '--scavenger-max-new-space-capacity-mb=8',
];

/** How V8 collects garbage in this process. For its beginning: what V8 grew before stays. */
export function tuneHeap(): void {
  for (const flag of HEAP_FLAGS) setFlagsFromString(flag);
}

/** How many read a memory that V8 does not know of. */
const lent = new WeakMap<ArrayBufferLike, number>();

/** The kernel, or whoever else V8 does not know of, reads the buffer until the function is called. */
export function lendMemory({ buffer }: Buffer): () => void {
  lent.set(buffer, (lent.get(buffer) ?? 0) + 1);
  return () => {
    lent.set(buffer, (lent.get(buffer) ?? 1) - 1);
  };
}

/**
 * Frees a buffer's memory, and that of whatever else is a view of the same, without waiting for a collection: they are
 * empty from here on. For what nobody will read again. Where the memory may be shared with strangers (Node cuts small
 * buffers out of slabs), or somebody still reads it that it was lent to, it is left to V8.
 */
export function giveBackMemory({ buffer, byteLength }: Buffer): void {
  if ((lent.get(buffer) ?? 0) > 0) return;
  const isWhole = buffer.byteLength === byteLength;
  if (buffer instanceof ArrayBuffer && (isWhole || buffer.byteLength > Buffer.poolSize)) buffer.transfer(0);
}
