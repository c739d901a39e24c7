import { spanFormat, type FormatChoice } from '@kvcapsule/domain/storage';
import type { NativeEngineInfo } from '@kvcapsule/engine';

/**
 * @param picture markers and image tokens of a span
 * @returns undefined when the format covers spans of another shape
 */
export function fitSpan(
  info: NativeEngineInfo,
  format: number,
  picture: readonly number[],
): FormatChoice | undefined {
  const markerRows = [...picture.keys()].filter((row) => picture[row] !== info.imageTokenId);
  return spanFormat(info, format, { length: picture.length, markerRows });
}

/** Bytes of the pages that a span holds: its capsule's, and whole blocks of what stays raw beside it. */
export function heldBytes(info: NativeEngineInfo, { pages, restRows }: FormatChoice): number {
  const restBlocks = Math.ceil(restRows.length / info.blockTokens);
  return pages * info.pageBytes + restBlocks * info.blockBytes;
}

/** Bytes of as many tokens as raw rows, without rounding to blocks. */
export function rawBytes(info: NativeEngineInfo, tokens: number): number {
  return (tokens * info.blockBytes) / info.blockTokens;
}
