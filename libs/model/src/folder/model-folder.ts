import { KvcError } from '@kvcapsule/contracts';
import {
  type ChatPrompt,
  type PictureSpan,
  type PreparedPrompt,
  PromptBuilder,
} from '../chat/prompt-builder.js';
import { Prompts } from '../chat/prompts.js';
import { IncrementalDetokenizer } from '../tokens/incremental-detokenizer.js';
import { TextTokenizer } from '../tokens/text-tokenizer.js';
import { TokenBytes } from '../tokens/token-bytes.js';
import { readIfThere, readRequired } from './files.js';
import { processorRevision } from './processor-revision.js';
import { CONFIG_FILE, type ModelSpecification, type ReadModel, readModel } from './specification.js';
import { openTemplate } from './template-source.js';
import { GenerationConfigFile, TokenizerFile } from './tokenizer-files.js';

/** The text side of a Hugging Face model folder, checked and ready for use. Weights are the engine's. */
export interface ModelFolder {
  readonly dir: string;
  /** What the engine is given. */
  readonly specification: ModelSpecification;
  /** Longest sequence, prompt and answer together. */
  readonly contextTokens: number;
  /** Rows of the embedding: ids are below this. */
  readonly vocabSize: number;
  /** Tokens that end an answer; at least one. */
  readonly eosTokenIds: readonly number[];
  readonly imageTokenId: number;
  readonly tokensPerTile: number;
  readonly tokenBytes: TokenBytes;
  /** Names what turns messages and pictures into tokens: SHA-256 in hex. */
  readonly processorRevision: string;

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

const TOKENIZER_FILE = 'tokenizer.json';
const GENERATION_FILE = 'generation_config.json';

async function eosTokenIds(dir: string, ofConfig: readonly number[]): Promise<number[]> {
  const generation = await readIfThere(GenerationConfigFile, dir, GENERATION_FILE);
  const ids = [...new Set([...(generation?.eos_token_id ?? []), ...ofConfig])];
  if (ids.length === 0) throw new KvcError('MODEL_INVALID', `${GENERATION_FILE}: eos_token_id: missing`);
  return ids;
}

function checkTokens({ family, specification }: ReadModel, { added_tokens: added }: TokenizerFile): void {
  const { imageTokenId } = specification;
  const idOf = (content: string) => added.find((token) => token.content === content)?.id;
  if (idOf(family.imageToken) !== imageTokenId)
    throw new KvcError(
      'MODEL_INVALID',
      `${CONFIG_FILE}: image_token_id: ${imageTokenId} is not ${family.imageToken} of ${TOKENIZER_FILE}`,
    );
  const missing = family.markerTokens.find((token) => idOf(token) === undefined);
  if (missing !== undefined)
    throw new KvcError('MODEL_INVALID', `${TOKENIZER_FILE}: added_tokens: ${missing} is missing`);
}

/**
 * Opens the text side of a model folder.
 *
 * @throws KvcError MODEL_INVALID naming the folder, the file and the field at fault
 */
export async function openModelFolder(dir: string): Promise<ModelFolder> {
  try {
    return await openFiles(dir);
  } catch (error) {
    if (!(error instanceof KvcError) || error.code !== 'MODEL_INVALID') throw error;
    throw new KvcError('MODEL_INVALID', `${dir}: ${error.message}`, { cause: error });
  }
}

async function openFiles(dir: string): Promise<ModelFolder> {
  const model = await readModel(dir);
  const { specification } = model;
  const { family, text, imageTokenId, tokensPerTile } = specification;
  const file = await readRequired(TokenizerFile, dir, TOKENIZER_FILE);
  checkTokens(model, file);
  const template = await openTemplate(dir);
  const eos = await eosTokenIds(dir, model.eosTokenIds);
  const tokenBytes = new TokenBytes(file);
  const tokenizer = new TextTokenizer(file);
  const builder = new PromptBuilder({
    ...{ template, tokenizer, family, imageTokenId, tokensPerTile },
    pictures: specification.pictures,
    addedTokens: file.added_tokens,
    contextTokens: text.contextTokens,
    // A normalizer may shorten text, and then the bytes say nothing about the tokens.
    longestTokenBytes: file.normalizer == null ? tokenBytes.longestTokenBytes : undefined,
  });
  builder.checkTemplate();
  const prompts = new Prompts(builder);
  return {
    ...{ dir, specification, imageTokenId, tokensPerTile, tokenBytes },
    contextTokens: text.contextTokens,
    vocabSize: text.vocab,
    eosTokenIds: eos,
    processorRevision: await processorRevision(dir),
    pictureSpan: (widthPx, heightPx) => prompts.pictureSpan(widthPx, heightPx),
    pictureSpans: () => prompts.pictureSpans(),
    prepareChat: (prompt) => prompts.prepare(prompt),
    detokenizer: () => new IncrementalDetokenizer(tokenBytes),
    dispose: () => prompts.dispose(),
  };
}
