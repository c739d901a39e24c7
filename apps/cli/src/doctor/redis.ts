import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { createRedisClient, describeStore, redisAddress, type StoreNode } from '@kvcapsule/platform/redis';
import { redisSettingsOf } from '../redis-settings.js';
import { type Finding, group, told } from './finding.js';

const MIB = 2 ** 20;
/** Leases go by the store's time alone; beyond this, logs of parts and store cannot be read side by side. */
const MOST_SKEW_MS = 1_000;
/** Of `maxmemory`. */
const MOST_USED = 0.8;

const run = promisify(execFile);
const { ok, warn, fail } = group('Redis');

/** Of the Redis at the URL, or, without one, of the program that `up` starts a private one with. */
export async function redisFindings(url: string | undefined): Promise<Finding[]> {
  if (url === undefined) return [await privateServer()];
  try {
    return await storeFindings(url);
  } catch (error) {
    return [fail('connection', ...told(error))];
  }
}

async function privateServer(): Promise<Finding> {
  try {
    const { stdout } = await run('redis-server', ['--version']);
    const version = /v=([\d.]+)/.exec(stdout)?.[1] ?? 'unknown version';
    if (Number.parseInt(version, 10) >= 7)
      return ok('redis-server', `${version}; \`up\` starts a private one`);
    return fail('redis-server', version, 'Take Redis 7.0 or newer, or Valkey.');
  } catch {
    return fail(
      'redis-server',
      'not in the PATH',
      'apt-get install redis-server, or name a Redis of yours with --redis',
    );
  }
}

async function storeFindings(url: string): Promise<Finding[]> {
  const unknown: string[] = [];
  const client = await createRedisClient(redisSettingsOf(url, 'kvcapsule doctor'), (line) => {
    unknown.push(line);
  });
  try {
    const nodes = await describeStore(client, Date.now);
    return [
      ok('connection', redisAddress(url)),
      ok('rights', 'the user may run every command and script of the ledger'),
      ...unknown.map((line) => warn('policy', line, 'Ask who runs it, or give the user +info.')),
      ...nodes.flatMap(nodeFindings),
    ];
  } finally {
    client.disconnect();
  }
}

export function nodeFindings(node: StoreNode): Finding[] {
  return [version(node), ...policy(node), memory(node), persistence(node), clock(node)];
}

function version({ version: said, address }: StoreNode): Finding {
  if (said !== undefined) return ok('version', said);
  return warn(
    'version',
    `${address} does not say`,
    'Redis 7.0 or newer is needed, or Valkey; +info lets it be read.',
  );
}

/** One that evicts has been refused with the connection. */
const policy = ({ policy: said }: StoreNode): Finding[] => (said === undefined ? [] : [ok('policy', said)]);

function memory({ usedBytes, maxBytes }: StoreNode): Finding {
  if (usedBytes === undefined) return ok('memory', 'it does not say');
  const used = `${(usedBytes / MIB).toFixed(1)} MiB`;
  if (!maxBytes) return ok('memory', `${used} used, no maxmemory`);
  const found = `${used} of ${(maxBytes / MIB).toFixed(0)} MiB used`;
  if (usedBytes <= MOST_USED * maxBytes) return ok('memory', found);
  return warn('memory', found, 'Raise maxmemory: a full store refuses reservations.');
}

function persistence({ isPersistent }: StoreNode): Finding {
  if (isPersistent === undefined) return ok('persistence', 'it does not say; none is needed');
  return ok('persistence', isPersistent ? 'on; none is needed' : 'off, as it may be');
}

function clock({ clockAheadMs }: StoreNode): Finding {
  const found = `${Math.abs(clockAheadMs).toFixed(0)} ms ${clockAheadMs < 0 ? 'behind' : 'ahead of'} this machine's`;
  if (Math.abs(clockAheadMs) <= MOST_SKEW_MS) return ok('clock', found);
  return warn(
    'clock',
    found,
    'Keep both clocks by NTP: nothing breaks, but logs of parts and store do not fit together.',
  );
}
