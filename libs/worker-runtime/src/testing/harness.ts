import { createHash } from 'node:crypto';

import { type ClientDuplexStream, status } from '@grpc/grpc-js';
import {
  type ConnectRequest,
  type ConnectResponse,
  type Event,
  type Finished,
  type Generate,
  type NeedPicture,
  type Picture,
  type Progress,
  type Sampling,
  type TokenLogprob,
  WorkerServiceClient,
} from '@kvcapsule/contracts/worker';
import { createRpcClient } from '@kvcapsule/platform/rpc';
import { createMetrics } from '@kvcapsule/platform/telemetry';
import { MemoryLedger, MemoryRegistry, MemoryStore } from '@kvcapsule/testing/ports';
import { pino } from 'pino';

import type { DecodeImage } from '../executor.js';
import { startWorker, type Worker, type WorkerParts } from '../worker.js';
import { FAKE_END, FAKE_IMAGE_TOKEN, FakeEngine } from '@kvcapsule/testing/engine';

/** Two letters a token, so that stop strings may span tokens. */
export function tokenText(token: number): string {
  return String.fromCharCode(97 + (token % 8)) + String.fromCharCode(97 + (Math.floor(token / 8) % 8));
}

/** The first byte says how many tokens the picture makes, the second what it shows; 0 tokens: not a picture. */
const fakeDecode: DecodeImage = (encoded) =>
  Promise.resolve({ rgb: encoded.subarray(1), width: encoded[0] ?? 0, height: 1 });

export interface Rig {
  readonly worker: Worker;
  readonly engine: FakeEngine;
  readonly store: MemoryStore;
  readonly registry: MemoryRegistry;
  readonly ledger: MemoryLedger;
  readonly client: WorkerServiceClient;
  readonly metrics: WorkerParts['metrics'];
  close(): Promise<void>;
}

export interface RigOptions extends Partial<Omit<WorkerParts, 'config' | 'engine'>> {
  readonly engine?: FakeEngine;
  readonly config?: Partial<WorkerParts['config']>;
}

/** A worker with a fake engine, an in-memory store and a real gRPC client. */
export async function startRig(options: RigOptions = {}): Promise<Rig> {
  const engine = options.engine ?? new FakeEngine(64);
  const store = new MemoryStore();
  const [registry, ledger] = [new MemoryRegistry(store), new MemoryLedger(store)];
  const metrics = createMetrics('worker');
  const worker = await startWorker({
    registry,
    ledger,
    metrics,
    logger: pino({ level: 'silent' }),
    decodeImage: fakeDecode,
    imageProcessor: 'p',
    createDetokenizer: () => ({
      pending: false,
      push: tokenText,
      flush: () => '',
      spell: tokenText,
      bytesOf: (token) => Buffer.from(tokenText(token)),
    }),
    stopTokenIds: new Set([FAKE_END]),
    model: {
      ...{
        id: 'fake',
        revision: 'r',
        processorRevision: 'p',
        precision: 'f',
        arithmetic: 'a',
        engineVersion: 'v',
      },
    },
    codec: engine.info.formats.length > 0 ? 'capsule' : 'raw',
    profileId: '',
    onReplaced: () => undefined,
    ...options,
    engine,
    config: {
      id: 'w',
      listen: '127.0.0.1:0',
      poolBlocks: engine.poolBlocks,
      swapPages: 0,
      maxStepTokens: 64,
      maxPrefillChunk: 48,
      maxRunning: 8,
      encoderCacheBytes: 150 * engine.info.featureBytes,
      metricsAt: { host: '127.0.0.1', port: 0 },
      heartbeatMs: 20,
      ...options.config,
    },
  });
  const client = createRpcClient(WorkerServiceClient, worker.address);
  return {
    worker,
    engine,
    store,
    registry,
    ledger,
    client,
    metrics,
    close: async () => {
      client.close();
      await worker.close();
    },
  };
}

export interface Answer {
  readonly events: Event[];
  readonly text: string;
  readonly tokenIds: number[];
  readonly logprobs: TokenLogprob[];
  readonly finished: Finished | undefined;
  readonly error: { code: string; message: string; param?: string | undefined } | undefined;
}

/** A request, and the files of its pictures, which are sent when the worker needs them. */
export type Asking = Omit<Generate, 'pictures'> & {
  readonly pictures: (Picture & { readonly encoded: Buffer })[];
};

/** A router's side of one stream. */
export class RouterSide {
  readonly stream: ClientDuplexStream<ConnectRequest, ConnectResponse>;
  readonly frames: Event[][] = [];
  readonly progress: Progress[] = [];
  /** Pictures that the worker asked for: request and index. */
  readonly needed: [string, number][] = [];
  /** Sends what the worker asks for, unless a test does something else. */
  bring = (file: Buffer, { ticket }: NeedPicture): void => {
    void sendPicture(this.client, ticket, [file]);
  };
  readonly #files = new Map<string, readonly Buffer[]>();
  readonly #events = new Map<string, Event[]>();
  readonly #ends = new Map<string, () => void>();

  constructor(private readonly client: WorkerServiceClient) {
    this.stream = client.connect();
    this.stream.on('error', () => undefined);
    this.stream.on('data', ({ events, progress }: ConnectResponse) => {
      const news = events.filter((event) => !this.#brings(event));
      if (progress) this.progress.push(progress);
      else if (news.length > 0) this.frames.push(news);
      for (const event of news) this.#take(event);
    });
  }

  send(generate: Asking): void {
    this.#events.set(generate.requestId, []);
    this.#files.set(
      generate.requestId,
      generate.pictures.map(({ encoded }) => encoded),
    );
    this.stream.write({ message: { $case: 'generate', value: generate } });
  }

