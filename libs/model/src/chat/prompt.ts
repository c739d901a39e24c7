import { KvcError } from '@kvcapsule/contracts';
import type { AddedToken } from '../folder/config-files.js';
import {
  IMAGE_TOKEN,
  type PictureGrid,
  pictureGrid,
  pictureGrids,
  type PictureGridSettings,
  pictureMarkup,
} from '../pictures/picture-grid.js';
import { AddedTokenSplitter, type PromptPiece, TokenTextGuard } from '../tokens/added-tokens.js';
import type { TextTokenizer } from '../tokens/text-tokenizer.js';
import { type ChatTemplate, type ChatTurn, mapTexts, templateMessages, textsOf } from './chat-template.js';

/** Upright size of a picture, in pixels. */
export interface PictureSize {
  readonly width: number;
  readonly height: number;
}

export interface ChatPrompt {
  readonly messages: readonly ChatTurn[];
  /** The pictures of the messages in the order in which they stand there. */
  readonly pictures: readonly PictureSize[];
  readonly addGenerationPrompt: boolean;
  readonly signal?: AbortSignal | undefined;
}

/** What one picture becomes in a prompt, markers included. */
export interface PictureSpan extends PictureGrid {
  /** [tokens] */
  readonly tokenIds: readonly number[];
  /** How many of the tokens carry the picture itself; the others are markers. */
  readonly imageTokens: number;
}

export interface PromptPicture {
  /** Index of the span's first token in the prompt. */
  readonly offset: number;
  /** Tokens of the span, markers included. */
  readonly length: number;
  readonly imageTokens: number;
}

export interface PreparedPrompt {
  /** [prompt tokens] */
  readonly tokenIds: Int32Array;
  readonly pictures: readonly PromptPicture[];
}

export interface PromptBuilderOptions {
  readonly template: ChatTemplate;
  readonly tokenizer: TextTokenizer;
  readonly addedTokens: readonly AddedToken[];
  readonly imageTokenId: number;
  readonly grid: PictureGridSettings;
  readonly tokensPerTile: number;
  /** The longest prompt that may be worked on, and the most bytes of text that one token can stand for. */
  readonly contextTokens: number;
  readonly longestTokenBytes: number | undefined;
}

/** Turns messages and picture sizes into the token ids that transformers' processor gives for them. */
export class PromptBuilder {
  readonly #splitter: AddedTokenSplitter;
  readonly #spans = new Map<string, PictureSpan>();

  constructor(private readonly options: PromptBuilderOptions) {
    this.#splitter = new AddedTokenSplitter(options.addedTokens);
  }

  /** @throws KvcError IMAGE_INVALID when the size cannot be tiled */
  pictureSpan(width: number, height: number): PictureSpan {
    return this.#spanOf(pictureGrid(width, height, this.options.grid));
  }

  pictureSpans(): PictureSpan[] {
    return pictureGrids(this.options.grid).map((grid) => this.#spanOf(grid));
  }

  #spanOf(grid: PictureGrid): PictureSpan {
    const key = `${grid.rows}x${grid.cols}`;
    const span = this.#spans.get(key) ?? this.#makeSpan(grid);
    this.#spans.set(key, span);
    return span;
  }

  /**
   * @throws KvcError INVALID_REQUEST, CONTEXT_LENGTH_EXCEEDED (only when it is plain before tokenising),
   *   IMAGE_INVALID, MODEL_INVALID
   */
  async prepare({ messages, pictures, addGenerationPrompt, signal }: ChatPrompt): Promise<PreparedPrompt> {
    const plain = templateMessages(messages);
    const texts = textsOf(plain);
    this.#refuseHopeless(texts);
    const guard = new TokenTextGuard(this.options.addedTokens, texts);
    const rendered = this.options.template.render(
      mapTexts(plain, (text) => guard.hide(text)),
      addGenerationPrompt,
    );
    const pieces = this.#splitter
      .split(rendered)
      .map((piece) => ('text' in piece ? { text: guard.show(piece.text) } : piece));
    const spans = pictures.map(({ width, height }) => this.pictureSpan(width, height));
    this.#checkPlaces(pieces, spans.length);
    const texted = pieces.flatMap((piece) => ('text' in piece ? [piece.text] : []));
    return this.#join(pieces, await this.options.tokenizer.encode(texted, signal), spans);
  }

  #makeSpan(grid: PictureGrid): PictureSpan {
    const { tokenizer, imageTokenId, tokensPerTile } = this.options;
    const tokenIds = this.#splitter
      .split(pictureMarkup(grid, tokensPerTile))
      .flatMap((piece) => ('text' in piece ? tokenizer.encodeNow(piece.text) : [piece.tokenId]));
    return { ...grid, tokenIds, imageTokens: tokenIds.filter((id) => id === imageTokenId).length };
  }

  #refuseHopeless(texts: readonly string[]): void {
    const { contextTokens, longestTokenBytes } = this.options;
    if (longestTokenBytes === undefined) return;
    const bytes = texts.reduce((sum, text) => sum + Buffer.byteLength(text), 0);
    if (bytes > contextTokens * longestTokenBytes)
      throw new KvcError(
        'CONTEXT_LENGTH_EXCEEDED',
        `the messages have ${bytes} bytes of text, more than the model's context of ${contextTokens} tokens can hold`,
        { param: 'messages' },
      );
  }

  #checkPlaces(pieces: readonly PromptPiece[], pictures: number): void {
    const places = pieces.filter(
      (piece) => 'tokenId' in piece && piece.tokenId === this.options.imageTokenId,
    ).length;
    if (places !== pictures)
      throw new KvcError(
        'MODEL_INVALID',
        `chat template: it made ${places} ${IMAGE_TOKEN} of ${pictures} picture(s) in the messages`,
      );
  }

  #join(
    pieces: readonly PromptPiece[],
    textIds: readonly (readonly number[])[],
    spans: readonly PictureSpan[],
  ): PreparedPrompt {
    const ids: number[] = [];
    const pictures: PromptPicture[] = [];
    const append = (more: readonly number[]) => {
      for (const id of more) ids.push(id);
    };
    let texts = 0;
    for (const piece of pieces) {
      if ('text' in piece) append(textIds[texts++] ?? []);
      else if (piece.tokenId !== this.options.imageTokenId) ids.push(piece.tokenId);
      else {
        const span = spans[pictures.length];
        if (span === undefined) continue;
        pictures.push({ offset: ids.length, length: span.tokenIds.length, imageTokens: span.imageTokens });
        append(span.tokenIds);
      }
    }
    return { tokenIds: Int32Array.from(ids), pictures };
  }
}
