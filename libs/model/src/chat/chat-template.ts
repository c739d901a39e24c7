import { Template } from '@huggingface/jinja';
import { KvcError } from '@kvcapsule/contracts';
import { withinTime } from './within-time.js';

/** One part of a message's content. A picture's data travels elsewhere; here it only has a place. */
export type ChatPart =
  { readonly type: 'text'; readonly text: string } | { readonly type: 'image' | 'image_url' };

export interface ChatTurn {
  readonly role: string;
  readonly content?: string | readonly ChatPart[] | null | undefined;
}

type TemplatePart = { type: 'text'; text: string } | { type: 'image' };

export interface TemplateMessage {
  readonly role: string;
  readonly content: readonly TemplatePart[];
}

/**
 * Brings a content into the one form that templates of vision-language models take: a list of parts, never
 * empty, with neighbouring texts joined. A text in two parts and the joined text are thus the same prompt.
 */
function templateParts(content: ChatTurn['content']): TemplatePart[] {
  const parts: TemplatePart[] = [];
  for (const part of typeof content === 'string'
    ? [{ type: 'text', text: content } as const]
    : (content ?? [])) {
    const last = parts.at(-1);
    if (part.type !== 'text') parts.push({ type: 'image' });
    else if (last?.type === 'text') last.text += part.text;
    else parts.push({ type: 'text', text: part.text });
  }
  const shown = parts.filter((part) => part.type === 'image' || part.text !== '');
  return shown.length === 0 ? [{ type: 'text', text: '' }] : shown;
}

/** Messages as the template gets them. `developer` is what newer clients call the system role. */
export function templateMessages(turns: readonly ChatTurn[]): TemplateMessage[] {
  return turns.map(({ role, content }) => ({
    role: role === 'developer' ? 'system' : role,
    content: templateParts(content),
  }));
}

export function textsOf(messages: readonly TemplateMessage[]): string[] {
  return messages.flatMap(({ content }) =>
    content.flatMap((part) => (part.type === 'text' ? [part.text] : [])),
  );
}

export function mapTexts(
  messages: readonly TemplateMessage[],
  change: (text: string) => string,
): TemplateMessage[] {
  return messages.map(({ role, content }) => ({
    role,
    content: content.map((part) => (part.type === 'text' ? { ...part, text: change(part.text) } : part)),
  }));
}

/** A chat template that has been parsed once. */
export class ChatTemplate {
  readonly #template: Template;

  /**
   * @param file the file it came from, for the error
   * @param tokens the named tokens that templates refer to (`bos_token` and so on)
   * @throws KvcError MODEL_INVALID when the template cannot be parsed
   */
  constructor(
    readonly source: string,
    readonly file: string,
    readonly tokens: Readonly<Record<string, string>>,
  ) {
    try {
      this.#template = withinTime(file, () => new Template(source));
    } catch (cause) {
      if (cause instanceof KvcError) throw cause;
      throw new KvcError('MODEL_INVALID', `${file}: not a chat template: ${(cause as Error).message}`, {
        cause,
      });
    }
  }

  /** @throws KvcError INVALID_REQUEST when the template refuses the messages */
  render(messages: readonly TemplateMessage[], addGenerationPrompt: boolean): string {
    try {
      return this.#template.render({ ...this.tokens, messages, add_generation_prompt: addGenerationPrompt });
    } catch (cause) {
      throw new KvcError('INVALID_REQUEST', "the model's chat template does not take these messages", {
        param: 'messages',
        cause,
      });
    }
  }
}
