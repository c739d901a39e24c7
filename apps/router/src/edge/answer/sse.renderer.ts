import type { KvcError } from '@kvcapsule/contracts/errors';
import { errorBody } from '@kvcapsule/contracts/openai';
import type { Finished, Prefill, Started } from '@kvcapsule/contracts/worker';
import type { Transcript, TranscriptEntry } from '../../generation/transcript.js';
import { choiceLogprobs } from '../logprobs.js';
import { answerHead, type Renderer } from './renderer.js';
import { finishDetails, finishReason, usageOf } from './usage.js';

/** What is told beside the answer. */
export interface Told {
  /** Comments that say how much of the prompt is computed, until the answer begins. */
  readonly prefill: boolean;
  readonly usage: UsageEvents;
}

/** Which events tell of usage. */
interface UsageEvents {
  /** One of its own at the end. */
  readonly last: boolean;
  /** Every one, of the tokens so far. */
  readonly continuous: boolean;
}

/** Server-sent events, `chat.completion.chunk` each. What every event repeats is serialised once. */
export class SseRenderer implements Renderer {
  readonly isWhole = false;
  readonly filler = ':\n\n';
  readonly headers = {
    'content-type': 'text/event-stream; charset=utf-8',
    'cache-control': 'no-cache',
    'x-accel-buffering': 'no',
  };
  readonly #fixed: string;
  #fingerprint: string | undefined;
  #head = '';
  #content = '';
  /** After a choice; with continuous usage it changes from event to event. */
  #tail: string;
  #opened = false;
  #completionTokens = 0;

  constructor(
    model: string,
    private readonly told: Told,
  ) {
    const { id, created } = answerHead(model);
    this.#fixed = `{"id":"${id}","object":"chat.completion.chunk","created":${created},"model":${JSON.stringify(model)}`;
    this.#tail = told.usage.last ? '}],"usage":null}\n\n' : '}]}\n\n';
  }

  prefilled({ computedTokens, promptTokens, encodedTokens, imageTokens }: Prefill): string {
    if (!this.told.prefill) return '';
    return imageTokens > 0
      ? `: encode ${encodedTokens}/${imageTokens}\n\n`
      : `: prefill ${computedTokens}/${promptTokens}\n\n`;
  }

  entries(entries: readonly TranscriptEntry[], transcript: Transcript): string {
    let text = '';
    for (const entry of entries) {
      this.#completionTokens += entry.tokenIds.length;
      if (entry.text === '' && entry.logprobs.length === 0) continue;
      if (entry.fingerprint !== this.#fingerprint) this.#comeFrom(entry.fingerprint);
      if (this.told.usage.continuous) this.#tail = this.#usageTail(transcript.started);
      if (!this.#opened) text += this.#opening();
      text += this.#entry(entry);
    }
    return text;
  }

  finished(end: Finished, { fingerprint, pressed }: Transcript): string {
    const { reason, usage } = end;
    if (fingerprint !== this.#fingerprint) this.#comeFrom(fingerprint);
    const told = this.told.usage.last ? JSON.stringify(usageOf(usage, pressed)) : '';
    if (this.told.usage.continuous) this.#tail = `}],"usage":${told}}\n\n`;
    const opening = this.#opened ? '' : this.#opening();
    const last = this.told.usage.last ? `${this.#head}],"usage":${told}}\n\n` : '';
    return `${opening}${this.#choice('{}', `"${finishReason(reason)}"${detailsOf(end)}`)}${last}data: [DONE]\n\n`;
  }

  /** One event, no `[DONE]`. */
  fault(error: KvcError): string {
    return `data: ${JSON.stringify(errorBody(error))}\n\n`;
  }

  /** Events from here on are of that origin. */
  #comeFrom(fingerprint: string): void {
    this.#fingerprint = fingerprint;
    this.#head = `data: ${this.#fixed},"system_fingerprint":"${fingerprint}","choices":[`;
    this.#content = `${this.#head}{"index":0,"delta":{"content":`;
  }

  #entry({ text, logprobs }: TranscriptEntry): string {
    const scores = logprobs.length === 0 ? 'null' : JSON.stringify(choiceLogprobs(logprobs));
    return `${this.#content}${JSON.stringify(text)}},"logprobs":${scores},"finish_reason":null${this.#tail}`;
  }

  /** The role, before anything else. */
  #opening(): string {
    this.#opened = true;
    return this.#choice('{"role":"assistant","content":""}', 'null');
  }

  #choice(delta: string, reason: string): string {
    return `${this.#head}{"index":0,"delta":${delta},"logprobs":null,"finish_reason":${reason}${this.#tail}`;
  }

  #usageTail({ promptTokens, cachedTokens }: Started = { promptTokens: 0, cachedTokens: 0 }): string {
    const completionTokens = this.#completionTokens;
    const usage = usageOf({ promptTokens, cachedTokens, completionTokens, kv: undefined });
    return `}],"usage":${JSON.stringify(usage)}}\n\n`;
  }
}

/** What follows the finish reason within its choice. */
function detailsOf(end: Finished): string {
  const { finish_details: details } = finishDetails(end);
  return details === undefined ? '' : `,"finish_details":${JSON.stringify(details)}`;
}
