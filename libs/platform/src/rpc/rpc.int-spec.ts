import { once } from 'node:events';

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

const PICTURE_BYTES = 50 * 1024 * 1024;

let server: Server;

afterEach(() => {
  vi.unstubAllEnvs();
  server.forceShutdown();
});

/** Answers each message with the number of its picture's bytes. */
const measure: Pick<WorkerServiceServer, 'connect'> = {
  connect: (call) => {
    call.on('data', (request: ConnectRequest) => {
      const generate = request.message?.$case === 'generate' ? request.message.value : undefined;
      const bytes = generate?.pictures[0]?.encoded.length ?? 0;
      call.write(ConnectResponse.create({ events: [{ requestId: String(bytes) }] }));
    });
    call.on('end', () => call.end());
  },
};

async function listen(address: string): Promise<number> {
  server = createRpcServer();
  server.addService({ connect: WorkerServiceService.connect }, { connect: measure.connect });
  return listenRpc(server, address);
}

/** Sends one picture and resolves to what the server measured. */
async function sendPicture(client: WorkerServiceClient, bytes: number): Promise<number> {
  const stream = client.connect();
  stream.write(
    ConnectRequest.create({
      message: { $case: 'generate', value: { pictures: [{ encoded: Buffer.alloc(bytes, 7) }] } },
    }),
  );
  const [response] = (await once(stream, 'data')) as [ConnectResponse];
  stream.end();
  await once(stream.resume(), 'end');
  return Number(response.events[0]?.requestId);
}

it('carries a picture of 50 MB in one message', async () => {
  const port = await listen('127.0.0.1:0');
  const client = createRpcClient(WorkerServiceClient, `127.0.0.1:${String(port)}`);
  expect(await sendPicture(client, PICTURE_BYTES)).toBe(PICTURE_BYTES);
  client.close();
}, 30_000);

it('reaches a server that comes back at the same address', async () => {
  const port = await listen('127.0.0.1:0');
  const address = `127.0.0.1:${String(port)}`;
  const client = createRpcClient(WorkerServiceClient, address);
  expect(await sendPicture(client, 1)).toBe(1);
  server.forceShutdown();
  await expect(sendPicture(client, 2)).rejects.toThrow();
  await listen(address);
  const deadline = Date.now() + 5_000;
  while ((await sendPicture(client, 3).catch(() => 0)) !== 3) {
    expect(Date.now()).toBeLessThan(deadline);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  client.close();
}, 20_000);

it.each(['grpc_proxy', 'https_proxy', 'http_proxy'])(
  'reaches a worker directly where %s names a proxy, and that a dead one',
  async (variable) => {
    const port = await listen('127.0.0.1:0');
    vi.stubEnv(variable, 'http://127.0.0.1:1');
    const client = createRpcClient(WorkerServiceClient, `127.0.0.1:${String(port)}`);
    expect(await sendPicture(client, 1)).toBe(1);
    client.close();
  },
);

it('says why it cannot listen', async () => {
  const port = await listen('127.0.0.1:0');
  await expect(listenRpc(createRpcServer(), `127.0.0.1:${String(port)}`)).rejects.toThrow(
    /EADDRINUSE|No address/,
  );
});
