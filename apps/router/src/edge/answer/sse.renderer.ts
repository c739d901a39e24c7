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
  readonly #head: string;
  readonly #content: string;
  /** After a choice; with continuous usage it changes from event to event. */
  #tail: string;
  #opened = false;
  #completionTokens = 0;

  constructor(
    model: string,
    private readonly told: Told,
  ) {
    const { id, created } = answerHead(model);
    const fixed = { id, object: 'chat.completion.chunk', created, model };
    this.#head = `data: ${JSON.stringify(fixed).slice(0, -1)},"choices":[`;
    this.#content = `${this.#head}{"index":0,"delta":{"content":`;
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
      if (this.told.usage.continuous) this.#tail = this.#usageTail(transcript.started);
      if (!this.#opened) text += this.#opening();
      text += this.#entry(entry);
    }
    return text;
  }

  finished(end: Finished): string {
    const { reason, usage } = end;
    const told = JSON.stringify(usageOf(usage));
    if (this.told.usage.continuous) this.#tail = `}],"usage":${told}}\n\n`;
    const opening = this.#opened ? '' : this.#opening();
    const last = this.told.usage.last ? `${this.#head}],"usage":${told}}\n\n` : '';
    return `${opening}${this.#choice('{}', `"${finishReason(reason)}"${detailsOf(end)}`)}${last}data: [DONE]\n\n`;
  }

  /** One event, no `[DONE]`. */
  fault(error: KvcError): string {
    return `data: ${JSON.stringify(errorBody(error))}\n\n`;
  }

  restart(): void {
    this.#completionTokens = 0;
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
