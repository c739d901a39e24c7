import { crc32, deflateSync } from 'node:zlib';

/** PNG's colour types by name, with the samples a pixel has. */
const COLOUR_TYPES = {
  grey: { code: 0, samples: 1 },
  rgb: { code: 2, samples: 3 },
  palette: { code: 3, samples: 1 },
  greyAlpha: { code: 4, samples: 2 },
  rgba: { code: 6, samples: 4 },
} as const;

export interface PngContent {
  readonly width: number;
  readonly height: number;
  readonly colour: keyof typeof COLOUR_TYPES;
  readonly bitDepth: 8 | 16;
  /** [height, width, samples of the colour type] */
  readonly samples: readonly number[] | Uint8Array | Uint16Array;
  /** [entries, 3] */
  readonly palette?: readonly number[];
  /** Content of the tRNS chunk. */
  readonly transparency?: readonly number[];
}

const SIGNATURE = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);

/** One chunk: length, type, data and checksum. */
export function pngChunk(type: string, data: Uint8Array): Buffer {
  const chunk = Buffer.alloc(12 + data.length);
  chunk.writeUInt32BE(data.length, 0);
  chunk.write(type, 4, 'latin1');
  chunk.set(data, 8);
  chunk.writeUInt32BE(crc32(chunk.subarray(4, 8 + data.length)), 8 + data.length);
  return chunk;
}

function scanLines({ width, height, colour, bitDepth, samples }: PngContent): Buffer {
  const rowSamples = width * COLOUR_TYPES[colour].samples;
  const sampleBytes = bitDepth / 8;
  const lines = Buffer.alloc(height * (1 + rowSamples * sampleBytes));
  for (let row = 0, at = 0; row < height; row += 1) {
    at += 1; // Filter type 0: the samples stand as they are.
    for (let i = 0; i < rowSamples; i += 1)
      at = lines.writeUIntBE(samples[row * rowSamples + i] ?? 0, at, sampleBytes);
  }
  return lines;
}

/** Writes a PNG sample for sample, with no library's idea of colour in between. */
export function encodePng(content: PngContent): Buffer {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(content.width, 0);
  header.writeUInt32BE(content.height, 4);
  header.set([content.bitDepth, COLOUR_TYPES[content.colour].code, 0, 0, 0], 8);
  return Buffer.concat([
    SIGNATURE,
    pngChunk('IHDR', header),
    ...(content.palette ? [pngChunk('PLTE', Buffer.from(content.palette))] : []),
    ...(content.transparency ? [pngChunk('tRNS', Buffer.from(content.transparency))] : []),
    pngChunk('IDAT', deflateSync(scanLines(content))),
    pngChunk('IEND', Buffer.alloc(0)),
  ]);
}
