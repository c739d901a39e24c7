import { EPOCH_TTL_MS } from '@kvcapsule/domain/ledger';
import {
  HEARTBEAT_TTL_MS,
  type Registrant,
  type RegistryPort,
  type WorkerDescriptor,
  type WorkerLoad,
  type WorkerRecord,
} from '@kvcapsule/domain/registry';

import { checkCount, checkWorkerId } from './checks.js';
import { runVerb, type RedisClient } from './client.js';
import { REGISTRY_KEY, workerKeys } from './keys.js';
import { ScriptCode, throwOnCode } from './script-codes.js';
import { keys5 } from './scripts.js';
import { descriptorJson, loadSchema, WorkerRecords } from './worker-records.js';

/** The registry in Redis. Verbs and rejections: see `RegistryPort`; a heartbeat without a record is `NO_WORKER`. */
export class RedisRegistry implements RegistryPort {
  readonly #records = new WorkerRecords();

  constructor(private readonly client: RedisClient) {}

  async register(worker: WorkerDescriptor, load: WorkerLoad, by: Registrant): Promise<{ epoch: number }> {
    checkWorkerId(worker.workerId);
    checkCount('capacityPages', worker.capacityPages);
    const keys = keys5(workerKeys(worker.workerId));
    checkCount('heldEpoch', by.heldEpoch);
    const descriptor = descriptorJson(worker);
    const epoch = await runVerb(this.client, () =>
      this.client.kvcRegister(
        ...keys,
        by.instanceId,
        by.heldEpoch,
        descriptor,
        JSON.stringify(loadSchema.parse(load)),
        worker.capacityPages,
        HEARTBEAT_TTL_MS,
        EPOCH_TTL_MS,
      ),
    );
    throwOnCode(epoch, worker.workerId);
    await runVerb(this.client, () => this.client.sadd(REGISTRY_KEY, worker.workerId));
    return { epoch };
  }

  async heartbeat(workerId: string, epoch: number, load: WorkerLoad): Promise<void> {
    checkWorkerId(workerId);
    const keys = keys5(workerKeys(workerId));
    const loadJson = JSON.stringify(loadSchema.parse(load));
    const code = await runVerb(this.client, () =>
      this.client.kvcHeartbeat(...keys, epoch, loadJson, HEARTBEAT_TTL_MS, EPOCH_TTL_MS),
    );
    throwOnCode(code, workerId);
    // Asked first, since Redis at its memory limit refuses SADD even where it would add nothing.
    if ((await runVerb(this.client, () => this.client.sismember(REGISTRY_KEY, workerId))) === 0) {
      await runVerb(this.client, () => this.client.sadd(REGISTRY_KEY, workerId));
    }
  }

  async deregister(workerId: string, epoch: number): Promise<void> {
    checkWorkerId(workerId);
    const keys = keys5(workerKeys(workerId));
    const code = await runVerb(this.client, () => this.client.kvcDeregister(...keys, epoch));
    if (code !== ScriptCode.StaleEpoch) {
      await runVerb(this.client, () => this.client.srem(REGISTRY_KEY, workerId));
    }
  }

  async list(): Promise<readonly WorkerRecord[]> {
    const workerIds = await runVerb(this.client, () => this.client.smembers(REGISTRY_KEY));
    const records = await Promise.all(workerIds.map((workerId) => this.#read(workerId)));
    this.#records.keep(workerIds);
    return records
      .filter((record) => record !== undefined)
      .sort((a, b) => (a.workerId < b.workerId ? -1 : 1));
  }

  /** Fetches the descriptor, a kilobyte or several, only where the epoch is new. */
  async #read(workerId: string): Promise<WorkerRecord | undefined> {
    const { info } = workerKeys(workerId);
    const [epoch, load] = await runVerb(this.client, () => this.client.hmget(info, 'epoch', 'load'));
    if (epoch == null || load == null) return this.#gone(workerId);
    if (this.#records.knows(workerId, epoch)) return this.#records.record(workerId, load);
    // All three again: between two reads another process may have registered.
    const [newEpoch, newLoad, descriptor] = await runVerb(this.client, () =>
      this.client.hmget(info, 'epoch', 'load', 'descriptor'),
    );
    if (newEpoch == null || newLoad == null || descriptor == null) return this.#gone(workerId);
    this.#records.learn(workerId, newEpoch, descriptor);
    return this.#records.record(workerId, newLoad);
  }

  /** A worker that registers at this moment comes back with its next heartbeat. */
  async #gone(workerId: string): Promise<undefined> {
    await runVerb(this.client, () => this.client.srem(REGISTRY_KEY, workerId));
    return undefined;
  }
}
