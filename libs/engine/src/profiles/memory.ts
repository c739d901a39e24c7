import { readFile } from 'node:fs/promises';
import { readLayouts } from './layouts.js';
import { readHeader, tensorNumbers, type SafetensorsHeader } from './safetensors.js';

const FLOAT_BYTES = 4;
/** Copies of a basis in an engine: as read, for encoding, for decoding, and laid out for attention. */
const BASIS_COPIES = 4;
/** Of a template, likewise. */
const TEMPLATE_COPIES = 3;

const numbersOf = (header: SafetensorsHeader, what: RegExp) =>
  [...header.tensors]
    .filter(([name]) => what.test(name))
    .reduce((sum, [, { shape }]) => sum + shape.reduce((product, extent) => product * extent, 1), 0);

/** Bytes of the bases and templates of a profile of pieces, which every grid has its own of. */
function pieceBytes(file: Buffer, header: SafetensorsHeader): number {
  const dim = Number(header.metadata['head_dim'] ?? 0);
  const groups = tensorNumbers(file, header, 'groups') ?? [];
  const markers = new Set(tensorNumbers(file, header, 'marker_rows') ?? []);
  const rowsOf = (kind: number) => groups.filter((group) => group === kind).length;
  const isMarker = (kind: number) => markers.has(groups.indexOf(kind));
  const parts = [...header.tensors.keys()].filter((name) => name.endsWith('.ranks'));
  let floats = 0;
  for (const { kinds, tokens } of readLayouts(file, header)) {
    const columns = kinds.filter(isMarker).reduce((sum, kind) => sum + rowsOf(kind), 0);
    for (const part of parts) {
      const ranks = tensorNumbers(file, header, part) ?? [];
      for (const kind of kinds)
        floats += BASIS_COPIES * (ranks[kind] ?? 0) * (isMarker(kind) ? columns : rowsOf(kind));
      floats += TEMPLATE_COPIES * tokens * dim;
    }
  }
  return floats * FLOAT_BYTES;
}

/** Bytes that an engine will hold for a profile, at most; 0 for a file that it will refuse. */
export async function profileMemoryBytes(path: string): Promise<number> {
  try {
    const [file, header] = await Promise.all([readFile(path), readHeader(path)]);
    if (header.metadata['version'] === '3') return pieceBytes(file, header);
    const bases = numbersOf(header, /\.(basis|theta)$/);
    const templates = numbersOf(header, /\.(template|means|mean)$/);
    return (BASIS_COPIES * bases + TEMPLATE_COPIES * templates) * FLOAT_BYTES;
  } catch {
    return 0;
  }
}
