import type { Engine } from './engine.js';
import type { NativeEngineInfo, NativeFormatInfo } from './native.js';
import { type CapsuleDescription, describeCapsules } from './profiles/index.js';

/** Keys or values of one layer, all KV heads together: of a capsule, or of a row where a format stores any number. */
export interface StoredPart {
  readonly bytes: number;
  /** Of the same rows in 16 bits. */
  readonly rawBytes: number;
  /**
   * Of the rows' variance about what the profile knows without a picture (mean and templates), the share that is
   * expected to be kept: from the deviations of the pictures of its fit. Undefined where there is no such figure.
   */
  readonly keptEnergy: number | undefined;
}

/** What a format keeps of each layer. */
export interface StoredFormat {
  readonly codec: string;
  readonly profileId: string;
  /** Rows of a capsule; 0: any number, and layers tell of one row. */
  readonly tokens: number;
  /** The rows are a picture's whole span; otherwise its visual tokens alone, where `tokens` is above 0. */
  readonly coversMarkers: boolean;
  /** Of a capsule, beside the layers: header, tables, and what is left unused. */
  readonly headerBytes: number;
  /** Bits move between layers from picture to picture: layers are those of a picture like the mean one of the fit. */
  readonly varies: boolean;
  readonly layers: readonly { readonly keys: StoredPart; readonly values: StoredPart }[];
}

/**
 * Every format of an engine, in the order of its numbers. Reads the profiles.
 *
 * @throws KvcError PROFILE_INVALID when a profile's file is no profile any more
 */
export async function describeFormats({
  info,
  profiles,
}: Pick<Engine, 'info' | 'profiles'>): Promise<StoredFormat[]> {
  const files = await Promise.all(profiles.map(({ path }) => describeCapsules(path)));
  const capsules = files.flat();
  const firstOfFile = info.formats.findIndex(({ profileFile }) => profileFile >= 0);
  return info.formats.map((format, at) => {
    const capsule = capsules[at - firstOfFile];
    return format.profileFile >= 0 && capsule ? ofCapsule(format, capsule, info) : ofRows(format, info);
  });
}

function ofRows(format: NativeFormatInfo, info: NativeEngineInfo): StoredFormat {
  const part = {
    bytes: format.bytesPerToken / (2 * info.layers),
    rawBytes: rawRowBytes(info),
    keptEnergy: undefined,
  };
  return {
    ...described(format),
    ...{ coversMarkers: true, varies: false, headerBytes: format.headerBytes },
    layers: Array.from({ length: info.layers }, () => ({ keys: part, values: part })),
  };
}

function ofCapsule(
  format: NativeFormatInfo,
  { parts, choosesBits }: CapsuleDescription,
  info: NativeEngineInfo,
): StoredFormat {
  // rows of masks are of the pool's own type
  const width = format.codec === 'capsule' ? elementBytes(info) / ROW_BYTES : 1;
  const partOf = (layer: number, name: 'keys' | 'values'): StoredPart => {
    const { bytes = 0, error = 0 } = parts.find((part) => part.layer === layer && part.part === name) ?? {};
    return {
      bytes: bytes * width,
      rawBytes: format.tokens * rawRowBytes(info),
      keptEnergy: error > 0 ? 1 - error : undefined,
    };
  };
  const layers = Array.from({ length: info.layers }, (_, layer) => ({
    keys: partOf(layer, 'keys'),
    values: partOf(layer, 'values'),
  }));
  const inLayers = layers.reduce((sum, { keys, values }) => sum + keys.bytes + values.bytes, 0);
  return {
    ...described(format),
    ...{ coversMarkers: format.markerRows.length > 0, varies: choosesBits, layers },
    headerBytes: format.bytes - inLayers,
  };
}

const described = ({ codec, profileId, tokens }: NativeFormatInfo) => ({ codec, profileId, tokens });

const ROW_BYTES = 2;

const rawRowBytes = ({ kvHeads, headDim }: NativeEngineInfo): number => kvHeads * headDim * ROW_BYTES;

const elementBytes = ({ blockBytes, blockTokens, layers, kvHeads, headDim }: NativeEngineInfo): number =>
  blockBytes / (blockTokens * 2 * layers * kvHeads * headDim);
