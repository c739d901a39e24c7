// Exits 0 when node_modules holds what package-lock.json asks for, 1 when `npm ci` is due.
// npm writes node_modules/.package-lock.json last, so a broken install never counts as current.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));

/** @param {string} file */
function packagesOf(file) {
  try {
    return JSON.parse(readFileSync(root + file, 'utf8')).packages;
  } catch {
    return undefined;
  }
}

const wanted = packagesOf('package-lock.json');
const present = packagesOf('node_modules/.package-lock.json');
const current =
  present !== undefined &&
  Object.entries(wanted).every(
    ([path, entry]) =>
      !path.includes('node_modules/') ||
      entry.optional ||
      entry.peer ||
      present[path]?.version === entry.version,
  );
process.exit(current ? 0 : 1);
