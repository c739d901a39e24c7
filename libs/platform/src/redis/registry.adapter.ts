import { EPOCH_TTL_MS, LEASE_TTL_MS, RELEASED_TTL_MS } from '@kvcapsule/domain/ledger';
import {
  type Following,
  HEARTBEAT_TTL_MS,
  type Registrant,
  type RegistryListener,
  type RegistryPort,
  ROUTER_REMEMBERED_MS,
  ROUTER_TTL_MS,
  type Enlisted,
  type RouterRegistrant,
  type RouterRegistryPort,
  type WorkerDescriptor,
  type WorkerLoad,
} from '@kvcapsule/domain/registry';

import { type AnnouncementKind, loadText } from './announcements.js';
import { checkCount, checkRouterId, checkWorkerId } from './checks.js';
import { runVerb } from './client.js';
import { descriptorDigest, descriptorJson } from './descriptors.js';
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
import { keys6, type RedisClient } from './scripts.js';

/** The registry in Redis. Verbs and rejections: see `RegistryPort`; a heartbeat without a record is `NO_WORKER`. */
export class RedisRegistry implements RegistryPort, RouterRegistryPort {
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
        ...keys6(keys),
        ...([instanceId, heldEpoch, descriptor, capacityPages] as const),
        ...([HEARTBEAT_TTL_MS, EPOCH_TTL_MS] as const),
      ),
    );
    throwOnCode(epoch, workerId);
    await this.#announce('beat', workerId, epoch, said);
    return { epoch };
  }

  async heartbeat(worker: WorkerDescriptor, epoch: number, load: WorkerLoad): Promise<void> {
    const { workerId, capacityPages } = worker;
    checkWorkerId(workerId);
    checkCount('capacityPages', capacityPages);
    loadText(load);
    const digest = descriptorDigest(worker);
    const keys = workerKeys(workerId);
    const [promisable, ...routers] = await this.#run(typesOf(keys), () =>
      this.client.kvcHeartbeat(
        ...keys6(keys),
        ...([epoch, capacityPages, HEARTBEAT_TTL_MS, EPOCH_TTL_MS, LEASE_TTL_MS, digest] as const),
      ),
    );
    throwOnCode(promisable, workerId);
    const unpromised = promisable + (await this.#dropAbsent(workerId, epoch, routers));
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
    const code = await this.#run(typesOf(keys), () => this.client.kvcDeregister(...keys6(keys), epoch));
    if (code !== ScriptCode.StaleEpoch) await this.#announce('left', workerId, epoch, LEFT);
  }

  async registerRouter(routerId: string, by: RouterRegistrant): Promise<Enlisted> {
    checkRouterId(routerId);
    const { instanceId, heldEpoch, refusedEpoch, address = '' } = by;
    checkCount('heldEpoch', heldEpoch);
    checkCount('refusedEpoch', refusedEpoch);
    const [epoch, routers = 1, ...addresses] = await this.#run(REGISTRY_TYPES, () =>
      this.client.kvcEnlist(
        ...([REGISTRY_KEYS.routers, routerId, instanceId, heldEpoch, refusedEpoch] as const),
        ...([ROUTER_TTL_MS, ROUTER_REMEMBERED_MS, address] as const),
      ),
    );
    return { epoch: throwOnCode(epoch, 'the registry'), routers, addresses };
  }

  async deregisterRouter(routerId: string, epoch: number): Promise<void> {
    checkRouterId(routerId);
    checkCount('epoch', epoch);
    await this.#run(REGISTRY_TYPES, () => this.client.kvcDelist(REGISTRY_KEYS.routers, routerId, epoch));
  }

  async follow(listener: RegistryListener): Promise<Following> {
    const follower = new RegistryFollower(this.client, listener);
    await follower.start();
    return follower;
  }

  /** Drops what routers have reserved that have gone, of those given as `ID EPOCH`; how many pages that were. */
  async #dropAbsent(workerId: string, epoch: number, routers: readonly string[]): Promise<number> {
    if (routers.length === 0) return 0;
    const asked = routers.flatMap((router) => router.split(' '));
    const absent = await this.#run(REGISTRY_TYPES, () =>
      this.client.kvcAbsent(REGISTRY_KEYS.routers, ROUTER_TTL_MS, ...asked),
    );
    if (absent.length === 0) return 0;
    const keys = workerKeys(workerId);
    const dropped = await this.#run(typesOf(keys), () =>
      this.client.kvcFence(...keys6(keys), epoch, RELEASED_TTL_MS, ...absent),
    );
    return throwOnCode(dropped, workerId);
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
