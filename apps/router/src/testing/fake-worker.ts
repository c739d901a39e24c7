import { setTimeout as sleep } from 'node:timers/promises';
import {
  CacheChange,
  CachedContent,
  type CacheEvent,
  type DescribePoolResponse,
  type FormatDescription,
  PageKind,
  type WatchCacheResponse,
  type ConnectRequest,
  type ConnectResponse,
  type Event,
  FinishReason,
  type Generate,
  type Prefill,
  type SendPictureRequest,
  type SendPictureResponse,
  type TokenLogprob,
  type WatchCacheRequest,
  type WorkerServiceServer,
  WorkerServiceService,
} from '@kvcapsule/contracts/worker';
import type { CacheChange as Change, CacheLog } from '@kvcapsule/domain/owners';
import { createRpcServer, listenRpc } from '@kvcapsule/platform/rpc';
import {
  type handleClientStreamingCall,
  type ServerDuplexStream,
  type ServerWritableStream,
  status,
} from '@grpc/grpc-js';

type Stream = ServerDuplexStream<ConnectRequest, ConnectResponse>;

/** Sends one event of a request, or several as one frame. */
export type Say = (...events: NonNullable<Event['event']>[]) => void;

/** Asks for a picture and resolves to its file. */
export type Need = (index: number) => Promise<Buffer>;

/** What the worker does with a request; `signal` fires at its abort. */
export type Script = (request: Generate, say: Say, signal: AbortSignal, need: Need) => Promise<void> | void;

export const started = (promptTokens = 3): NonNullable<Event['event']> => ({
  $case: 'started',
  value: { promptTokens, cachedTokens: 1 },
});

export const delta = (text: string, logprobs: TokenLogprob[] = []): NonNullable<Event['event']> => ({
  $case: 'delta',
  value: { text, tokenIds: [...text].map((c) => c.codePointAt(0) ?? 0), logprobs },
});

export const recompressed = (pictures: number[], textStarts: number[] = []): NonNullable<Event['event']> => ({
  $case: 'recompressed',
  value: { pictures, textStarts },
});

export function finished(
  request: Generate,
  completionTokens: number,
  reason = FinishReason.FINISH_REASON_STOP,
  text = '',
) {
  const kv = { codec: 'capsule', bytes: 100n, rawBytes: 300n, pictures: { bytes: 40n, rawBytes: 200n } };
  const usage = { promptTokens: request.tokenIds.length, completionTokens, cachedTokens: 1, kv };
  return { $case: 'finished', value: { reason, text, usage } } as const;
}

export const failed = (code: string, message: string, param?: string): NonNullable<Event['event']> => ({
  $case: 'failed',
  value: { code, message, param },
});

/** Says its prompt back, a character a frame. */
export const echo: Script = async (request, say, signal) => {
  const characters = request.tokenIds.map((id) => String.fromCodePoint(id));
  say(started(request.tokenIds.length));
  let made = 0;
  for (const character of characters.slice(0, request.maxTokens)) {
    if (signal.aborted) return say(finished(request, made, FinishReason.FINISH_REASON_ABORT));
    say(delta(character));
    made += 1;
    await sleep(1);
  }
  const isCut = characters.length > request.maxTokens;
  say(finished(request, made, isCut ? FinishReason.FINISH_REASON_LENGTH : FinishReason.FINISH_REASON_STOP));
};

/** Goes on until it is aborted. */
export const endless: Script = async (request, say, signal) => {
  say(started(request.tokenIds.length));
  let made = 0;
  while (!signal.aborted) {
    say(delta('x'));
    made += 1;
    await sleep(5);
  }
  say(finished(request, made, FinishReason.FINISH_REASON_ABORT));
};

/** Says nothing until it is aborted. */
export const silent: Script = (request, say, signal) => {
  signal.addEventListener('abort', () => say(finished(request, 0, FinishReason.FINISH_REASON_ABORT)));
};

/** Speaks the worker's protocol on a port of its own; its answers are scripted. */
export class FakeWorker {
  readonly received: Generate[] = [];
  readonly aborted: string[] = [];
  /** What was asked of its admission. */
  readonly admits: boolean[] = [];
  script: Script = echo;
  /** What it tells of its caches; nothing where there is none. */
  cacheLog: CacheLog | undefined;
  formats: FormatDescription[] = [];
  pool: DescribePoolResponse = { kinds: [PageKind.PAGE_KIND_FREE], pages: [160] };
  address = '';
  readonly #server = createRpcServer();
  readonly #streams = new Set<Stream>();
  readonly #running = new Map<string, AbortController>();
  readonly #needed = new Map<string, (file: Buffer) => void>();
  #tickets = 0;

