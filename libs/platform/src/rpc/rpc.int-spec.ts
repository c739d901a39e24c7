import { once } from 'node:events';
import { connect } from 'node:http2';

import { type Server } from '@grpc/grpc-js';
import {
  ConnectRequest,
  ConnectResponse,
  WorkerServiceClient,
  WorkerServiceService,
  type WorkerServiceServer,
} from '@kvcapsule/contracts/worker';
import { afterEach, expect, it, vi } from 'vitest';

import { createRpcClient, createRpcServer, listenRpc } from './index.js';

const LONGEST_TOKENS = 1_000_000;
/** Five bytes as protobuf has it. */
const LARGEST_TOKEN = 2 ** 31 - 1;

let server: Server;

afterEach(() => {
  vi.unstubAllEnvs();
  server.forceShutdown();
});

/** Answers each message with the number of its tokens. */
const measure: Pick<WorkerServiceServer, 'connect'> = {
  connect: (call) => {
    call.on('data', (request: ConnectRequest) => {
      const generate = request.message?.$case === 'generate' ? request.message.value : undefined;
      const tokens = generate?.tokenIds.length ?? 0;
      call.write(ConnectResponse.create({ events: [{ requestId: String(tokens) }] }));
    });
    call.on('end', () => call.end());
  },
};

async function listen(address: string): Promise<number> {
  server = createRpcServer();
  server.addService({ connect: WorkerServiceService.connect }, { connect: measure.connect });
  return listenRpc(server, address);
}

/** Sends a prompt and resolves to what the server measured. */
async function sendPrompt(client: WorkerServiceClient, tokens: number): Promise<number> {
  const stream = client.connect();
  const tokenIds = new Array<number>(tokens).fill(LARGEST_TOKEN);
  stream.write(ConnectRequest.create({ message: { $case: 'generate', value: { tokenIds } } }));
  const [response] = (await once(stream, 'data')) as [ConnectResponse];
  stream.end();
  await once(stream.resume(), 'end');
  return Number(response.events[0]?.requestId);
}

it('carries a prompt of a million tokens in one message, and no message of 40 MB', async () => {
  const port = await listen('127.0.0.1:0');
  const client = createRpcClient(WorkerServiceClient, `127.0.0.1:${String(port)}`);
  expect(await sendPrompt(client, LONGEST_TOKENS)).toBe(LONGEST_TOKENS);
  await expect(sendPrompt(client, 8 * LONGEST_TOKENS)).rejects.toThrow('RESOURCE_EXHAUSTED');
  client.close();
}, 180_000);

it('reaches a server that comes back at the same address', async () => {
  const port = await listen('127.0.0.1:0');
  const address = `127.0.0.1:${String(port)}`;
  const client = createRpcClient(WorkerServiceClient, address);
  expect(await sendPrompt(client, 1)).toBe(1);
  server.forceShutdown();
  await expect(sendPrompt(client, 2)).rejects.toThrow();
  await listen(address);
  const deadline = Date.now() + 5_000;
  while ((await sendPrompt(client, 3).catch(() => 0)) !== 3) {
    expect(Date.now()).toBeLessThan(deadline);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  client.close();
}, 180_000);

it.each(['grpc_proxy', 'https_proxy', 'http_proxy'])(
  'reaches a worker directly where %s names a proxy, and that a dead one',
  async (variable) => {
    const port = await listen('127.0.0.1:0');
    vi.stubEnv(variable, 'http://127.0.0.1:1');
    const client = createRpcClient(WorkerServiceClient, `127.0.0.1:${String(port)}`);
    expect(await sendPrompt(client, 1)).toBe(1);
    client.close();
  },
);

it('says why it cannot listen', async () => {
  const port = await listen('127.0.0.1:0');
  await expect(listenRpc(createRpcServer(), `127.0.0.1:${String(port)}`)).rejects.toThrow(
    /EADDRINUSE|No address/,
  );
});

it('lets a megabyte come before it has been read, on a stream and on the whole connection', async () => {
  const session = connect(`http://127.0.0.1:${String(await listen('127.0.0.1:0'))}`);
  await once(session, 'remoteSettings');
  // the window of the connection follows the settings in a frame of its own
  await new Promise((answered) => session.ping((error) => answered(error)));
  expect([session.remoteSettings.initialWindowSize, session.state.remoteWindowSize]).toEqual([
    1024 * 1024,
    1024 * 1024,
  ]);
  session.close();
});
