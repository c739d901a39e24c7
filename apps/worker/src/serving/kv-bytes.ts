import type { Holding } from '@kvcapsule/domain/scheduling';
import { type Codec, type NativeEngineInfo, servedCodecs } from '@kvcapsule/engine';

/** Bytes of the pages that hold something in one codec, and those of them that something was written to. */
export interface CodecBytes {
  held: number;
  written: number;
}

/** What is held, by codec; zeros for a codec that the engine serves and nobody uses. */
export function kvBytesByCodec(
  holdings: ReadonlyMap<number | undefined, Holding>,
  info: NativeEngineInfo,
): Map<Codec, CodecBytes> {
  const byCodec = new Map(servedCodecs(info).map((codec) => [codec, { held: 0, written: 0 }]));
  for (const [number, holding] of holdings) {
    const format = number === undefined ? undefined : info.formats[number];
    const bytes = byCodec.get(format?.codec ?? 'raw');
    if (!bytes) continue;
    bytes.held += holding.pages * info.pageBytes;
    bytes.written += writtenBytes(holding, format, info);
  }
  return byCodec;
}

function writtenBytes(
  { pieces, tokens }: Holding,
  format: NativeEngineInfo['formats'][number] | undefined,
  { pageBytes, pagesPerBlock, blockTokens }: NativeEngineInfo,
): number {
  if (!format) return (tokens * pageBytes * pagesPerBlock) / blockTokens;
  if (format.tokens > 0) return pieces * format.bytes;
  return pieces * format.headerBytes + tokens * format.bytesPerToken;
}
