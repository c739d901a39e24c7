import { randomUUID } from 'node:crypto';

import {
  HEARTBEAT_TTL_MS,
  type RegistryPort,
  type WorkerDescriptor,
  type WorkerLoad,
  type WorkerRecord,
} from '@kvcapsule/domain/registry';
import { z } from 'zod';

import { checkCount, checkWorkerId } from './checks.js';
import { runVerb, type RedisClient } from './client.js';
import { EPOCH_TTL_MS, REGISTRY_KEY, workerKeys } from './keys.js';
import { ScriptCode, throwOnCode } from './script-codes.js';
import { keys4 } from './scripts.js';

const count = z.number().int().nonnegative();

const descriptorSchema = z.object({
  workerId: z.string(),
  address: z.string(),
  modelId: z.string(),
  modelRevision: z.string(),
  contextTokens: count,
  blockTokens: count,
  pagesPerBlock: count,
  pageBytes: count,
  capacityPages: count,
  codec: z.string(),
  profileId: z.string(),
  codecs: z.array(z.string()),
  formats: z.array(
    z.object({
      codec: z.string(),
      tokens: count,
      markerTokens: count,
      pages: count,
      headerBytes: z.number().nonnegative(),
      bytesPerToken: z.number().nonnegative(),
    }),
  ),
});

const loadSchema = z.object({
  state: z.enum(['ready', 'draining', 'failed']),
  running: count,
  waiting: count,
  freePages: count,
});

/** The registry in Redis. Verbs and rejections: see `RegistryPort`; a heartbeat without a record is `NO_WORKER`. */
export class RedisRegistry implements RegistryPort {
  constructor(private readonly client: RedisClient) {}

  async register(worker: WorkerDescriptor, load: WorkerLoad): Promise<{ epoch: number }> {
    checkWorkerId(worker.workerId);
    checkCount('capacityPages', worker.capacityPages);
    const keys = keys4(workerKeys(worker.workerId));
    const attempt = randomUUID();
    const descriptor = JSON.stringify(descriptorSchema.parse(worker));
    const epoch = await runVerb(this.client, () =>
      this.client.kvcRegister(
        ...keys,
        attempt,
        descriptor,
        JSON.stringify(loadSchema.parse(load)),
        worker.capacityPages,
        HEARTBEAT_TTL_MS,
        EPOCH_TTL_MS,
      ),
    );
    await runVerb(this.client, () => this.client.sadd(REGISTRY_KEY, worker.workerId));
    return { epoch: throwOnCode(epoch, worker.workerId) };
  }

  async heartbeat(workerId: string, epoch: number, load: WorkerLoad): Promise<void> {
    checkWorkerId(workerId);
    const keys = keys4(workerKeys(workerId));
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
    const keys = keys4(workerKeys(workerId));
    const code = await runVerb(this.client, () => this.client.kvcDeregister(...keys, epoch));
    if (code !== ScriptCode.StaleEpoch) {
      await runVerb(this.client, () => this.client.srem(REGISTRY_KEY, workerId));
    }
  }

  async list(): Promise<readonly WorkerRecord[]> {
    const workerIds = await runVerb(this.client, () => this.client.smembers(REGISTRY_KEY));
    const records = await Promise.all(workerIds.map((workerId) => this.read(workerId)));
    return records
      .filter((record) => record !== undefined)
      .sort((a, b) => (a.workerId < b.workerId ? -1 : 1));
  }

  private async read(workerId: string): Promise<WorkerRecord | undefined> {
    const [epoch, descriptor, load] = await runVerb(this.client, () =>
      this.client.hmget(workerKeys(workerId).info, 'epoch', 'descriptor', 'load'),
    );
    if (epoch == null || descriptor == null || load == null) {
      // A worker that registers at this moment comes back with its next heartbeat.
      await runVerb(this.client, () => this.client.srem(REGISTRY_KEY, workerId));
      return undefined;
    }
    return {
      ...descriptorSchema.parse(JSON.parse(descriptor)),
      epoch: Number(epoch),
      load: loadSchema.parse(JSON.parse(load)),
    };
  }
}
