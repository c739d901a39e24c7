import { KvcError } from '@kvcapsule/contracts';
import { ChatTemplate } from '../chat/chat-template.js';
import {
  type ChatPrompt,
  type PictureSpan,
  type PreparedPrompt,
  PromptBuilder,
} from '../chat/prompt-builder.js';
import { Prompts } from '../chat/prompts.js';
import { FAKE_IMAGE_TOKEN, IMAGE_TOKEN } from '../pictures/picture-grid.js';
import { IncrementalDetokenizer } from '../tokens/incremental-detokenizer.js';
import { TextTokenizer } from '../tokens/text-tokenizer.js';
import { TokenBytes } from '../tokens/token-bytes.js';
import {
  ConfigFile,
  GenerationConfigFile,
  PictureSettings,
  ProcessorConfigFile,
  readIfThere,
  readOptional,
  readRequired,
  TokenizerConfigFile,
  TokenizerFile,
} from './config-files.js';

/** The text side of a Hugging Face model folder, checked and ready for use. Weights are the engine's. */
export interface ModelFolder {
  readonly dir: string;
  /** Longest sequence, prompt and answer together. */
  readonly contextTokens: number;
  /** Rows of the embedding: ids are below this. */
  readonly vocabSize: number;
  /** Tokens that end an answer; at least one. */
  readonly eosTokenIds: readonly number[];
  readonly imageTokenId: number;
  readonly tokensPerTile: number;
  readonly tokenBytes: TokenBytes;

  /** @throws KvcError IMAGE_INVALID when a picture of this upright size cannot be shown to the model */
  pictureSpan(widthPx: number, heightPx: number): PictureSpan;
  /** The spans of all grids that pictures are cut into. */
  pictureSpans(): readonly PictureSpan[];

  /**
   * Renders the chat template and tokenises, so that text is text: what spells a special token in a message
   * comes out as letters. The caller compares the length with `contextTokens`.
   *
   * @throws KvcError INVALID_REQUEST (param `messages`), IMAGE_INVALID, CONTEXT_LENGTH_EXCEEDED when the
   *   text is too long for the context in any case; `signal`'s reason when that fires
   */
  prepareChat(prompt: ChatPrompt): Promise<PreparedPrompt>;

  /** For one answer. */
  detokenizer(): IncrementalDetokenizer;

  /** Stops the tokenizer's thread; what is under way is rejected. */
  dispose(): Promise<void>;
}

const TEMPLATE_FILE = 'chat_template.jinja';
const TOKENIZER_CONFIG_FILE = 'tokenizer_config.json';

async function openTemplate(dir: string): Promise<ChatTemplate> {
  const config = await readIfThere(TokenizerConfigFile, dir, TOKENIZER_CONFIG_FILE);
  const fromFile = await readOptional(dir, TEMPLATE_FILE);
  const listed = config?.chat_template;
  const fromConfig = Array.isArray(listed) ? listed.find(({ name }) => name === 'default')?.template : listed;
  const source = fromFile ?? fromConfig;
  if (source == null)
    throw new KvcError(
      'MODEL_INVALID',
      `${TEMPLATE_FILE}: missing, and ${TOKENIZER_CONFIG_FILE} has no chat_template`,
    );
  const names = ['bos_token', 'eos_token', 'pad_token', 'unk_token'] as const;
  const tokens = Object.fromEntries(names.map((name) => [name, config?.[name] ?? '']));
  return new ChatTemplate(source, fromFile === undefined ? TOKENIZER_CONFIG_FILE : TEMPLATE_FILE, tokens);
}

async function openPictureSettings(
  dir: string,
): Promise<{ settings: PictureSettings; tokensPerTile?: number }> {
  const processor = await readIfThere(ProcessorConfigFile, dir, 'processor_config.json');
  const settings =
    (await readIfThere(PictureSettings, dir, 'preprocessor_config.json')) ??
    processor?.image_processor ??
    (await readRequired(PictureSettings, dir, 'preprocessor_config.json'));
  return {
    settings,
    ...(processor?.image_seq_len === undefined ? {} : { tokensPerTile: processor.image_seq_len }),
  };
}

