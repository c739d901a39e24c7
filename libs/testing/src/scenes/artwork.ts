import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

/** Icon sets by the last part of their package's name. */
export type ArtworkSet =
  | 'noto'
  | 'noto-v1'
  | 'twemoji'
  | 'openmoji'
  | 'fluent-emoji'
  | 'fluent-emoji-flat'
  | 'emojione'
  | 'emojione-v1'
  | 'fxemoji';

/** What the demo model was trained on. */
export const KNOWN_ARTWORK: readonly ArtworkSet[] = [
  'noto',
  'noto-v1',
  'twemoji',
  'openmoji',
  'fluent-emoji',
  'fluent-emoji-flat',
  'emojione',
  'emojione-v1',
];

/** What the demo model has never seen. */
export const UNSEEN_ARTWORK: readonly ArtworkSet[] = ['fxemoji'];

/** Known sets whose licences (Apache-2.0, MIT) allow pictures to be shipped without share-alike terms. */
export const PERMISSIVE_ARTWORK: readonly ArtworkSet[] = ['noto', 'fluent-emoji'];

interface IconifySet {
  readonly width?: number;
  readonly height?: number;
  readonly icons: Readonly<Record<string, { body: string; width?: number; height?: number }>>;
  readonly aliases?: Readonly<Record<string, { parent: string }>>;
}

const require = createRequire(import.meta.url);
const loaded = new Map<ArtworkSet, IconifySet>();

function load(set: ArtworkSet): IconifySet {
  const known = loaded.get(set);
  if (known !== undefined) return known;
  const file = require.resolve(`@iconify-json/${set}/icons.json`);
  const icons = JSON.parse(readFileSync(file, 'utf8')) as IconifySet;
  loaded.set(set, icons);
  return icons;
}

/** The icon of that name, or the one it is an alias of, as an SVG document of `sizePx`; undefined without one. */
export function iconSvg(set: ArtworkSet, name: string, sizePx: number): string | undefined {
  const { icons, aliases, width, height } = load(set);
  const icon = icons[name] ?? icons[aliases?.[name]?.parent ?? ''];
  if (icon === undefined) return undefined;
  const box = `0 0 ${icon.width ?? width ?? 16} ${icon.height ?? height ?? 16}`;
  return `<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="${sizePx}" height="${sizePx}" viewBox="${box}">${icon.body}</svg>`;
}
