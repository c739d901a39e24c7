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
import { RouterRecord } from './router-record.js';

/** Registry and ledger in Redis, workers over gRPC. */
export class RedisPorts implements Ports {
  readonly ledger: RedisLedger;

  private constructor(
    private readonly client: RedisClient,
    private readonly watch: StoreWatch,
    readonly registry: RedisRegistry,
    private readonly record: RouterRecord,
  ) {
    this.ledger = new RedisLedger(client, record);
  }

  /**
   * Registers this process as a router. Rejects where `createRedisClient` does: Redis does not answer, or must not be
   * used as it is.
   */
  static async open(
    redis: RedisSettings,
    routerId: string,
    warn: (line: string) => void,
  ): Promise<RedisPorts> {
    const client = await createRedisClient(redis, warn);
    const registry = new RedisRegistry(client);
    try {
      const record = await RouterRecord.open(registry, routerId, warn);
      return new RedisPorts(client, new StoreWatch(client, redis.redis, warn), registry, record);
    } catch (error) {
      client.disconnect();
      throw error;
    }
  }

  get storeFault(): string | undefined {
    return this.watch.fault;
  }

  connect(address: string): WorkerServiceClient {
    return createRpcClient(WorkerServiceClient, address);
  }

  get routers(): number {
    return this.record.routers;
  }

  async close(): Promise<void> {
    this.watch.stop();
    await this.record.close();
    this.client.disconnect();
  }
}
