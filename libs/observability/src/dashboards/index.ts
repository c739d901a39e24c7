import type { Board } from './board.js';
import { cluster } from './cluster.js';
import { latency } from './latency.js';
import { memory } from './memory.js';
import { overview } from './overview.js';
import { store } from './store.js';
import { tenants } from './tenants.js';

export const BOARDS: readonly Board[] = [overview, memory, latency, cluster, tenants, store];
