import { once } from 'node:events';
import { connect as connectTcp } from 'node:net';
import { connect as connectTls } from 'node:tls';

import type { Certificates } from './certificates.js';
import { runServer } from './runner.js';
import { freePort } from './free-port.js';
import type { Server } from './server.js';

/** Servers that are one store together. */
export interface Store {
  /** What a part would be given as `--redis`. */
  readonly url: string;
  /** What a part is configured with, the URL among it, by the names of its settings. */
  readonly settings: { readonly redis: string; readonly redisSentinelPasswordFile?: string };
  /** Those that hold keys, in no order. */
  readonly servers: readonly Server[];
  readonly stop: () => Promise<void>;
}

export interface ServerOptions {
  readonly program?: string;
  /** Asked of everybody. */
  readonly password?: string;
  /** Makes it speak TLS alone and ask for a certificate. */
  readonly certificates?: Certificates;
  /** More of its configuration. */
  readonly lines?: readonly string[];
  /** Of loopback; one that is free by default. */
  readonly port?: number;
  /** More of its environment. */
  readonly env?: Readonly<Record<string, string>>;
  readonly isSentinel?: boolean;
}

/** One server; its URL names host and port, and the password that was asked for. */
export async function startServer(options: ServerOptions = {}): Promise<Store & { readonly server: Server }> {
  const { certificates, password, program, isSentinel, env } = options;
  const port = options.port ?? (await freePort());
  const server = await runServer({
    port,
    ...(program === undefined ? {} : { program }),
    ...(isSentinel === undefined ? {} : { isSentinel }),
    ...(env === undefined ? {} : { env }),
    lines: [
      ...(certificates ? tlsLines(port, certificates) : [`port ${port}`]),
      ...(password === undefined ? [] : [`requirepass ${password}`]),
      ...(options.lines ?? []),
    ],
    connect: certificates ? (to) => overTls(to, certificates) : overTcp,
    greeting: password === undefined ? '' : `AUTH ${password}`,
  });
  const user = password === undefined ? '' : `:${password}@`;
  const url = `redis${certificates ? 's' : ''}://${user}127.0.0.1:${port}`;
  return {
    url,
    settings: { redis: url },
    server,
    servers: [server],
    stop: () => server.kill(),
  };
}

function tlsLines(port: number, { ca, server }: Certificates): string[] {
  return [
    ...['port 0', `tls-port ${port}`, 'tls-auth-clients yes'],
    ...[`tls-ca-cert-file ${ca}`, `tls-cert-file ${server.cert}`, `tls-key-file ${server.key}`],
  ];
}

async function overTcp(port: number) {
  const socket = connectTcp(port, '127.0.0.1');
  await once(socket, 'connect');
  return socket;
}

async function overTls(port: number, { pem }: Certificates) {
  const socket = connectTls({ port, host: '127.0.0.1', ...pem });
  await once(socket, 'secureConnect');
  return socket;
}
