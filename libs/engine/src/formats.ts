import { type Codec, CODECS, type NativeEngineInfo } from './native.js';

/** Codecs that an engine can store spans with, `raw` among them. */
export function servedCodecs({ formats }: Pick<NativeEngineInfo, 'formats'>): Codec[] {
  return CODECS.filter((codec) => codec === 'raw' || formats.some((format) => format.codec === codec));
}
