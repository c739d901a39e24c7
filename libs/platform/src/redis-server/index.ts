import { spawn, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';

import { KvcError } from '@kvcapsule/contracts';
import { Redis } from 'ioredis';

const READY_TIMEOUT_MS = 10_000;
const START_ATTEMPTS = 5;
/** One that keeps nothing ends in milliseconds; one that hangs never does. */
const STOP_GRACE_MS = 2_000;

/** A private redis-server on loopback, without persistence, that dies with this process. */
export interface RedisServer {
  /** With its password: a secret. */
  readonly url: string;
  readonly port: number;
  readonly pid: number;
  /** Calls back when the process ends for any reason. */
  onExit(listener: () => void): void;
  /** Ends it (SIGTERM, and SIGKILL after two seconds) and waits for its end. */
  stop(): Promise<void>;
  /** Ends it at once (SIGKILL) and waits for its end. */
  kill(): Promise<void>;
}

/**
 * Starts Debian's redis-server and waits until it answers. `like` gives the new one the address and password
 * of an earlier one that has ended. Rejects with `LEDGER_UNAVAILABLE` when it does not start.
 */
export async function startRedis(like?: RedisServer): Promise<RedisServer> {
  const password = like === undefined ? randomBytes(24).toString('hex') : new URL(like.url).password;
  for (let attempt = 1; ; attempt += 1) {
    const port = like?.port ?? (await freePort());
    const child = spawnRedis(port, password);
    const url = `redis://:${password}@127.0.0.1:${String(port)}`;
    try {
      await waitForAnswer(url, child);
      return handle(child, url, port);
    } catch (error) {
      child.kill('SIGKILL');
      // Another process may have taken the free port in between.
      if (attempt === START_ATTEMPTS) {
        throw new KvcError('LEDGER_UNAVAILABLE', 'redis-server did not start', { cause: error });
      }
    }
  }
}

/**
 * setpriv ties its life to ours even when we are killed; the settings go by stdin, so no list of processes shows the
 * password.
 */
function spawnRedis(port: number, password: string): ChildProcess {
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', 'redis-server', '-'], {
    stdio: ['pipe', 'ignore', 'ignore'],
    // In a session of its own, Ctrl-C does not take it away from processes that still give their leases back.
    detached: true,
  });
  child.on('error', () => undefined);
  child.stdin?.on('error', () => undefined);
  child.stdin?.end(
    [
      'bind 127.0.0.1',
      `port ${String(port)}`,
      `requirepass ${password}`,
      'save ""',
      'appendonly no',
      'daemonize no',
      'dir /',
      'maxmemory-policy noeviction',
      '',
    ].join('\n'),
  );
  return child;
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

async function waitForAnswer(url: string, child: ChildProcess): Promise<void> {
  const client = new Redis(url, { lazyConnect: true, retryStrategy: () => 20, maxRetriesPerRequest: null });
  client.on('error', () => undefined);
  const ended = new AbortController();
  try {
    const gone = Promise.race([once(child, 'exit', ended), once(child, 'error', ended)]).then(() => {
      throw new Error('redis-server ended before it answered');
    });
    const late = once(AbortSignal.timeout(READY_TIMEOUT_MS), 'abort', ended).then(() => {
      throw new Error('redis-server does not answer');
    });
    gone.catch(() => undefined);
    late.catch(() => undefined);
    client.connect().catch(() => undefined);
    // Not `once`, which would give up at the first refused connection.
    const ready = new Promise((resolve) => client.once('ready', resolve));
    await Promise.race([ready, gone, late]);
  } finally {
    ended.abort();
    client.disconnect();
  }
}

function handle(child: ChildProcess, url: string, port: number): RedisServer {
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    if (child.exitCode === null && child.signalCode === null) {
      const exit = once(child, 'exit');
      child.kill(signal);
      await exit;
    }
  };
  return {
    url,
    port,
    pid: child.pid ?? 0,
    onExit: (listener) => child.once('exit', listener),
    stop: async () => {
      const forced = setTimeout(() => child.kill('SIGKILL'), STOP_GRACE_MS);
      await end('SIGTERM');
      clearTimeout(forced);
    },
    kill: () => end('SIGKILL'),
  };
}
