import { Cluster, type ClusterOptions, Redis, type RedisOptions } from 'ioredis';

import { readSecrets, type RedisSettings } from './settings.js';
import { parseRedisUrl, type RedisAddress } from './url.js';

/** The longest that one command may take. */
export const COMMAND_TIMEOUT_MS = 1_500;
const MAX_RECONNECT_DELAY_MS = 500;
/** A command whose node of a Cluster has gone looks for another as often, 0.1 s apart, within its own deadline. */
const MOST_REDIRECTIONS = 10;

export type RedisConnection = Redis | Cluster;

/** The servers that hold keys of ours. */
export function nodesOf(client: RedisConnection): Redis[] {
  return client instanceof Cluster ? client.nodes('master') : [client];
}

/** One more of the same, not yet connected. */
export function anotherOf(client: RedisConnection): RedisConnection {
  return notingRefusals(client instanceof Cluster ? client.duplicate() : leavingReplicas(client.duplicate()));
}

/** Why the store does not let clients in that were connected before, for as long as it does not. */
const refusals = new WeakMap<RedisConnection, Error>();
const REFUSAL = /WRONGPASS|NOAUTH|NOPERM|invalid (username-)?password/;

/**
 * That the store refuses the user or the password of a client, which has been changed there meanwhile. Commands
 * themselves meet a closed connection only.
 */
export const refusalOf = (client: RedisConnection): Error | undefined => refusals.get(client);

function notingRefusals<T extends RedisConnection>(client: T): T {
  for (const event of ['error', 'node error', 'sentinelError'])
    client.on(event, (error: Error) => {
      if (REFUSAL.test(error.message)) refusals.set(client, error);
    });
  client.on('ready', () => refusals.delete(client));
  return client;
}

/**
 * A client of whatever the URL names, not yet connected. Nothing that uses it hangs: commands are not queued while the
 * connection is away, are not sent again behind the caller's back, and time out. Reconnecting goes on until `quit` or
 * `disconnect`. Throws `CONFIG_INVALID` where a file of the settings cannot be read.
 */
export function makeConnection(settings: RedisSettings): RedisConnection {
  return notingRefusals(connectionOf(settings));
}

function connectionOf(settings: RedisSettings): RedisConnection {
  const address = parseRedisUrl(settings.redis);
  const { sentinelUsername, sentinelPassword, ...secrets } = readSecrets(settings);
  const shared = { ...ONE_CONNECTION, ...secrets };
  switch (address.kind) {
    case 'cluster':
      return new Cluster([...address.hosts], clusterOptions(shared));
    case 'sentinel':
      return leavingReplicas(
        new Redis({
          ...{ ...shared, ...RECONNECTING, ...sentinelOptions(address, secrets.tls) },
          ...(sentinelUsername === undefined ? {} : { sentinelUsername }),
          ...(sentinelPassword === undefined ? {} : { sentinelPassword }),
        }),
      );
    case 'standalone':
      return leavingReplicas(new Redis({ ...shared, ...RECONNECTING, ...address.hosts[0], db: address.db }));
  }
}

/** Of each connection, whatever it belongs to. */
const ONE_CONNECTION = {
  connectTimeout: COMMAND_TIMEOUT_MS,
  commandTimeout: COMMAND_TIMEOUT_MS,
  // A host that is gone without a word leaves the connection half open: make a new one.
  socketTimeout: 2 * COMMAND_TIMEOUT_MS,
  autoResendUnfulfilledCommands: false,
  // Commands in flight when the connection closes are rejected then, not when they time out.
  maxRetriesPerRequest: 0,
  maxLoadingRetryTime: 500,
  // CLIENT SETINFO is one more command that a user of few rights would need.
  disableClientInfo: true,
} satisfies RedisOptions;

const backoffMs = (attempt: number): number => Math.min(50 * attempt, MAX_RECONNECT_DELAY_MS);

const RECONNECTING = {
  lazyConnect: true,
  enableOfflineQueue: false,
  retryStrategy: backoffMs,
} satisfies RedisOptions;

/**
 * After a failover the open connection leads to a replica, which refuses writes for ever: it is dropped, and a new one
 * made. Once, since each command of a pipeline meets the error, and each drop leaves a listener and a timer.
 */
function leavingReplicas(client: Redis): Redis {
  let dropped: Redis['stream'] | undefined;
  client.options.reconnectOnError = ({ message }) => {
    if (!message.startsWith('READONLY') || client.stream === dropped) return false;
    dropped = client.stream;
    return true;
  };
  return client;
}

function sentinelOptions({ hosts, group, db }: RedisAddress, tls: RedisOptions['tls']) {
  return {
    ...{ sentinels: [...hosts], name: group, role: 'master' as const, db },
    sentinelRetryStrategy: backoffMs,
    sentinelCommandTimeout: COMMAND_TIMEOUT_MS,
    ...(tls === undefined ? {} : { enableTLSForSentinelMode: true, sentinelTLS: tls }),
  } satisfies RedisOptions;
}

function clusterOptions<T extends RedisOptions>(redisOptions: T) {
  return {
    redisOptions,
    lazyConnect: true,
    enableOfflineQueue: false,
    clusterRetryStrategy: backoffMs,
    maxRedirections: MOST_REDIRECTIONS,
    // Names stay names, since certificates are made out to them.
    dnsLookup: (name: string, found: (error: null, address: string) => void) => {
      found(null, name);
    },
  } satisfies ClusterOptions;
}
