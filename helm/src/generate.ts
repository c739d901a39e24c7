import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { CHART, documents } from './documents/index.js';

const readme = readFileSync(join(CHART, 'README.md'), 'utf8');
for (const [name, text] of Object.entries(documents(readme))) writeFileSync(join(CHART, name), text);
