// Writes docs/reference/metrics.md from the catalogue of metrics: `npm run generate:metrics`.
import { writeFileSync } from 'node:fs';
import { resolve } from 'node:path';

import { referencePage } from '@kvcapsule/platform/telemetry';

writeFileSync(resolve(import.meta.dirname, '../docs/reference/metrics.md'), referencePage());
