// The licences of what a release holds. An npm package carries its own along; those of all else lie in `licenses`.
import { globSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import texts from 'spdx-license-list/full.js';
import { copy } from './files.mjs';
import { DEBIAN_PARTS } from './parts.mjs';

export const LICENCE = /^(licen[cs]e|notice|copying)/i;

/** Files of a package that say how it is licensed. */
export function licencesIn(home) {
  return readdirSync(home).filter((name) => LICENCE.test(name));
}

/** @param {string[]} bundled folders of the packages that the console's pages are made of, relative to the root */
export function stageLicences(root, folder, bundled) {
  const licences = join(folder, 'licenses');
  for (const name of DEBIAN_PARTS) copy(`/usr/share/doc/${name}/copyright`, join(licences, name), 0o644);
  const [ggml] = globSync(join(root, '.cache/ggml-*/LICENSE'));
  copy(ggml, join(licences, 'ggml'), 0o644);
  // the wheel that the toolchain takes Node from has none of it
  copy(join(root, 'tools/release/licences/node.txt'), join(licences, 'node'), 0o644);
  for (const path of bundled)
    for (const name of licencesIn(join(root, path)))
      copy(join(root, path, name), join(licences, 'console', path.replace('node_modules/', ''), name), 0o644);
}

/** The text of each licence that a bill names, since not every package brings it; Debian's parts bring theirs. */
export function stageTexts(folder, { components }) {
  const home = join(folder, 'licenses/texts');
  mkdirSync(home, { recursive: true });
  for (const id of licenceIds(components)) writeFileSync(join(home, id), `${texts[id].licenseText.trim()}\n`);
}

function licenceIds(components) {
  const words = components
    .filter(({ purl }) => !purl.startsWith('pkg:deb/'))
    .flatMap(({ licenses, components: parts = [] }) => [
      ...licenses.flatMap(({ license, expression }) => expression?.match(/[\w.-]+/g) ?? license.id ?? []),
      ...licenceIds(parts),
    ]);
  return [...new Set(words)].filter((word) => !/^(AND|OR|WITH)$/.test(word)).sort();
}
