import type { Http2Server, ServerHttp2Session, ServerOptions } from 'node:http2';
import {
  credentials,
  Server,
  ServerCredentials,
  type ChannelCredentials,
  type ClientOptions,
} from '@grpc/grpc-js';

export { type Upload, UploadClient } from './uploads.js';

/**
 * The longest messages are what one answer has made while its router did not read (16 MiB as its worker counts it), and
 * prompts: a million tokens are at most 5 MB. Pictures come in parts.
 */
const MAX_MESSAGE_BYTES = 32 * 1024 * 1024;
const KEEPALIVE_MS = 10_000;

const CHANNEL_OPTIONS = {
  'grpc.max_send_message_length': MAX_MESSAGE_BYTES,
  'grpc.max_receive_message_length': MAX_MESSAGE_BYTES,
  'grpc.keepalive_time_ms': KEEPALIVE_MS,
  'grpc.keepalive_timeout_ms': KEEPALIVE_MS / 2,
  'grpc.keepalive_permit_without_calls': 1,
  // The cluster's own addresses are reached directly, whatever proxy the environment names for the outside.
  'grpc.enable_http_proxy': 0,
} as const satisfies ClientOptions;

type ClientClass<T> = new (
  address: string,
  channelCredentials: ChannelCredentials,
  options?: Partial<ClientOptions>,
) => T;

/**
 * What one connection may send before the server has read it. With HTTP/2's own 64 KiB, router and worker would wake
 * each other sixteen times over a picture of a megabyte.
 */
const WINDOW_BYTES = 1024 * 1024;

/** A server without services yet. */
export function createRpcServer(): Server {
  const server = new Server(CHANNEL_OPTIONS);
  widenWindows(server as unknown as ServerInternals);
  return server;
}

/** What grpc-js makes its connections with; of windows it has an option for clients alone. */
interface ServerInternals {
  readonly commonServerOptions: ServerOptions;
  createHttp2Server(credentials: ServerCredentials): Http2Server;
}

/** Of each stream by the settings, and of all streams of a connection together, which no setting is for. */
function widenWindows(server: ServerInternals): void {
  server.commonServerOptions.settings = { initialWindowSize: WINDOW_BYTES };
  const create = server.createHttp2Server.bind(server);
  server.createHttp2Server = (credentials) =>
    create(credentials).on('session', (session: ServerHttp2Session) => {
      session.setLocalWindowSize(WINDOW_BYTES);
    });
}

/** Binds without TLS and listens. `address` is host:port; port 0 takes a free one. Resolves to the port. */
export async function listenRpc(server: Server, address: string): Promise<number> {
  return new Promise((resolve, reject) => {
    server.bindAsync(address, ServerCredentials.createInsecure(), (error, port) => {
      if (error === null) {
        resolve(port);
      } else {
        reject(error);
      }
    });
  });
}

/** A client of a generated service class, without TLS; connects with its first call and by itself again later. */
export function createRpcClient<T>(Client: ClientClass<T>, address: string): T {
  return new Client(address, credentials.createInsecure(), {
    ...CHANNEL_OPTIONS,
    // Statistics of every call and message that nothing asks for. A server needs them: without, grpc-js loses sight of
    // its connections and `forceShutdown` leaves them open.
    'grpc.enable_channelz': 0,
    // Without a cap a worker that is back after a minute would wait two more to be called.
    'grpc.initial_reconnect_backoff_ms': 100,
    'grpc.max_reconnect_backoff_ms': 2_000,
  });
}
