import { FILTERS } from './filters/index.js';
import { nearBest } from './pickers/index.js';
import type { Plugins } from './placement.js';
import { SCORERS } from './scorers/index.js';

export * from './pages-by-class.js';
export * from './placement.js';
export * from './storage-class.js';
export * from './workload/workload.js';

/** What placement consists of. */
export const PLUGINS: Plugins = { filters: FILTERS, scorers: SCORERS, picker: nearBest };