  abort(requestId: string): void {
    this.stream.write({ message: { $case: 'abort', value: { requestId } } });
  }

  eventsOf(requestId: string): readonly Event[] {
    return this.#events.get(requestId) ?? [];
  }

  /** Resolves with the request's last event. */
  async answer(requestId: string): Promise<Answer> {
    const events = this.#events.get(requestId) ?? [];
    if (!ended(events)) await new Promise<void>((resolve) => this.#ends.set(requestId, resolve));
    const deltas = events.flatMap(({ event }) => (event?.$case === 'delta' ? [event.value] : []));
    const last = events.at(-1)?.event;
    const finished = last?.$case === 'finished' ? last.value : undefined;
    return {
      events,
      text: deltas.map(({ text }) => text).join('') + (finished?.text ?? ''),
      tokenIds: deltas.flatMap(({ tokenIds }) => tokenIds),
      logprobs: deltas.flatMap(({ logprobs }) => logprobs),
      finished,
      error: last?.$case === 'failed' ? last.value : undefined,
    };
  }

  async ask(generate: Asking): Promise<Answer> {
    this.send(generate);
    return this.answer(generate.requestId);
  }

  #brings({ requestId, event }: Event): boolean {
    if (event?.$case !== 'needPicture') return false;
    const { index } = event.value;
    this.needed.push([requestId, index]);
    const file = this.#files.get(requestId)?.[index];
    if (!file) throw new Error('the worker asks for a picture that the request does not have');
    this.bring(file, event.value);
    return true;
  }

  #take(event: Event): void {
    const events = this.#events.get(event.requestId);
    events?.push(event);
    if (events && ended(events)) this.#ends.get(event.requestId)?.();
  }
}

/** Sends a picture in these parts; resolves to the status that the worker answers with. */
export function sendPicture(
  client: WorkerServiceClient,
  ticket: string,
  parts: readonly Buffer[],
): Promise<string> {
  return new Promise((resolve) => {
    const call = client.sendPicture((error) => {
      resolve(status[error?.code ?? status.OK]);
    });
    const totalBytes = parts.reduce((sum, { length }) => sum + length, 0);
    parts.forEach((data, at) => call.write({ ticket: at === 0 ? ticket : '', totalBytes, data }));
    call.end();
  });
}

function ended(events: readonly Event[]): boolean {
  const kind = events.at(-1)?.event?.$case;
  return kind === 'finished' || kind === 'failed';
}

/** A picture's span: marker, image tokens, marker. */
export interface FakePicture {
  readonly tokens: number;
  readonly mark: number;
}

export interface AskOptions {
  readonly id: string;
  /** Tokens of text, or pictures, in order. */
  readonly parts: readonly (readonly number[] | FakePicture)[];
  readonly maxTokens?: number;
  readonly stop?: readonly string[];
  readonly seed?: bigint;
  readonly sampling?: Partial<Sampling>;
  readonly kvCodec?: string;
  readonly remainingMs?: bigint;
  readonly priority?: number;
  readonly cacheSalt?: string;
  readonly lease?: Generate['lease'];
}

/** A request's sampling when it asks for nothing. */
export const GREEDY: Sampling = {
  ...{ temperature: 0, topP: 1, topK: 0, minP: 0, seed: 0n },
  ...{ presencePenalty: 0, frequencyPenalty: 0, repetitionPenalty: 1, logitBias: [] },
  ...{ minTokens: 0, ignoreEos: false },
};

/** A picture's file of these bytes. */
export function fileOf(bytes: readonly number[]): { encoded: Buffer; contentSha256: Buffer } {
  const encoded = Buffer.from(bytes);
  return { encoded, contentSha256: createHash('sha256').update(encoded).digest() };
}

export function generateOf(options: AskOptions): Asking {
  const tokenIds: number[] = [];
  const pictures: Asking['pictures'] = [];
  for (const part of options.parts) {
    if (!('tokens' in part)) {
      tokenIds.push(...part);
      continue;
    }
    const file = fileOf([part.tokens, part.mark]);
    const param = `messages.0.content.${pictures.length}`;
    pictures.push({ offset: tokenIds.length, length: part.tokens + 2, param, ...file });
    tokenIds.push(5, ...Array.from({ length: part.tokens }, () => FAKE_IMAGE_TOKEN), 6);
  }
  return {
    requestId: options.id,
    lease: options.lease,
    tokenIds,
    pictures,
    sampling: {
      ...GREEDY,
      ...(options.seed !== undefined && { temperature: 1, seed: options.seed }),
      ...options.sampling,
    },
    priority: options.priority ?? 0,
    cacheSalt: options.cacheSalt ?? '',
    kvCodec: options.kvCodec ?? '',
    maxTokens: options.maxTokens ?? 20,
    stop: [...(options.stop ?? [])],
    remainingMs: options.remainingMs ?? 0n,
    resumedTokenIds: [],
  };
}

/** Ends a hang; a busy machine may take seconds for what takes a millisecond. */
const PATIENCE_MS = 30_000;

/** Waits until something holds, for what another process part does on its own time. */
export async function until(holds: () => boolean): Promise<void> {
  const end = Date.now() + PATIENCE_MS;
  while (!holds()) {
    if (Date.now() > end) throw new Error('it did not become true in time');
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
