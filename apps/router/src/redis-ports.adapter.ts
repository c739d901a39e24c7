import { WorkerServiceClient } from '@kvcapsule/contracts/worker';
import {
  createRedisClient,
  type RedisClient,
  RedisLedger,
  RedisRegistry,
  type RedisSettings,
  StoreWatch,
} from '@kvcapsule/platform/redis';
import { createRpcClient } from '@kvcapsule/platform/rpc';
import type { Ports } from './ports.js';

/** Registry and ledger in Redis, workers over gRPC. */
export class RedisPorts implements Ports {
  readonly registry: RedisRegistry;
  readonly ledger: RedisLedger;

  private constructor(
    private readonly client: RedisClient,
    private readonly watch: StoreWatch,
  ) {
    this.registry = new RedisRegistry(client);
    this.ledger = new RedisLedger(client);
  }

  /** Rejects where `createRedisClient` does: Redis does not answer, or must not be used as it is. */
  static async open(redis: RedisSettings, warn: (line: string) => void): Promise<RedisPorts> {
    const client = await createRedisClient(redis, warn);
    return new RedisPorts(client, new StoreWatch(client, redis.redis, warn));
  }

  get storeFault(): string | undefined {
    return this.watch.fault;
  }

  connect(address: string): WorkerServiceClient {
    return createRpcClient(WorkerServiceClient, address);
  }

  close(): Promise<void> {
    this.watch.stop();
    this.client.disconnect();
    return Promise.resolve();
  }
}
