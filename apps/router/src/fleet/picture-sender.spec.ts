import { EventEmitter, once } from 'node:events';
import type { Server } from '@grpc/grpc-js';
import type { KvcError } from '@kvcapsule/contracts/errors';
import {
  type ConnectRequest,
  Generate,
  type SendPictureRequest,
  WorkerServiceClient,
  type WorkerServiceServer,
  WorkerServiceService,
} from '@kvcapsule/contracts/worker';
import { NO_WORK } from '@kvcapsule/domain/placement';
import { createRpcClient, createRpcServer, listenRpc } from '@kvcapsule/platform/rpc';
import { afterEach, describe, expect, it } from 'vitest';
import { giveBackMemory } from '../heap.js';
import { FakeStream } from '../testing/fake-client.js';
import { CHUNK_BYTES, PictureSender } from './picture-sender.js';
import { PictureUploads } from './picture-uploads.js';
import { type LinkListener, WorkerLink } from './worker-link.js';

/** A stream that takes so many messages before it is full. */
class FakeCall extends EventEmitter {
  readonly written: SendPictureRequest[] = [];
  ended = false;
  cancelled = false;

  constructor(
    private readonly room: number,
    readonly answer: () => void,
  ) {
    super();
  }

  write(message: SendPictureRequest): boolean {
    this.written.push(message);
    return this.written.length % this.room !== 0;
  }

  end(): this {
    this.ended = true;
    return this;
  }

  cancel(): void {
    this.cancelled = true;
  }
}

class FakePictures {
  readonly calls: FakeCall[] = [];

  constructor(private readonly room = 1_000) {}

  sendPicture(answered: () => void): FakeCall {
    const call = new FakeCall(this.room, answered);
    this.calls.push(call);
    return call;
  }
}

describe('PictureSender', () => {
  it('sends slices of the file, as fast as the stream takes them', () => {
    const client = new FakePictures(2);
    const file = Buffer.alloc(4.5 * CHUNK_BYTES, 7);
    new PictureSender(client, [Buffer.of(1), file]).send({ ticket: 't', index: 1 });
    const [call] = client.calls;
    const progress: [number | undefined, boolean | undefined][] = [[call?.written.length, call?.ended]];
    for (let drains = 0; drains < 2; drains += 1) {
      call?.emit('drain');
      progress.push([call?.written.length, call?.ended]);
    }
    expect(progress).toEqual([
      [2, false],
      [4, false],
      [5, true],
    ]);
    expect(call?.written.map(({ ticket, totalBytes }) => [ticket, totalBytes])).toEqual([
      ['t', file.length],
      ...new Array<[string, number]>(4).fill(['', 0]),
    ]);
    expect(call?.written.every(({ data }) => data.buffer === file.buffer)).toBe(true);
    expect(Buffer.concat(call?.written.map(({ data }) => data) ?? []).equals(file)).toBe(true);
  });

  it('remembers a picture for as long as it is under way, the newest stream of each', () => {
    const client = new FakePictures(1);
    const sender = new PictureSender(client, [Buffer.alloc(10), Buffer.alloc(10)]);
    sender.send({ ticket: 'a', index: 0 });
    sender.send({ ticket: 'b', index: 1 });
    sender.send({ ticket: 'c', index: 0 });
    expect(client.calls.map(({ cancelled }) => cancelled)).toEqual([true, false, false]);
    client.calls[0]?.answer();
    expect(sender.sending).toBe(2);
    client.calls[1]?.answer();
    expect(sender.sending).toBe(1);
    sender.cancel();
    expect([sender.sending, client.calls[2]?.cancelled]).toEqual([0, true]);
  });
});

