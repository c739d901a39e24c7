import { KvcError } from '@kvcapsule/contracts/errors';
import type { Prefill } from '@kvcapsule/contracts/worker';
import type { FastifyReply } from 'fastify';
import {
  type Subscriber,
  tooSlow,
  type Transcript,
  type TranscriptReader,
} from '../../generation/transcript.js';
import { receiptHeaders } from '../../placement/receipt.js';
import { toKvcError } from '../error.filter.js';
import { BodyWriter } from './body-writer.js';
import type { Paced, Pacer } from './pacer.service.js';
import type { Renderer } from './renderer.js';

/** How often something is written to a client that has closed its sending side: only that tells if it is there. */
const HEARTBEAT_MS = 150;

/** Why a delivery leaves that is over: nobody asks, and to make an error with its stack takes 30 microseconds. */
const DELIVERED = new KvcError('ABORTED', 'The answer had been delivered.');

interface DeliveryOptions {
  readonly reply: FastifyReply;
  readonly transcript: Transcript;
  readonly renderer: Renderer;
  readonly pacer: Pacer;
  /** Whether the client asked who answers. */
  readonly wantsReceipt: boolean;
  /** How long a client may take nothing of what waits in its socket. */
  readonly stallMs: number;
  /** How long a stream may be silent: proxies cut connections that are. */
  readonly keepAliveMs: number;
}

/**
 * Carries a transcript to one HTTP client. While its socket is full nothing is taken from the transcript, whose
 * window bounds what waits.
 */
export class Delivery implements Subscriber, Paced {
  /** Resolves once nothing more will be written: with the fault, or with undefined after a whole answer. */
  readonly ended: Promise<unknown>;
  #begun = false;
  #hasSent = false;
  #congested = false;
  /** For its turn with the pacer. */
  #waits = false;
  #done = false;
  #lastWriteMs = -Infinity;
  #heartbeat: NodeJS.Timeout | undefined;
  /** When anything was last written, or the answer was begun to be waited for. */
  #spokeMs = performance.now();
  #keepAlive: NodeJS.Timeout | undefined;
  #settle!: (fault: unknown) => void;
  readonly #reader: TranscriptReader;
  readonly #body: BodyWriter;

  constructor(private readonly options: DeliveryOptions) {
    this.ended = new Promise((resolve) => {
      this.#settle = resolve;
    });
    this.#body = new BodyWriter(options.reply.raw);
    this.#reader = options.transcript.subscribe(this);
    const { renderer, keepAliveMs } = options;
    if (!renderer.isWhole) this.#keepAliveIn(keepAliveMs);
    this.#watchClient();
  }

  /** Whether the status has left: then faults are told in the body. */
  get begun(): boolean {
    return this.#begun;
  }

