import type { ChatPart, ChatTurn } from './chat-template.js';
import type {
  ChatPrompt,
  PictureSpan,
  PreparedPrompt,
  PromptBuilder,
  PromptBuilderOptions,
} from './prompt-builder.js';
import { type PromptBuilderData, PromptThreads } from './prompt-threads.js';

/**
 * Prompts that cost less are made in place: about a millisecond of work. A larger one goes to a thread, whose round
 * trip costs less than holding up every other request.
 */
const INLINE_UNITS = 1024;

/** A message or a part costs the template as much as so many UTF-16 units cost the tokenizer. */
const UNITS_OF_MESSAGE = 20;

const unitsOfPart = (part: ChatPart) => UNITS_OF_MESSAGE + (part.type === 'text' ? part.text.length : 0);

function unitsOf({ content }: ChatTurn): number {
  if (typeof content === 'string') return UNITS_OF_MESSAGE + content.length;
  return (content ?? []).reduce((sum, part) => sum + unitsOfPart(part), UNITS_OF_MESSAGE);
}

function dataOf({ template, tokenizer, ...rest }: PromptBuilderOptions): PromptBuilderData {
  const { source, file, tokens } = template;
  return { ...rest, template: { source, file, tokens }, tokenizer: tokenizer.file };
}

/** Makes prompts in place or in a thread, whichever keeps the event loop free. */
export class Prompts {
  readonly #threads: PromptThreads;

  constructor(private readonly builder: PromptBuilder) {
    this.#threads = new PromptThreads(dataOf(builder.options));
  }

  pictureSpan(width: number, height: number): PictureSpan {
    return this.builder.pictureSpan(width, height);
  }

  pictureSpans(): PictureSpan[] {
    return this.builder.pictureSpans();
  }

  /** Rejects as `PromptBuilder.build` throws; with the signal's reason when that fires. */
  async prepare(prompt: ChatPrompt): Promise<PreparedPrompt> {
    prompt.signal?.throwIfAborted();
    this.builder.refuseHopeless(prompt);
    const units = prompt.messages.reduce((sum, message) => sum + unitsOf(message), 0);
    return units <= INLINE_UNITS ? this.builder.build(prompt) : this.#threads.build(prompt);
  }

  dispose(): Promise<void> {
    return this.#threads.dispose();
  }
}
