import { readFileSync, readdirSync } from 'node:fs';

import type { RedisConnection } from './connection.js';
import { type WorkerKeys } from './keys.js';

type Key = string;

/** The scripts of `lua/` as methods, keys first. Answers and codes stand in each script's header. */
export interface LedgerScripts {
  kvcRegister(
    ...args: [
      ...Keys6,
      instanceId: string,
      heldEpoch: number,
      descriptor: string,
      capacityPages: number,
      ttlMs: number,
      epochTtlMs: number,
    ]
  ): Promise<number>;
  kvcHeartbeat(
    ...args: [
      ...Keys6,
      epoch: number,
      capacityPages: number,
      ttlMs: number,
      epochTtlMs: number,
      leaseTtlMs: number,
      descriptorDigest: string,
    ]
  ): Promise<[unpromisedOrCode: number, ...routers: string[]]>;
  kvcDeregister(...args: [...Keys6, epoch: number]): Promise<number>;
  kvcReserve(
    ...args: [
      ...Keys6,
      epoch: number,
      leaseId: string,
      pages: number,
      ttlMs: number,
      routerId: string,
      routerEpoch: number,
      refusedMs: number,
    ]
  ): Promise<number>;
  kvcFence(
    ...args: [...Keys6, epoch: number, refusedMs: number, ...routers: (string | number)[]]
  ): Promise<number>;
  kvcCommit(...args: [...Keys5, epoch: number, leaseId: string, pages: number]): Promise<number>;
  kvcExtend(...args: [...Keys5, epoch: number, leaseId: string, pages: number]): Promise<number>;
  kvcRelease(
    ...args: [...Keys5, epoch: number, leaseId: string, rememberedMs: number, most: number]
  ): Promise<number>;
  kvcAnnounce(
    ...args: [
      members: Key,
      loads: Key,
      wanted: Key,
      kind: string,
      workerId: string,
      epoch: number,
      load: string,
      most: number,
      ttlMs: number,
    ]
  ): Promise<number>;
  kvcEnlist(
    ...args: [
      routers: Key,
      routerId: string,
      instanceId: string,
      heldEpoch: number,
      refusedEpoch: number,
      ttlMs: number,
      rememberedMs: number,
      address: string,
    ]
  ): Promise<[epochOrCode: number, routers?: number, ...addresses: string[]]>;
  kvcDelist(routers: Key, routerId: string, epoch: number): Promise<number>;
  kvcAbsent(...args: [routers: Key, ttlMs: number, ...of: (string | number)[]]): Promise<string[]>;
  kvcLook(loads: Key): Promise<[nowMs: number, oldest: string, newest: string]>;
  kvcLacks(loads: Key, workerKey: Key, ...commands: string[]): Promise<string[]>;
  kvcAccount(
    info: Key,
    leases: Key,
  ): Promise<[epoch: string, capacity: string, reserved: string, committed: string, leases: number] | null>;
  kvcLeases(
    info: Key,
    leases: Key,
    deadlines: Key,
  ): Promise<
    | [
        nowMs: number,
        epoch: string,
        capacity: string,
        reserved: string,
        committed: string,
        leases: string[],
        deadlines: string[],
      ]
    | null
  >;
}

export type RedisClient = RedisConnection & LedgerScripts;

type Keys5 = [epoch: Key, info: Key, leases: Key, deadlines: Key, released: Key];
type Keys6 = [...Keys5, routers: Key];

/** The keys in the order that the five-key scripts take them. */
export function keys5(keys: WorkerKeys): Keys5 {
  return [keys.epoch, keys.info, keys.leases, keys.deadlines, keys.released];
}

/** And those that know of routers. */
export function keys6(keys: WorkerKeys): Keys6 {
  return [...keys5(keys), keys.routers];
}

/** From `src/redis` and from `dist/redis` alike, the package's root is two levels up. */
const LUA_FOLDER = new URL('../../lua/', import.meta.url);

/** Adds every `lua/NAME-KEYS.lua` to the client as method `kvcName`. */
export function defineScripts(client: RedisConnection): RedisClient {
  for (const file of readdirSync(LUA_FOLDER)) {
    const match = /^([a-z]+)-(\d+)\.lua$/.exec(file);
    if (match?.[1] !== undefined) {
      const method = `kvc${match[1].charAt(0).toUpperCase()}${match[1].slice(1)}`;
      client.defineCommand(method, { numberOfKeys: Number(match[2]), lua: readScript(file) });
    }
  }
  return client as RedisClient;
}

/** A line `--- @include NAME` stands for the text of `lua/includes/NAME.lua`, where such lines may stand too. */
function readScript(file: string): string {
  const text = readFileSync(new URL(file, LUA_FOLDER), 'utf8');
  return text.replaceAll(/^--- @include ([a-z-]+)$/gm, (_line, name: string) =>
    readScript(`includes/${name}.lua`),
  );
}
