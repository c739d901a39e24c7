import { EPOCH_TTL_MS, LEASE_TTL_MS } from '@kvcapsule/domain/ledger';
import {
  type Beating,
  type Following,
  HEARTBEAT_TTL_MS,
  type Registrant,
  type RegistryListener,
  type RegistryPort,
  type WorkerDescriptor,
  type WorkerLoad,
} from '@kvcapsule/domain/registry';

import { type AnnouncementKind, loadText } from './announcements.js';
import { checkCount, checkWorkerId } from './checks.js';
import { runVerb } from './client.js';
import { descriptorJson } from './descriptors.js';
import {
  ANNOUNCED_TTL_MS,
  type KeyTypes,
  MOST_ANNOUNCEMENTS,
  REGISTRY_KEYS,
  REGISTRY_TYPES,
  typesOf,
  workerKeys,
} from './keys.js';
import { RegistryFollower } from './registry-follower.js';
import { ScriptCode, throwOnCode } from './script-codes.js';
import { keys5, type RedisClient } from './scripts.js';

/** The registry in Redis. Verbs and rejections: see `RegistryPort`; a heartbeat without a record is `NO_WORKER`. */
export class RedisRegistry implements RegistryPort {
  constructor(private readonly client: RedisClient) {}

  async register(worker: WorkerDescriptor, load: WorkerLoad, by: Registrant): Promise<{ epoch: number }> {
    const { workerId, capacityPages } = worker;
    checkWorkerId(workerId);
    checkCount('capacityPages', capacityPages);
    checkCount('heldEpoch', by.heldEpoch);
    const keys = workerKeys(workerId);
    const descriptor = descriptorJson(worker);
    const said = loadText(load);
    const { instanceId, heldEpoch } = by;
    const epoch = await this.#run(typesOf(keys), () =>
      this.client.kvcRegister(
        ...keys5(keys),
        ...([instanceId, heldEpoch, descriptor, capacityPages] as const),
        ...([HEARTBEAT_TTL_MS, EPOCH_TTL_MS] as const),
      ),
    );
    throwOnCode(epoch, workerId);
    await this.#announce('beat', workerId, epoch, said);
    return { epoch };
  }

  async heartbeat({ workerId, capacityPages }: Beating, epoch: number, load: WorkerLoad): Promise<void> {
    checkWorkerId(workerId);
    checkCount('capacityPages', capacityPages);
    loadText(load);
    const keys = workerKeys(workerId);
    const unpromised = await this.#run(typesOf(keys), () =>
      this.client.kvcHeartbeat(
        ...keys5(keys),
        ...([epoch, capacityPages, HEARTBEAT_TTL_MS, EPOCH_TTL_MS, LEASE_TTL_MS] as const),
      ),
    );
    throwOnCode(unpromised, workerId);
    await this.#announce('beat', workerId, epoch, available(load, unpromised));
  }

  async freed(workerId: string, epoch: number, load: WorkerLoad): Promise<void> {
    checkWorkerId(workerId);
    const { info, leases, ...others } = workerKeys(workerId);
    const account = await this.#run(typesOf({ info, leases, ...others }), () =>
      this.client.kvcAccount(info, leases),
    );
    if (account === null || Number(account[0]) !== epoch) return;
    const [, capacity, reserved, committed] = account;
    const unpromised = Math.max(0, Number(capacity) - Number(reserved) - Number(committed));
    await this.#announce('freed', workerId, epoch, available(load, unpromised));
  }

  async deregister(workerId: string, epoch: number): Promise<void> {
    checkWorkerId(workerId);
    const keys = workerKeys(workerId);
    const code = await this.#run(typesOf(keys), () => this.client.kvcDeregister(...keys5(keys), epoch));
    if (code !== ScriptCode.StaleEpoch) await this.#announce('left', workerId, epoch, LEFT);
  }

  async follow(listener: RegistryListener): Promise<Following> {
    const follower = new RegistryFollower(this.client, listener);
    await follower.start();
    return follower;
  }

  async #announce(kind: AnnouncementKind, workerId: string, epoch: number, load: string): Promise<void> {
    const { members, loads, wanted } = REGISTRY_KEYS;
    await this.#run(REGISTRY_TYPES, () =>
      this.client.kvcAnnounce(
        ...([members, loads, wanted, kind, workerId, epoch, load] as const),
        ...([MOST_ANNOUNCEMENTS, ANNOUNCED_TTL_MS] as const),
      ),
    );
  }

  #run<T>(types: KeyTypes, verb: () => Promise<T>): Promise<T> {
    return runVerb(this.client, types, verb);
  }
}

const LEFT = loadText({ state: 'draining', running: 0, waiting: 0, freePages: 0 });

/** A load as routers hear it: a page can be reserved when the pool has it and the ledger has promised it to nobody. */
function available(load: WorkerLoad, unpromised: number): string {
  return loadText({ ...load, freePages: Math.min(load.freePages, unpromised) });
}
