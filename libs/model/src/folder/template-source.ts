import { KvcError } from '@kvcapsule/contracts';
import { z } from 'zod';
import { ChatTemplate } from '../chat/chat-template.js';
import { readIfThere, readOptional } from './files.js';
import { TokenizerConfigFile } from './tokenizer-files.js';

/** Ten times the longest template that models come with; its parser needs a second for so much. */
const MAX_TEMPLATE_BYTES = 2 ** 18;
const TEMPLATE_FILE = 'chat_template.jinja';
/** JSON files that may have a `chat_template`, by precedence. */
const JSON_FILES = ['chat_template.json', 'processor_config.json', 'tokenizer_config.json'];
const TOKENIZER_CONFIG_FILE = 'tokenizer_config.json';
const NAMED_TOKENS = ['bos_token', 'eos_token', 'pad_token', 'unk_token'] as const;

const NamedTemplates = z
  .array(z.object({ name: z.string(), template: z.string() }))
  .transform((templates) => templates.find(({ name }) => name === 'default')?.template);
const TemplateField = z.object({ chat_template: z.union([z.string(), NamedTemplates]).nullish() });

/** A template and the file that it stands in. */
interface TemplateSource {
  readonly text: string;
  readonly file: string;
}

/**
 * The processor's own template comes before the tokenizer's, which may know no pictures. `chat_template.jinja` is what
 * releases of transformers since 4.51 write; where an older file is left beside it, the newer one counts (transformers
 * itself still takes the older one then).
 */
async function findTemplate(dir: string): Promise<TemplateSource | undefined> {
  const jinja = await readOptional(dir, TEMPLATE_FILE, MAX_TEMPLATE_BYTES);
  if (jinja !== undefined) return { text: jinja, file: TEMPLATE_FILE };
  for (const file of JSON_FILES) {
    const text = (await readIfThere(TemplateField, dir, file))?.chat_template;
    if (text != null) return { text, file };
  }
  return undefined;
}

/** @throws KvcError MODEL_INVALID when there is no template, or one that cannot be parsed */
export async function openTemplate(dir: string): Promise<ChatTemplate> {
  const config = await readIfThere(TokenizerConfigFile, dir, TOKENIZER_CONFIG_FILE);
  const source = await findTemplate(dir);
  if (source === undefined)
    throw new KvcError(
      'MODEL_INVALID',
      `${TEMPLATE_FILE}: missing, and none of ${JSON_FILES.join(', ')} has a chat_template`,
    );
  const tokens = Object.fromEntries(NAMED_TOKENS.map((name) => [name, config?.[name] ?? '']));
  return new ChatTemplate(source.text, source.file, tokens);
}
