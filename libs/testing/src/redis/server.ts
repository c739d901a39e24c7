import type { Socket } from 'node:net';

/** The longest that a start may take, of a container on a busy machine, too. */
export const READY_TIMEOUT_MS = 120_000;
/** The longest that one reply may take, also of a server that stands still. */
const REPLY_MS = 10_000;
/** What servers and Sentinels of all versions write once they listen. */
export const LISTENS = /Ready to accept connections|\+monitor master/;

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
  /** More of its environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** What `say` begins with: AUTH, where it asks for that. */
  readonly greeting: string;
}

/** A server that runs. */
export interface Server {
  readonly port: number;
  /** Sends one inline command and gives its first reply as it comes over the wire. */
  say(command: string): Promise<string>;
  /** Lets it stand still until `resume`. */
  pause(): Promise<void>;
  resume(): Promise<void>;
  /** Ends it at once and waits for its end. */
  kill(): Promise<void>;
}

/** How servers are had. */
export type Runner = (spec: ServerSpec) => Promise<Server>;

/** Lines of every configuration here; what is kept lies in `folder`. */
export function common({ isSentinel = false }: ServerSpec, folder: string): string[] {
  const all = ['bind 127.0.0.1', `dir ${folder}`, 'daemonize no', 'logfile ""'];
  return isSentinel ? all : [...all, 'save ""', 'appendonly no', 'maxmemory-policy noeviction'];
}

/** Sends one inline command over a connection of its own. */
export async function say({ connect, port, greeting }: ServerSpec, command: string): Promise<string> {
  const socket = await connect(port);
  try {
    if (greeting !== '') await exchange(socket, greeting);
    return await exchange(socket, command);
  } finally {
    socket.destroy();
  }
}

/** One line, or the whole text that it gives the length of. */
function exchange(socket: Socket, command: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let reply = '';
    const [verb = ''] = command.split(' ');
    const port = socket.remotePort ?? 'none';
    const fail = (what: string) => () => {
      reject(new Error(`${verb}: the server on port ${port} ${what}`));
    };
    const timer = setTimeout(fail(`gives no reply within ${REPLY_MS} ms`), REPLY_MS).unref();
    socket.once('error', reject).once('close', fail('has closed the connection'));
    socket.on('data', (chunk: Buffer) => {
      reply += chunk.toString('latin1');
      if (!isWhole(reply)) return;
      clearTimeout(timer);
      socket.removeAllListeners('data');
      resolve(reply);
    });
    socket.write(`${command}\r\n`);
  });
}

function isWhole(reply: string): boolean {
  const [, bytes] = /^\$(\d+)\r\n/.exec(reply) ?? [];
  const end = bytes === undefined ? reply.indexOf('\r\n') + 2 : bytes.length + Number(bytes) + 5;
  return end > 1 && reply.length >= end;
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