function tileTokens({ vision_config: vision, scale_factor: scale }: ConfigFile): number {
  return Math.trunc(Math.trunc(vision.image_size / vision.patch_size) ** 2 / scale ** 2);
}

async function eosTokenIds(dir: string, config: ConfigFile): Promise<number[]> {
  const generation = await readIfThere(GenerationConfigFile, dir, 'generation_config.json');
  const sources = [generation?.eos_token_id, config.text_config.eos_token_id, config.eos_token_id];
  const ids = [...new Set(sources.flatMap((source) => source ?? []))];
  if (ids.length === 0) throw new KvcError('MODEL_INVALID', 'generation_config.json: eos_token_id: missing');
  return ids;
}

function checkTokens(config: ConfigFile, { added_tokens: added }: TokenizerFile): void {
  const idOf = (content: string) => added.find((token) => token.content === content)?.id;
  if (idOf(IMAGE_TOKEN) !== config.image_token_id)
    throw new KvcError(
      'MODEL_INVALID',
      `config.json: image_token_id: ${config.image_token_id} is not ${IMAGE_TOKEN} of tokenizer.json`,
    );
  if (idOf(FAKE_IMAGE_TOKEN) === undefined)
    throw new KvcError('MODEL_INVALID', `tokenizer.json: added_tokens: ${FAKE_IMAGE_TOKEN} is missing`);
}

function checkTiles(config: ConfigFile, settings: PictureSettings, tokensPerTile: number): void {
  if (tokensPerTile !== tileTokens(config))
    throw new KvcError(
      'MODEL_INVALID',
      'processor_config.json: image_seq_len: does not agree with config.json',
    );
  if (settings.max_image_size.longest_edge !== config.vision_config.image_size)
    throw new KvcError(
      'MODEL_INVALID',
      'preprocessor_config.json: max_image_size.longest_edge: is not vision_config.image_size of config.json',
    );
}

/**
 * Opens the text side of a model folder of the Idefics3 family.
 *
 * @throws KvcError MODEL_INVALID naming the file and the field at fault
 */
export async function openModelFolder(dir: string): Promise<ModelFolder> {
  const config = await readRequired(ConfigFile, dir, 'config.json');
  const file = await readRequired(TokenizerFile, dir, 'tokenizer.json');
  const template = await openTemplate(dir);
  const pictures = await openPictureSettings(dir);
  const tokensPerTile = pictures.tokensPerTile ?? tileTokens(config);
  checkTokens(config, file);
  checkTiles(config, pictures.settings, tokensPerTile);
  const eos = await eosTokenIds(dir, config);
  const tokenBytes = new TokenBytes(file);
  const tokenizer = new TextTokenizer(file);
  const contextTokens = config.text_config.max_position_embeddings;
  const builder = new PromptBuilder({
    template,
    tokenizer,
    addedTokens: file.added_tokens,
    imageTokenId: config.image_token_id,
    grid: {
      longestEdgePx: pictures.settings.size.longest_edge,
      tilePx: pictures.settings.max_image_size.longest_edge,
      splits: pictures.settings.do_image_splitting,
    },
    tokensPerTile,
    contextTokens,
    // A normalizer may shorten text, and then the bytes say nothing about the tokens.
    longestTokenBytes: file.normalizer == null ? tokenBytes.longestTokenBytes : undefined,
  });
  const prompts = new Prompts(builder);
  return {
    dir,
    contextTokens,
    vocabSize: config.text_config.vocab_size,
    eosTokenIds: eos,
    imageTokenId: config.image_token_id,
    tokensPerTile,
    tokenBytes,
    pictureSpan: (widthPx, heightPx) => prompts.pictureSpan(widthPx, heightPx),
    pictureSpans: () => prompts.pictureSpans(),
    prepareChat: (prompt) => prompts.prepare(prompt),
    detokenizer: () => new IncrementalDetokenizer(tokenBytes),
    dispose: () => prompts.dispose(),
  };
}
