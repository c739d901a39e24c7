import { asKvcError } from '@kvcapsule/contracts';
import type { TokenizerFile } from '../folder/tokenizer-files.js';
import { TextTokenizer } from '../tokens/text-tokenizer.js';
import { ChatTemplate } from './chat-template.js';
import { PromptBuilder } from './prompt-builder.js';
import type { PromptBuilderData, PromptFailure, PromptJob, PromptReply } from './prompt-threads.js';

/** What runs in a thread: a builder of its own, and its errors as data. */
export class PromptServer {
  readonly #builder: PromptBuilder;

  constructor({ template, tokenizer, ...rest }: PromptBuilderData) {
    this.#builder = new PromptBuilder({
      ...rest,
      template: new ChatTemplate(template.source, template.file, template.tokens),
      tokenizer: new TextTokenizer(tokenizer as TokenizerFile),
    });
  }

  answer({ job, prompt }: PromptJob): { reply: PromptReply; transfer: ArrayBuffer[] } {
    try {
      const built = this.#builder.build(prompt);
      return { reply: { job, prompt: built }, transfer: [built.tokenIds.buffer] };
    } catch (error) {
      return { reply: { job, failure: asData(error) }, transfer: [] };
    }
  }
}

function asData(error: unknown): PromptFailure {
  const { code, message, param } = asKvcError(error, 'INTERNAL', 'the tokenizer failed');
  return { code, message, param };
}
