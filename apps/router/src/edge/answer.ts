import { randomUUID } from 'node:crypto';
import type { KvcError } from '@kvcapsule/contracts/errors';
import { type ChatCompletion, type CompletionUsage, errorBody } from '@kvcapsule/contracts/openai';
import {
  type Finished,
  FinishReason,
  type KvBytes,
  type TokenLogprob,
  type Usage,
} from '@kvcapsule/contracts/worker';
import type { FastifyReply } from 'fastify';
import type { GenerationSink } from '../generation/generation.js';
import { choiceLogprobs } from './logprobs.js';

/** A generation on its way to one HTTP client. Once `begun`, errors are its own to tell. */
export interface Answer extends GenerationSink {
  readonly begun: boolean;
  fail(error: KvcError): void;
  /**
   * Writes something the client will not notice, once the request is known to be sound: from then on only
   * faults of the server are left, and they cost the client a status.
   */
  probe(): void;
}

const head = (model: string) => ({
  id: `chatcmpl-${randomUUID()}`,
  created: Math.floor(Date.now() / 1000),
  model,
});

/** From here on the reply is ours: its headers so far (request id) and these. */
function begin(reply: FastifyReply, headers: Record<string, string | number>): void {
  reply.hijack();
  reply.raw.writeHead(200, { ...reply.getHeaders(), ...headers } as Record<string, string | number>);
}

/**
 * Server-sent events. Deltas reuse what was serialised once, and what one frame of the worker brings goes out
 * in one write. Not bounded by back-pressure: an answer is never larger than its tokens.
 */
export class StreamAnswer implements Answer {
  begun = false;
  #queued = false;
  readonly #prefix: string;
  readonly #noUsage: string;
  #pending = '';

  constructor(
    private readonly reply: FastifyReply,
    model: string,
    private readonly includeUsage: boolean,
  ) {
    const { id, created } = head(model);
    const fixed = { id, object: 'chat.completion.chunk', created, model };
    this.#prefix = `data: ${JSON.stringify(fixed).slice(0, -1)}`;
    this.#noUsage = includeUsage ? ',"usage":null' : '';
  }

  queued(): void {
    this.#queued = true;
  }

  started(): void {
    this.#begin();
    this.#write(this.#choice('{"role":"assistant","content":""}', 'null'));
  }

  delta(text: string, logprobs: readonly TokenLogprob[]): void {
    if (text === '' && logprobs.length === 0) return;
    const told = logprobs.length === 0 ? 'null' : JSON.stringify(choiceLogprobs(logprobs));
    this.#write(this.#choice(`{"content":${JSON.stringify(text)}}`, 'null', told));
  }

  finished({ reason, text, logprobs, usage }: Finished): void {
    this.delta(text, logprobs);
    const usageChunk = this.includeUsage
      ? `${this.#prefix},"choices":[],"usage":${JSON.stringify(usageOf(usage))}}\n\n`
      : '';
    this.#end(`${this.#choice('{}', `"${finishReason(reason)}"`)}${usageChunk}data: [DONE]\n\n`);
  }

  /** One event, no `[DONE]`, and the connection goes with it. */
  fail(error: KvcError): void {
    const { raw } = this.reply;
    raw.once('finish', () => raw.req.socket.destroySoon());
    this.#end(`data: ${JSON.stringify(errorBody(error))}\n\n`);
  }

  probe(): void {
    if (!this.#queued) return;
    this.#begin();
    this.reply.raw.write(':\n\n');
  }

  #begin(): void {
    if (this.begun) return;
    begin(this.reply, {
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-cache',
      'x-accel-buffering': 'no',
    });
    this.begun = true;
  }

  #choice(delta: string, reason: string, logprobs = 'null'): string {
    return `${this.#prefix},"choices":[{"index":0,"delta":${delta},"logprobs":${logprobs},"finish_reason":${reason}}]${this.#noUsage}}\n\n`;
  }

  #write(text: string): void {
    if (this.#pending === '') queueMicrotask(() => this.#flush());
    this.#pending += text;
  }

  #flush(): void {
    if (this.#pending === '') return;
    this.reply.raw.write(this.#pending);
    this.#pending = '';
  }

  #end(text: string): void {
    this.reply.raw.end(this.#pending + text);
    this.#pending = '';
  }
}

/** One JSON body at the end. */
export class JsonAnswer implements Answer {
  begun = false;
  #queued = false;
  #text = '';
  readonly #logprobs: TokenLogprob[] = [];

  constructor(
    private readonly reply: FastifyReply,
    private readonly model: string,
    private readonly wantsLogprobs: boolean,
  ) {}

  queued(): void {
    this.#queued = true;
  }

  started(): void {
    // Nothing leaves before the end.
  }

  delta(text: string, logprobs: readonly TokenLogprob[]): void {
    this.#text += text;
    this.#logprobs.push(...logprobs);
  }

  finished({ reason, text, logprobs: last, usage }: Finished): void {
    this.delta(text, last);
    const message = { role: 'assistant', content: this.#text, refusal: null } as const;
    const logprobs = this.wantsLogprobs ? choiceLogprobs(this.#logprobs) : null;
    const body: ChatCompletion = {
      ...head(this.model),
      object: 'chat.completion',
      choices: [{ index: 0, message, logprobs, finish_reason: finishReason(reason) }],
      usage: usageOf(usage),
    };
    this.#end(JSON.stringify(body));
  }

  /** Only after a probe, when the status has left already: the body alone tells of the error. */
  fail(error: KvcError): void {
    this.#end(JSON.stringify(errorBody(error)));
  }

  /** White space before a JSON value means nothing. */
  probe(): void {
    if (!this.#queued) return;
    if (!this.begun) begin(this.reply, { 'content-type': 'application/json; charset=utf-8' });
    this.begun = true;
    this.reply.raw.write(' ');
  }

  #end(body: string): void {
    if (!this.begun) {
      const length = Buffer.byteLength(body);
      begin(this.reply, { 'content-type': 'application/json; charset=utf-8', 'content-length': length });
      this.begun = true;
    }
    this.reply.raw.end(body);
  }
}

function finishReason(reason: FinishReason): 'stop' | 'length' {
  return reason === FinishReason.FINISH_REASON_LENGTH ? 'length' : 'stop';
}

function usageOf(usage: Usage | undefined): CompletionUsage {
  const { promptTokens = 0, completionTokens = 0, cachedTokens = 0, kv } = usage ?? {};
  return {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
    prompt_tokens_details: { cached_tokens: cachedTokens },
    ...(kv && {
      kv_cache: { codec: kv.codec, ...bytesOf(kv), pictures: bytesOf(kv.pictures) },
    }),
  };
}

function bytesOf(kv: KvBytes | undefined): { readonly bytes: number; readonly raw_bytes: number } {
  return { bytes: Number(kv?.bytes ?? 0n), raw_bytes: Number(kv?.rawBytes ?? 0n) };
}
