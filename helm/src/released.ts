import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { keptOf, render } from './manifests/index.js';
import { CASES } from './testing/cases.js';

/** Installations by which the chart is compared with the released one. */
const COMPARED = ['minimal', 'everything on', 'long names'];

const kept = await Promise.all(COMPARED.map(async (name) => [name, keptOf(await render(CASES[name] ?? {}))]));
const file = join(import.meta.dirname, '../released.json');
writeFileSync(file, `${JSON.stringify(Object.fromEntries(kept), null, 2)}\n`);
