// Builds apps/console with Vite, unless what it is made of has not changed since: node tools/build-console.mjs
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

const root = resolve(import.meta.dirname, '..');
const app = join(root, 'apps/console');
const stamp = join(app, 'dist/.content');

/** @param {string} folder */
const filesOf = (folder) =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();

const made = createHash('sha256');
const config = ['index.html', 'package.json', 'vite.config.mts'].map((name) => join(app, name));
const sources = [join(app, 'src'), join(root, 'samples')].flatMap(filesOf);
for (const file of [...config, ...sources, join(root, 'package-lock.json')])
  made.update(file.slice(root.length)).update('\0').update(readFileSync(file)).update('\0');
const content = made.digest('hex');

function builtFrom() {
  try {
    return readFileSync(stamp, 'utf8');
  } catch {
    return undefined;
  }
}

if (builtFrom() !== content) {
  const { build } = await import('vite');
  await build({ configFile: join(app, 'vite.config.mts'), logLevel: 'warn' });
  writeFileSync(stamp, content);
}
