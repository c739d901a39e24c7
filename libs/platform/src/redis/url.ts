import { z } from 'zod';

/** How the servers behind a URL are arranged. */
export type RedisKind = 'standalone' | 'sentinel' | 'cluster';

export interface RedisHost {
  readonly host: string;
  readonly port: number;
}

/** A URL of Redis, read. */
export interface RedisAddress {
  readonly kind: RedisKind;
  readonly tls: boolean;
  /** Of the server, of the Sentinels, or of nodes of the Cluster. */
  readonly hosts: readonly RedisHost[];
  readonly username?: string;
  readonly password?: string;
  readonly db: number;
  /** What the Sentinels call the servers they watch; empty elsewhere. */
  readonly group: string;
}

const EXPECTED =
  'a URL such as redis://127.0.0.1:6379, or rediss:// for TLS; redis-sentinel://HOST,HOST/NAME; redis-cluster://HOST,HOST';
const PORTS = { standalone: 6379, sentinel: 26_379, cluster: 6379 };
const MOST_HOSTS = 64;

/** Not `URL`, which takes one host only. Letters with a meaning in URLs stand percent-encoded in a password. */
const FORM = /^redis(s?)(?:-(sentinel|cluster))?:\/\/(?:([^/?#]*)@)?([^/?#@]+)(?:\/([^?#]*))?$/;
const HOST = /^(?:\[([\da-fA-F:.]+)\]|([\w.-]+))(?::(\d{1,5}))?$/;

/** The setting that names a Redis. A URL that cannot be read is refused here, since errors of others repeat it whole. */
export const redisUrl = z.string().superRefine((url, context) => {
  const read = readUrl(url);
  if (typeof read === 'string') context.addIssue({ code: 'custom', message: read });
});

/** Reads a URL that `redisUrl` takes; throws on any other, without telling it. */
export function parseRedisUrl(url: string): RedisAddress {
  const read = readUrl(url);
  if (typeof read === 'string') throw new Error(read);
  return read;
}

/** What may be told of a URL: hosts and ports, for the rest holds a password. */
export function redisAddress(url: string): string {
  const { hosts, group } = parseRedisUrl(url);
  const told = hosts.map(({ host, port }) => `${host.includes(':') ? `[${host}]` : host}:${port}`).join(',');
  return group === '' ? told : `${told}/${group}`;
}

/** The address, or what is wrong with the URL. */
function readUrl(url: string): RedisAddress | string {
  const [, secure, arrangement, user, list, path = ''] = FORM.exec(url) ?? [];
  if (list === undefined) return EXPECTED;
  const kind = (arrangement ?? 'standalone') as RedisKind;
  const names = list.split(',');
  if (kind === 'standalone' && names.length > 1)
    return 'several hosts are a Cluster, redis-cluster://HOST,HOST, or Sentinels, redis-sentinel://HOST,HOST/NAME';
  const hosts = names.map((name) => readHost(name, PORTS[kind]));
  const place = readPath(kind, path);
  if (typeof place === 'string') return place;
  try {
    if (hosts.length > MOST_HOSTS || !hosts.every((host) => host !== undefined)) return EXPECTED;
    return { kind, tls: secure === 's', hosts, ...readUser(user), ...place };
  } catch {
    return 'user and password of the URL are not percent-encoded as they should be';
  }
}

function readHost(text: string, usualPort: number): RedisHost | undefined {
  const [, v6, name, digits] = HOST.exec(text) ?? [];
  const host = v6 ?? name;
  const port = digits === undefined ? usualPort : Number(digits);
  const isWhole = host !== undefined && port > 0 && port < 65_536 && (v6 === undefined || v6.includes(':'));
  return isWhole ? { host, port } : undefined;
}

/** Throws where the encoding is broken. */
function readUser(user = ''): Pick<RedisAddress, 'username' | 'password'> {
  const [, name = '', password = ''] = /^([^:]*):?(.*)$/s.exec(user) ?? [];
  return {
    ...(name === '' ? {} : { username: decodeURIComponent(name) }),
    ...(password === '' ? {} : { password: decodeURIComponent(password) }),
  };
}

/** `/DB` of a server, `/NAME/DB` behind Sentinels, nothing in a Cluster. */
function readPath(kind: RedisKind, path: string): Pick<RedisAddress, 'db' | 'group'> | string {
  const parts = path.split('/');
  const group = kind === 'sentinel' ? (parts.shift() ?? '') : '';
  const db = parts.shift() ?? '';
  if (kind === 'sentinel' && !/^[\w.-]+$/.test(group))
    return 'Sentinels watch servers under a name: redis-sentinel://HOST,HOST/NAME';
  if (parts.length > 0 || !/^\d{0,4}$/.test(db)) return 'the number of a database stands behind the last /';
  if (kind === 'cluster' && Number(db) !== 0) return 'a Redis Cluster has database 0 only';
  return { group, db: Number(db) };
}
