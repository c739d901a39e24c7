export { type Certificates, makeCertificates } from './certificates.js';
export { startCluster } from './cluster.js';
export { type FailOver } from './fail-over.js';
export { freePort } from './free-port.js';
export type { Server } from './server.js';
export { startSentinels } from './sentinels.js';
export { type ServerOptions, startServer, type Store } from './store.js';
export { useRedis } from './use-redis.js';
export { valkeyServer } from './valkey.js';
