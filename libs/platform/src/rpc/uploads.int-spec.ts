import { once } from 'node:events';
import { type Server, type ServerReadableStream, status } from '@grpc/grpc-js';
import {
  pictureHead,
  type SendPictureRequest,
  type SendPictureResponse,
  WorkerServiceService,
} from '@kvcapsule/contracts/worker';
import { afterEach, expect, it } from 'vitest';
import { createRpcServer, listenRpc, UploadClient } from './index.js';

type Call = ServerReadableStream<SendPictureRequest, SendPictureResponse>;
type Answer = (error: { code: status } | null, response?: SendPictureResponse) => void;

let server: Server;
let client: UploadClient;

afterEach(() => {
  client.close();
  server.forceShutdown();
});

async function listen(sendPicture: (call: Call, answer: Answer) => void, at = 0): Promise<number> {
  server = createRpcServer();
  server.addService({ sendPicture: WorkerServiceService.sendPicture }, { sendPicture });
  const port = await listenRpc(server, `127.0.0.1:${at}`);
  client = new UploadClient(`127.0.0.1:${port}`, WorkerServiceService.sendPicture.path);
  return port;
}

const PART = { ticket: 't', totalBytes: 300_000, data: Buffer.alloc(150_000, 'abc') };

/** Begins a call, and counts what is told of it. */
function begin() {
  const told = { ended: 0, written: 0 };
  let end: () => void = () => undefined;
  const ended = new Promise<void>((resolve) => (end = resolve));
  const upload = client.begin(() => {
    told.ended += 1;
    end();
  });
  const send = () => upload.write(pictureHead(PART), PART.data, () => (told.written += 1));
  return { upload, told, ended, send };
}

it('carries messages as gRPC reads them, and says when their memory is free', async () => {
  const received: SendPictureRequest[] = [];
  await listen((call, answer) => {
    call.on('data', (part: SendPictureRequest) => received.push(part));
    call.on('end', () => answer(null, {}));
  });
  for (const calls of [1, 2]) {
    const { upload, told, ended, send } = begin();
    send();
    send();
    upload.end();
    await ended;
    expect(told).toEqual({ ended: 1, written: 2 });
    expect(received).toEqual(new Array(2 * calls).fill(PART));
  }
});

it('lets the server hear that a call is cancelled, and keeps the connection for the next', async () => {
  const calls: Call[] = [];
  await listen((call, answer) => {
    calls.push(call);
    call.once('data', () => {
      call.pause();
      if (calls.length === 2) answer(null, {});
    });
  });
  const { upload, told, ended, send } = begin();
  for (let part = 0; part < 8; part += 1) send();
  while (calls.length === 0) await new Promise(setImmediate);
  const cancelled = once(calls[0] as Call, 'cancelled');
  upload.cancel();
  await Promise.all([cancelled, ended]);
  // what the server had no window for was never written
  expect(told.written).toBeLessThan(8);
  const next = begin();
  next.send();
  next.upload.end();
  await next.ended;
  expect([told.ended, next.told.ended, calls[0]?.getPeer()]).toEqual([1, 1, calls[1]?.getPeer()]);
});

it('ends where the server answers before all was sent', async () => {
  await listen((call, answer) => {
    call.once('data', () => answer({ code: status.NOT_FOUND }));
  });
  const { upload, told, ended, send } = begin();
  send();
  await ended;
  expect([told.ended, send()]).toEqual([1, false]);
  upload.cancel();
});

it('ends where nobody listens, and reaches a server that comes later', async () => {
  const answerAtOnce = (call: Call, answer: Answer) => {
    call.resume().once('end', () => answer(null, {}));
  };
  const port = await listen(answerAtOnce);
  server.forceShutdown();
  const { upload, told, ended, send } = begin();
  send();
  upload.end();
  await ended;
  expect(told).toEqual({ ended: 1, written: 0 });
  await listen(answerAtOnce, port);
  const next = begin();
  next.send();
  next.upload.end();
  await next.ended;
  expect(next.told).toEqual({ ended: 1, written: 1 });
});
