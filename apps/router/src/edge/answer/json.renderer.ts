import type { KvcError } from '@kvcapsule/contracts/errors';
import { type ChatCompletion, errorBody } from '@kvcapsule/contracts/openai';
import type { Finished, TokenLogprob } from '@kvcapsule/contracts/worker';
import type { Transcript, TranscriptEntry } from '../../generation/transcript.js';
import { choiceLogprobs } from '../logprobs.js';
import { answerHead, type Renderer } from './renderer.js';
import { finishDetails, finishReason, usageOf } from './usage.js';

/** One JSON body at the end. */
export class JsonRenderer implements Renderer {
  readonly isWhole = true;
  /** White space before a JSON value means nothing. */
  readonly filler = ' ';
  readonly headers = { 'content-type': 'application/json; charset=utf-8' };
  #text = '';
  #logprobs: TokenLogprob[] = [];

  constructor(
    private readonly model: string,
    private readonly wantsLogprobs: boolean,
  ) {}

  entries(entries: readonly TranscriptEntry[]): string {
    for (const { text, logprobs } of entries) {
      this.#text += text;
      for (const logprob of logprobs) this.#logprobs.push(logprob);
    }
    return '';
  }

  prefilled(): string {
    return '';
  }

  finished(end: Finished, transcript: Transcript): string {
    const { reason, usage } = end;
    const message = { role: 'assistant', content: this.#text, refusal: null } as const;
    const logprobs = this.wantsLogprobs ? choiceLogprobs(this.#logprobs) : null;
    const body: ChatCompletion = {
      ...answerHead(this.model),
      object: 'chat.completion',
      system_fingerprint: transcript.fingerprint,
      choices: [{ index: 0, message, logprobs, finish_reason: finishReason(reason), ...finishDetails(end) }],
      usage: usageOf(usage, transcript.pressed),
    };
    return JSON.stringify(body);
  }

  /** The status has left with a filler: the body alone tells of the error. */
  fault(error: KvcError): string {
    return JSON.stringify(errorBody(error));
  }
}
