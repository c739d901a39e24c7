import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const READY_TIMEOUT_MS = 20_000;
/** What servers and Sentinels of all versions write once they listen. */
const LISTENS = /Ready to accept connections|\+monitor master/;

/** A server to start. */
export interface ServerSpec {
  /** `redis-server` where it is not another one that speaks the same. */
  readonly program?: string;
  readonly isSentinel?: boolean;
  /** Loopback, TCP, not taken. */
  readonly port: number;
  /** Of its configuration, beside what every server here has. */
  readonly lines: readonly string[];
  /** Opens a connection, past TLS and ready to write. */
  readonly connect: (port: number) => Promise<Socket>;
  /** What `say` begins with: AUTH, where it asks for that. */
  readonly greeting: string;
}

/** A server that runs. */
export interface Server {
  readonly port: number;
  /** Sends one inline command and gives its first reply as it comes over the wire. */
  say(command: string): Promise<string>;
  /** Lets it stand still until `resume`. */
  pause(): void;
  resume(): void;
  /** Ends it at once and waits for its end. */
  kill(): Promise<void>;
}

/** How servers are had. */
export type Runner = (spec: ServerSpec) => Promise<Server>;

/** Runs a binary of this machine; setpriv ties its life to the test's. */
export const runProcess: Runner = async (spec) => {
  const folder = mkdtempSync(join(tmpdir(), 'kvcapsule-store-'));
  const file = join(folder, 'server.conf');
  writeFileSync(file, [...common(spec, folder), ...spec.lines, ''].join('\n'));
  const { program = 'redis-server', isSentinel = false } = spec;
  const child = spawn(
    'setpriv',
    ['--pdeathsig', 'KILL', program, file, ...(isSentinel ? ['--sentinel'] : [])],
    { stdio: ['ignore', 'pipe', 'ignore'] },
  );
  const kill = async (): Promise<void> => {
    await end(child);
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    await untilListening(child);
  } catch (error) {
    await kill();
    throw error;
  }
  return {
    port: spec.port,
    say: (command) => say(spec, command),
    pause: () => void child.kill('SIGSTOP'),
    resume: () => void child.kill('SIGCONT'),
    kill,
  };
};

function common({ isSentinel = false }: ServerSpec, folder: string): string[] {
  const all = ['bind 127.0.0.1', `dir ${folder}`, 'daemonize no', 'logfile ""'];
  return isSentinel ? all : [...all, 'save ""', 'appendonly no', 'maxmemory-policy noeviction'];
}

async function untilListening(child: ChildProcess): Promise<void> {
  let log = '';
  const listens = new Promise<void>((resolve, reject) => {
    const why = (what: string) => new Error(`${what}: ${log.slice(-2_000)}`);
    const timer = setTimeout(() => {
      reject(why('the server does not listen'));
    }, READY_TIMEOUT_MS);
    child.once('error', reject);
    child.once('exit', () => {
      reject(why('the server has ended'));
    });
    child.stdout?.on('data', (chunk: Buffer) => {
      if (log.length < 100_000) log += chunk.toString();
      if (!LISTENS.test(log)) return;
      clearTimeout(timer);
      resolve();
    });
  });
  await listens;
}

async function end(child: ChildProcess): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const exit = once(child, 'exit');
  child.kill('SIGKILL');
  await exit;
}

async function say({ connect, port, greeting }: ServerSpec, command: string): Promise<string> {
  const socket = await connect(port);
  try {
    if (greeting !== '') await exchange(socket, greeting);
    return await exchange(socket, command);
  } finally {
    socket.destroy();
  }
}

/** One line, or the whole text that it gives the length of. */
async function exchange(socket: Socket, command: string): Promise<string> {
  socket.write(`${command}\r\n`);
  let reply = '';
  for (;;) {
    const [, bytes] = /^\$(\d+)\r\n/.exec(reply) ?? [];
    const end = bytes === undefined ? reply.indexOf('\r\n') + 2 : bytes.length + Number(bytes) + 5;
    if (end > 1 && reply.length >= end) return reply;
    const [chunk] = (await once(socket, 'data')) as [Buffer];
    reply += chunk.toString('latin1');
  }
}

/** A port of loopback that nobody has at this moment. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

/** Asks until the reply is as it should be. */
export async function untilSays(server: Server, command: string, expected: RegExp): Promise<void> {
  const giveUpAt = performance.now() + READY_TIMEOUT_MS;
  for (;;) {
    const reply = await server.say(command).catch(String);
    if (expected.test(reply)) return;
    if (performance.now() > giveUpAt) throw new Error(`${command} says ${reply}, not ${String(expected)}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
