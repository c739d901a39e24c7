export { createRedisClient, type RedisClient } from './client.js';
export { RedisLedger } from './ledger.adapter.js';
export { RedisRegistry } from './registry.adapter.js';
export { redisUrl } from './url.js';
