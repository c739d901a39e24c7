import type { WorkerServiceClient } from '@kvcapsule/contracts/worker';
import type { LedgerPort } from '@kvcapsule/domain/ledger';
import type { RegistryPort } from '@kvcapsule/domain/registry';
import type { StoreMemory } from '@kvcapsule/platform/redis';

/** What the router reaches outside itself through; bound to Redis and gRPC in main, to fakes in tests. */
export abstract class Ports {
  abstract readonly registry: RegistryPort;
  abstract readonly ledger: LedgerPort;
  /** How many routers share the cluster, this one included, as far as this one has heard. */
  abstract readonly routers: number;
  /** host:port of the routers that listen, this one included, as far as this one has heard. */
  abstract readonly addresses: readonly string[];
  /** Others may learn that this router listens there. Never rejects. */
  abstract listensAt(address: string): Promise<void>;
  /** Why the store should not be used as it is, though it answers, in one line. */
  abstract readonly storeFault: string | undefined;
  /** Of the store, as it was read last; undefined where it does not say. */
  abstract readonly storeMemory: StoreMemory | undefined;
  /** A client for the worker at `host:port`. */
  abstract connect(address: string): WorkerServiceClient;
  /** Called once, when everything else has stopped. */
  abstract close(): Promise<void>;
}