describe('a link', () => {
  const faults: string[] = [];
  const nothing = () => undefined;
  const failed = ({ code }: KvcError) => void faults.push(code);
  const listener: LinkListener = {
    ...{ started: nothing, prefilled: nothing, delta: nothing, finished: nothing, flush: nothing },
    recompressed: nothing,
    failed,
    lost: failed,
  };
  const need = (requestId: string, index: number) => ({
    events: [{ requestId, event: { $case: 'needPicture', value: { ticket: 't', index } } as const }],
  });

  function linkOf() {
    faults.length = 0;
    const [stream, client] = [new FakeStream(), new FakePictures(1)];
    const link = new WorkerLink(stream as never, client, nothing);
    const ask = (requestId: string) => {
      const files = [Buffer.alloc(10)];
      link.generate({ message: Generate.create({ requestId }), files, work: NO_WORK }, listener);
    };
    return { stream, client, link, ask };
  }

  it.each([1, -1, 2 ** 31 - 1])(
    'fails a request whose worker asks for picture %i, which it has not',
    (index) => {
      const { stream, client, ask } = linkOf();
      ask('a');
      ask('b');
      stream.say(need('a', index));
      expect([faults, client.calls.length]).toEqual([['WORKER_LOST'], 0]);
      expect(stream.written.at(-1)?.message).toEqual({ $case: 'abort', value: { requestId: 'a' } });
      stream.say(need('b', 0));
      expect([faults.length, client.calls.length]).toEqual([1, 1]);
    },
  );

  it('sends nothing for a request that has ended or was never there', () => {
    const { stream, client, link, ask } = linkOf();
    ask('a');
    link.forget('a');
    stream.say(need('a', 0));
    stream.say(need('unknown', 0));
    expect([faults, client.calls]).toEqual([[], []]);
  });

  it.each([
    ['is aborted', ({ link }) => link.abort('a')],
    ['is forgotten', ({ link }) => link.forget('a')],
    ['loses its worker', ({ stream }) => stream.emit('end')],
    [
      'fails',
      ({ stream }) => {
        const event = { $case: 'failed', value: { code: 'INTERNAL', message: '' } } as const;
        stream.say({ events: [{ requestId: 'a', event }] });
      },
    ],
  ] satisfies [string, (all: ReturnType<typeof linkOf>) => unknown][])(
    'stops sending when the request %s',
    (_how, end) => {
      const all = linkOf();
      all.ask('a');
      all.stream.say(need('a', 0));
      end(all);
      expect(all.client.calls.map(({ cancelled }) => cancelled)).toEqual([true]);
    },
  );
});

describe('over gRPC', () => {
  let server: Server;
  let client: WorkerServiceClient;
  let pictures: PictureUploads;

  afterEach(() => {
    pictures.close();
    client.close();
    server.forceShutdown();
  });

  it('an abort overtakes 20 MB that the worker does not read', async () => {
    server = createRpcServer();
    const heard = new EventEmitter();
    let ended = false;
    const service: WorkerServiceServer = {
      connect: (call) => {
        call.on('data', ({ message }: ConnectRequest) => {
          if (message?.$case === 'generate') {
            const event = { $case: 'needPicture', value: { ticket: 't', index: 0 } } as const;
            call.write({ events: [{ requestId: message.value.requestId, event }] });
          }
          if (message?.$case === 'abort') heard.emit('abort', message.value.requestId);
        });
      },
      sendPicture: (call) => {
        call.once('data', () => call.pause());
        call.on('data', () => heard.emit('picture'));
        call.on('end', () => (ended = true));
        call.on('cancelled', () => heard.emit('cancelled'));
      },
      drain: () => undefined,
      setAdmission: () => undefined,
      watchCache: () => undefined,
      adviseEviction: () => undefined,
      describePool: () => undefined,
      describeFormats: () => undefined,
    };
    server.addService(WorkerServiceService, service);
    const port = await listenRpc(server, '127.0.0.1:0');
    client = createRpcClient(WorkerServiceClient, `127.0.0.1:${port}`);
    pictures = new PictureUploads(`127.0.0.1:${port}`);
    const link = new WorkerLink(client.connect(), pictures, () => undefined);
    const nothing = () => undefined;
    const listener = {
      started: nothing,
      prefilled: nothing,
      delta: nothing,
      finished: nothing,
      flush: nothing,
      recompressed: nothing,
      failed: nothing,
      lost: nothing,
    };
    const files = [Buffer.alloc(20_000_000)];
    link.generate({ message: Generate.create({ requestId: 'a' }), files, work: NO_WORK }, listener);
    await once(heard, 'picture');
    const cancelled = once(heard, 'cancelled');
    const aborted = once(heard, 'abort');
    link.abort('a');
    expect(await aborted).toEqual(['a']);
    await cancelled;
    expect(ended).toBe(false);
    // what the kernel may still read is not freed
    for (const file of files) giveBackMemory(file);
    expect(files.map(({ length }) => length)).toEqual([20_000_000]);
  });
});
