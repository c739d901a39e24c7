import { parse } from 'node:path';
import { KvcError } from '@kvcapsule/contracts';

export type Schedule = 'flat' | 'pyramid';

/** Comma-separated ratios above 1. */
export function parseRatios(text: string): number[] {
  const ratios = text.split(',').map(Number);
  if (!ratios.every((ratio) => ratio > 1 && Number.isFinite(ratio))) {
    throw new KvcError('CONFIG_INVALID', `--ratio: ${text} is not a list of numbers above 1`);
  }
  return ratios;
}

/** Comma-separated shares in (0, 1]. */
export function parseRetentions(text: string): number[] {
  const shares = text.split(',').map(Number);
  if (!shares.every((share) => share > 0 && share <= 1)) {
    throw new KvcError('CONFIG_INVALID', `--retention: ${text} is not a list of shares above 0 and up to 1`);
  }
  return shares;
}

/**
 * Share of rows kept per layer, with `share` as the mean. A pyramid falls in equal steps, since early
 * layers' keys and values compress worst; it is no steeper than its first layer keeping every row.
 */
export function layerRetention(share: number, schedule: Schedule, layers: number): Float32Array {
  const spread = schedule === 'flat' || layers === 1 ? 0 : Math.min(share / 2, 1 - share);
  return Float32Array.from({ length: layers }, (_, layer) =>
    spread === 0 ? share : share + spread * (1 - (2 * layer) / (layers - 1)),
  );
}

/** `FILE-ENDING.safetensors`, or `FILE` as it is. */
export function withEnding(out: string, ending: string, several: boolean): string {
  if (!several) return out;
  const { dir, name, ext } = parse(out);
  return `${dir === '' ? '' : `${dir}/`}${name}-${ending}${ext}`;
}

/** `FILE` for one retention, `FILE-r40.safetensors` and so on for several. */
export function profilePath(out: string, share: number, several: boolean): string {
  return withEnding(out, `r${String(Math.round(share * 100)).padStart(2, '0')}`, several);
}

/** `FILE` for one ratio, `FILE-x16.safetensors` and so on for several. */
export function packedProfilePath(out: string, ratio: number, several: boolean): string {
  return withEnding(out, `x${ratio}`, several);
}
