import { tensorNumbers, type SafetensorsHeader } from './safetensors.js';

/** Pictures of one grid that a profile of several is for. */
export interface LayoutDescription {
  /** As `2x4`: rows and columns of tiles. */
  readonly name: string;
  readonly tokens: number;
  /** Of a capsule; 0 where it follows from the rows' bits. */
  readonly bytes: number;
}

/** A layout with the kind of each of its pieces. */
export interface Layout extends LayoutDescription {
  readonly kinds: readonly number[];
}

/** Grids of a profile of pieces, as they lie in the file. */
export function readLayouts(file: Buffer, header: SafetensorsHeader): Layout[] {
  const read = (name: string) => tensorNumbers(file, header, name) ?? [];
  const groups = read('groups');
  const sites = read('sites');
  const all = read('layouts');
  const begins = read('layout_begins');
  const bytes = read('layout_bytes');
  const names = (header.metadata['grids'] ?? '').split(',');
  return bytes.map((each, at) => {
    const kinds = all.slice(begins[at], begins[at + 1]).map((site) => sites[site] ?? -1);
    const tokens = kinds.reduce((rows, kind) => rows + groups.filter((group) => group === kind).length, 0);
    return { name: names[at] ?? '', tokens, bytes: each, kinds };
  });
}
