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
import { isWrongType, runVerb } from './client.js';
import type { RedisClient } from './scripts.js';
import { type KeyTypes, REGISTRY_KEY, REGISTRY_TYPES, typesOf, workerKeys } from './keys.js';
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
    const keys = workerKeys(worker.workerId);
    checkCount('heldEpoch', by.heldEpoch);
    const descriptor = descriptorJson(worker);
    const epoch = await this.#run(typesOf(keys), () =>
      this.client.kvcRegister(
        ...keys5(keys),
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
    await this.#enlist(worker.workerId);
    return { epoch };
  }

  async heartbeat(workerId: string, epoch: number, load: WorkerLoad): Promise<void> {
    checkWorkerId(workerId);
    const keys = workerKeys(workerId);
    const loadJson = JSON.stringify(loadSchema.parse(load));
    const code = await this.#run(typesOf(keys), () =>
      this.client.kvcHeartbeat(...keys5(keys), epoch, loadJson, HEARTBEAT_TTL_MS, EPOCH_TTL_MS),
    );
    throwOnCode(code, workerId);
    await this.#enlist(workerId);
  }

  async deregister(workerId: string, epoch: number): Promise<void> {
    checkWorkerId(workerId);
    const keys = workerKeys(workerId);
    const code = await this.#run(typesOf(keys), () => this.client.kvcDeregister(...keys5(keys), epoch));
    if (code !== ScriptCode.StaleEpoch) {
      await this.#run(REGISTRY_TYPES, () => this.client.srem(REGISTRY_KEY, workerId));
    }
  }

  async list(): Promise<readonly WorkerRecord[]> {
    const workerIds = await this.#run(REGISTRY_TYPES, () => this.client.smembers(REGISTRY_KEY));
    const records = await Promise.all(workerIds.map((workerId) => this.#readable(workerId)));
    this.#records.keep(workerIds);
    return records
      .filter((record) => record !== undefined)
      .sort((a, b) => (a.workerId < b.workerId ? -1 : 1));
  }

  /** One whose key holds something else is as good as none until its next heartbeat, and takes nobody else out. */
  async #readable(workerId: string): Promise<WorkerRecord | undefined> {
    return this.#read(workerId).catch((error: unknown) => {
      if (isWrongType(error)) return undefined;
      throw error;
    });
  }

  /** Fetches the descriptor, a kilobyte or several, only where the epoch is new. */
  async #read(workerId: string): Promise<WorkerRecord | undefined> {
    const keys = workerKeys(workerId);
    const types = typesOf(keys);
    const { info } = keys;
    const [epoch, load] = await this.#run(types, () => this.client.hmget(info, 'epoch', 'load'));
    if (epoch == null || load == null) return this.#gone(workerId);
    if (this.#records.knows(workerId, epoch)) return this.#records.record(workerId, load);
    // All three again: between two reads another process may have registered.
    const [newEpoch, newLoad, descriptor] = await this.#run(types, () =>
      this.client.hmget(info, 'epoch', 'load', 'descriptor'),
    );
    if (newEpoch == null || newLoad == null || descriptor == null) return this.#gone(workerId);
    this.#records.learn(workerId, newEpoch, descriptor);
    return this.#records.record(workerId, newLoad);
  }

  /** A worker that registers at this moment comes back with its next heartbeat. */
  async #gone(workerId: string): Promise<undefined> {
    await this.#run(REGISTRY_TYPES, () => this.client.srem(REGISTRY_KEY, workerId));
    return undefined;
  }

  async #enlist(workerId: string): Promise<void> {
    await this.#run(REGISTRY_TYPES, () => this.client.kvcEnlist(REGISTRY_KEY, workerId));
  }

  #run<T>(types: KeyTypes, verb: () => Promise<T>): Promise<T> {
    return runVerb(this.client, types, verb);
  }
}
