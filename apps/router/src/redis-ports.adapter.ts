import { WorkerServiceClient } from '@kvcapsule/contracts/worker';
import type { LedgerPort } from '@kvcapsule/domain/ledger';
import {
  createRedisClient,
  type RedisClient,
  RedisLedger,
  RedisRegistry,
  type RedisSettings,
  type StoreMemory,
  StoreWatch,
} from '@kvcapsule/platform/redis';
import { MeasuredLedger, type RouterMetrics } from '@kvcapsule/platform/telemetry';
import { createRpcClient } from '@kvcapsule/platform/rpc';
import type { Ports } from './ports.js';
import { RouterRecord } from './router-record.js';

/** Registry and ledger in Redis, workers over gRPC. */
export class RedisPorts implements Ports {
  readonly ledger: LedgerPort;

  private constructor(
    private readonly client: RedisClient,
    private readonly watch: StoreWatch,
    readonly registry: RedisRegistry,
    private readonly record: RouterRecord,
    metrics: RouterMetrics,
  ) {
    this.ledger = new MeasuredLedger(new RedisLedger(client, record), metrics);
  }

  /**
   * Registers this process as a router. Rejects where `createRedisClient` does: Redis does not answer, or must not be
   * used as it is.
   */
  static async open(
    redis: RedisSettings,
    routerId: string,
    metrics: RouterMetrics,
    warn: (line: string) => void,
  ): Promise<RedisPorts> {
    const client = await createRedisClient(redis, warn);
    const registry = new RedisRegistry(client);
    try {
      const record = await RouterRecord.open(registry, routerId, warn);
      return new RedisPorts(client, new StoreWatch(client, redis.redis, warn), registry, record, metrics);
    } catch (error) {
      client.disconnect();
      throw error;
    }
  }

  get storeFault(): string | undefined {
    return this.watch.fault;
  }

  get storeMemory(): StoreMemory | undefined {
    return this.watch.memory;
  }

  connect(address: string): WorkerServiceClient {
    return createRpcClient(WorkerServiceClient, address);
  }

  get routers(): number {
    return this.record.routers;
  }

  get addresses(): readonly string[] {
    return this.record.addresses;
  }

  listensAt(address: string): Promise<void> {
    return this.record.listensAt(address);
  }

  async close(): Promise<void> {
    this.watch.stop();
    await this.record.close();
    this.client.disconnect();
  }
}
