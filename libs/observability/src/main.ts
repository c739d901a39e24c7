import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';

import { files } from './files.js';

/** Writes all that is generated into the checkout, and removes what is generated no more. */
const root = resolve(import.meta.dirname, '../../..');
const made = files();
for (const folder of new Set([...made.keys()].map((path) => dirname(path)))) {
  mkdirSync(join(root, folder), { recursive: true });
  if (/\/(dashboards|rules)$/.test(folder))
    for (const name of readdirSync(join(root, folder)))
      if (!made.has(`${folder}/${name}`)) rmSync(join(root, folder, name));
}
for (const [path, text] of made) writeFileSync(join(root, path), text);
