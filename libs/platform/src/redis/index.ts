export { createRedisClient } from './client.js';
export type { RedisClient } from './scripts.js';
export { RedisLedger } from './ledger.adapter.js';
export { RedisRegistry } from './registry.adapter.js';
export { redisFault, redisFields, redisSettings, type RedisSettings } from './settings.js';
export { describeStore, type StoreNode } from './store-description.js';
export type { StoreMemory } from './store-check.js';
export { StoreWatch } from './store-watch.js';
export { redisAddress, redisUrl } from './url.js';