  /** At that address, or at a port of its own. */
  async start(at = '127.0.0.1:0'): Promise<this> {
    const service: WorkerServiceServer = {
      connect: (stream) => this.#serve(stream),
      sendPicture: (call, callback) => this.#receive(call, callback),
      drain: () => undefined,
      setAdmission: (call, callback) => {
        this.admits.push(call.request.open);
        callback(null, { running: this.running, waiting: 0 });
      },
      adviseEviction: () => undefined,
      describePool: (_call, callback) => {
        callback(null, this.pool);
      },
      describeFormats: (_call, callback) => {
        callback(null, { formats: this.formats });
      },
      watchCache: (call) => {
        if (this.cacheLog) tellOf(this.cacheLog, call);
      },
    };
    this.#server.addService(WorkerServiceService, service);
    this.address = `127.0.0.1:${await listenRpc(this.#server, at)}`;
    return this;
  }

  get running(): number {
    return this.#running.size;
  }

  /** As when the process is killed: every connection drops. */
  kill(): void {
    for (const controller of this.#running.values()) controller.abort();
    this.#server.forceShutdown();
  }

  /** How much of requests' prompts is computed, to every router. */
  report(...prefills: Prefill[]): void {
    for (const stream of this.#streams) stream.write({ events: [], progress: { steps: 1n, prefills } });
  }

  #serve(stream: Stream): void {
    this.#streams.add(stream);
    stream.on('error', () => undefined);
    stream.on('end', () => stream.end());
    stream.on('data', ({ message }: ConnectRequest) => {
      if (message?.$case === 'generate') void this.#generate(stream, message.value);
      if (message?.$case === 'abort') {
        this.aborted.push(message.value.requestId);
        this.#running.get(message.value.requestId)?.abort();
      }
    });
  }

  async #generate(stream: Stream, request: Generate): Promise<void> {
    const controller = new AbortController();
    this.received.push(request);
    this.#running.set(request.requestId, controller);
    const say: Say = (...events) => {
      if (events.some(({ $case }) => $case === 'finished' || $case === 'failed'))
        this.#running.delete(request.requestId);
      if (!stream.destroyed)
        stream.write({ events: events.map((event) => ({ requestId: request.requestId, event })) });
    };
    const need: Need = (index) =>
      new Promise((resolve) => {
        const ticket = String((this.#tickets += 1));
        this.#needed.set(ticket, resolve);
        say({ $case: 'needPicture', value: { ticket, index } });
      });
    await this.script(request, say, controller.signal, need);
  }

  readonly #receive: handleClientStreamingCall<SendPictureRequest, SendPictureResponse> = (
    call,
    callback,
  ) => {
    const parts: SendPictureRequest[] = [];
    call.on('data', (part: SendPictureRequest) => parts.push(part));
    call.on('end', () => {
      const ticket = parts[0]?.ticket ?? '';
      this.#needed.get(ticket)?.(Buffer.concat(parts.map(({ data }) => data)));
      callback(this.#needed.delete(ticket) ? null : { code: status.NOT_FOUND }, {});
    });
  };
}

/** Each change at once, from all that is held on. */
function tellOf(log: CacheLog, call: ServerWritableStream<WatchCacheRequest, WatchCacheResponse>): void {
  const reader = log.read();
  const timer = setInterval(() => {
    const batch = reader.next(100);
    if (!batch) return;
    const { sequence, changes, ...rest } = batch;
    const events = changes.map(eventOf);
    call.write({ instance: 'i', sequence: BigInt(sequence), ...rest, events, nextEvictions: [] });
  }, 2);
  for (const event of ['cancelled', 'error', 'close']) call.on(event, () => clearInterval(timer));
}

const CHANGE: Record<Change['kind'], CacheChange> = {
  stored: CacheChange.CACHE_CHANGE_STORED,
  removed: CacheChange.CACHE_CHANGE_REMOVED,
  coming: CacheChange.CACHE_CHANGE_COMING,
  withdrawn: CacheChange.CACHE_CHANGE_WITHDRAWN,
};

function eventOf(change: Change): CacheEvent {
  const { name, tokens, pages } =
    change.kind === 'stored' ? change.item : { name: change.name, tokens: 0, pages: 0 };
  const content = CachedContent.CACHED_CONTENT_UNSPECIFIED;
  return { name: Buffer.from(name.slice(0, 32), 'hex'), change: CHANGE[change.kind], content, tokens, pages };
}