  /** The first text and the end leave at once; what comes between keeps the pace. */
  wake(nowMs: number): void {
    if (this.#congested) return;
    const { pacer, transcript } = this.options;
    if (this.#waits && !transcript.end) return;
    const dueMs = this.#lastWriteMs + pacer.intervalMs;
    if (transcript.end || nowMs >= dueMs) this.deliver(nowMs);
    else {
      this.#waits = true;
      pacer.at(dueMs, this);
    }
  }

  deliver(nowMs: number): void {
    this.#waits = false;
    if (this.#congested || this.#done) return;
    const { renderer, transcript } = this.options;
    const text = renderer.entries(this.#reader.take(), transcript);
    const { end } = transcript;
    if (!end) this.#send(text, nowMs);
    else if (end.finished) this.#finish(text + renderer.finished(end.finished, transcript));
    else this.#fail(text, end.fault);
  }

  /** Before the answer's first text alone, and never so much that it waits. */
  prefilled(prefill: Prefill): void {
    const { reply, renderer } = this.options;
    const text = renderer.prefilled(prefill);
    if (text === '' || this.#hasSent || this.#congested || this.#done || reply.raw.writableEnded) return;
    this.#begin();
    this.#write(text);
  }

  cutOff(reason: KvcError): void {
    this.#end(reason);
    this.options.reply.raw.destroy();
  }

  #watchClient(): void {
    const { raw, request } = this.options.reply;
    const { socket } = request.raw;
    const beat = () => {
      this.#heartbeat = setInterval(() => this.#beat(), HEARTBEAT_MS);
    };
    if (socket.readableEnded) beat();
    else socket.once('end', beat);
    const gone = () => {
      clearInterval(this.#heartbeat);
      socket.off('end', beat);
      this.#leave(this.#done ? DELIVERED : new KvcError('ABORTED', 'The client went away.'));
    };
    // The reply's close, not the request's: the request closes once its body is read.
    if (raw.destroyed) gone();
    else raw.once('close', gone);
  }

  #leave(reason: KvcError): void {
    this.#reader.leave(reason);
    this.#end(reason);
  }

  /** Nothing more will be written. */
  #end(fault: unknown): void {
    if (this.#done) return;
    this.#done = true;
    clearTimeout(this.#keepAlive);
    if (this.#hasSent) this.options.pacer.leave();
    this.#settle(fault);
  }

  /** Then looks how long the stream has been silent, instead of being put off with every write. */
  #keepAliveIn(waitMs: number): void {
    this.#keepAlive = setTimeout(() => {
      const { keepAliveMs } = this.options;
      const silentMs = performance.now() - this.#spokeMs;
      const isDue = silentMs >= keepAliveMs;
      if (isDue) this.#beat();
      if (!this.#done) this.#keepAliveIn(isDue ? keepAliveMs : keepAliveMs - silentMs);
    }, waitMs);
  }

  /** Only once the request is sound: from then on only faults of the server are left, and they cost a status. */
  #beat(): void {
    const { reply, renderer, transcript } = this.options;
    if (!transcript.accepted || this.#congested || reply.raw.writableEnded) return;
    this.#begin();
    this.#write(renderer.filler);
  }

  #send(text: string, nowMs: number): void {
    if (text === '') return;
    this.#begin();
    if (!this.#hasSent) this.options.pacer.join();
    this.#hasSent = true;
    this.#lastWriteMs = nowMs;
    this.#write(text);
  }

  #finish(text: string): void {
    const { reply, renderer } = this.options;
    this.#begin(renderer.isWhole ? { 'content-length': Buffer.byteLength(text) } : {});
    reply.raw.end(text);
    this.#end(undefined);
  }

  /** The connection goes with an answer that is cut, so that no client takes it for whole. */
  #fail(text: string, fault: unknown): void {
    const { reply, renderer } = this.options;
    if (this.#begun) {
      const { raw } = reply;
      raw.once('finish', () => raw.req.socket.destroySoon());
      raw.end(text + renderer.fault(toKvcError(fault)));
    }
    this.#end(fault);
  }

  /** From here on the reply is ours: its headers so far (request id) and these. */
  #begin(more: Readonly<Record<string, number | string>> = {}): void {
    if (this.#begun) return;
    this.#begun = true;
    const { reply, renderer, transcript, wantsReceipt, stallMs } = this.options;
    const { raw } = reply;
    const receipt = wantsReceipt && transcript.receipt ? receiptHeaders(transcript.receipt) : {};
    const headers = { ...reply.getHeaders(), ...renderer.headers, ...receipt, ...more };
    reply.hijack();
    raw.writeHead(200, headers as Record<string, string>);
    // The platform's idle timer: it counts a write that makes progress as activity.
    raw.setTimeout(stallMs, () => {
      if (raw.req.socket.writableLength === 0) return;
      const reason = tooSlow();
      this.#leave(reason);
      raw.destroy();
    });
  }

  #write(text: string): void {
    this.#spokeMs = performance.now();
    const full = this.#body.write(text);
    if (!full) return;
    this.#congested = true;
    full.once('drain', this.#drained);
  }

  readonly #drained = (): void => {
    this.#congested = false;
    this.wake(performance.now());
  };
}
