import { KvcError } from '@kvcapsule/contracts';
import { contextExceeded } from '@kvcapsule/domain/request';
import {
  familyNamed,
  type FamilySpec,
  type PictureGrid,
  type PictureSpecification,
} from '../families/index.js';
import type { AddedToken } from '../folder/tokenizer-files.js';
import { AddedTokenSplitter, type PromptPiece, TokenTextGuards } from '../tokens/added-tokens.js';
import type { TextTokenizer } from '../tokens/text-tokenizer.js';
import {
  type ChatPart,
  type ChatTemplate,
  type ChatTurn,
  mapTexts,
  type TemplateMessage,
  templateMessages,
  textsOf,
} from './chat-template.js';
import { withinTime } from './within-time.js';

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
  /** Which of the tokens are markers, ascending. */
  readonly markerRows: readonly number[];
}

export interface PromptPicture {
  /** Index of the span's first token in the prompt. */
  readonly offset: number;
  /** Tokens of the span, markers included. */
  readonly length: number;
  /** Rows of the span that are markers, ascending. */
  readonly markerRows: readonly number[];
}

export interface PreparedPrompt {
  /** [prompt tokens] */
  readonly tokenIds: Int32Array<ArrayBuffer>;
  readonly pictures: readonly PromptPicture[];
}

export interface PromptBuilderOptions {
  readonly template: ChatTemplate;
  readonly tokenizer: TextTokenizer;
  readonly addedTokens: readonly AddedToken[];
  readonly imageTokenId: number;
  /** Name of the model's family: with the rest it crosses to a thread. */
  readonly family: string;
  readonly pictures: PictureSpecification;
  readonly tokensPerTile: number;
  /** The longest prompt that may be worked on, and the most bytes of text that one token can stand for. */
  readonly contextTokens: number;
  readonly longestTokenBytes: number | undefined;
}

/** Turns messages and picture sizes into the token ids that transformers' processor gives for them. */
export class PromptBuilder {
  readonly #family: FamilySpec;
  readonly #splitter: AddedTokenSplitter;
  readonly #guards: TokenTextGuards;
  readonly #spans = new Map<string, PictureSpan>();

  constructor(readonly options: PromptBuilderOptions) {
    this.#family = familyNamed(options.family);
    this.#splitter = new AddedTokenSplitter(options.addedTokens);
    this.#guards = new TokenTextGuards(options.addedTokens);
  }

  /** @throws KvcError IMAGE_INVALID when the size cannot be tiled */
  pictureSpan(width: number, height: number): PictureSpan {
    return this.#spanOf(this.#family.pictureGrid(width, height, this.options.pictures));
  }

  pictureSpans(): PictureSpan[] {
    return this.#family.pictureGrids(this.options.pictures).map((grid) => this.#spanOf(grid));
  }

  #spanOf(grid: PictureGrid): PictureSpan {
    const key = `${grid.rows}x${grid.cols}`;
    const span = this.#spans.get(key) ?? this.#makeSpan(grid);
    this.#spans.set(key, span);
    return span;
  }

  /**
   * Refuses what no context can hold by counts alone: each message is a token at least, and so is each stretch of
   * text that no token is longer than.
   *
   * @throws KvcError CONTEXT_LENGTH_EXCEEDED
   */
  refuseHopeless({ messages }: Pick<ChatPrompt, 'messages'>): void {
    const { contextTokens, longestTokenBytes } = this.options;
    const tooLong = () => contextExceeded(contextTokens, `more than ${contextTokens} tokens`);
    if (messages.length > contextTokens) throw tooLong();
    if (longestTokenBytes === undefined) return;
    const bytes = messages.reduce((sum, message) => sum + textBytes(message), 0);
    if (bytes > contextTokens * longestTokenBytes) throw tooLong();
  }

  /**
   * All in one go: about 20 microseconds a message and one a character.
   *
   * @throws KvcError INVALID_REQUEST, CONTEXT_LENGTH_EXCEEDED (only when it is plain before tokenising),
   *   IMAGE_INVALID
   */
  build({ messages, pictures, addGenerationPrompt }: Omit<ChatPrompt, 'signal'>): PreparedPrompt {
    this.refuseHopeless({ messages });
    const plain = templateMessages(messages);
    const guard = this.#guards.for(textsOf(plain));
    const rendered = this.options.template.render(
      mapTexts(plain, (text) => guard.hide(text)),
      addGenerationPrompt,
    );
    const pieces = this.#splitter
      .split(rendered)
      .map((piece) => ('text' in piece ? { text: guard.show(piece.text) } : piece));
    const spans = pictures.map(({ width, height }) => this.pictureSpan(width, height));
    this.#checkPlaces(pieces, spans.length);
    return this.#join(pieces, spans);
  }

  #makeSpan(grid: PictureGrid): PictureSpan {
    const { tokenizer, imageTokenId, tokensPerTile } = this.options;
    const tokenIds = this.#splitter
      .split(this.#family.pictureMarkup(grid, tokensPerTile))
      .flatMap((piece) => ('text' in piece ? tokenizer.encode(piece.text) : [piece.tokenId]));
    const markerRows = [...tokenIds.keys()].filter((row) => tokenIds[row] !== imageTokenId);
    return { ...grid, tokenIds, imageTokens: tokenIds.length - markerRows.length, markerRows };
  }

  /**
   * Renders a message with a picture, as the first request with one would.
   *
   * @throws KvcError MODEL_INVALID when the template leaves the picture out, as one for text alone does, or does not
   *   come to an end
   */
  checkTemplate(): void {
    const { template } = this.options;
    const content = [{ type: 'image' as const }, { type: 'text' as const, text: 'What is this?' }];
    const places = withinTime(template.file, () => {
      const rendered = renderProbe(template, [{ role: 'user', content }]);
      return this.#places(this.#splitter.split(rendered));
    });
    if (places !== 1)
      throw new KvcError(
        'MODEL_INVALID',
        `${template.file}: the chat template makes ${places} ${this.#family.imageToken} of one picture`,
      );
  }

  #places(pieces: readonly PromptPiece[]): number {
    return pieces.filter((piece) => 'tokenId' in piece && piece.tokenId === this.options.imageTokenId).length;
  }

  #checkPlaces(pieces: readonly PromptPiece[], pictures: number): void {
    const places = this.#places(pieces);
    if (places !== pictures)
      throw new KvcError(
        'INVALID_REQUEST',
        `The model's chat template shows ${places} of the ${pictures} picture(s) in these messages.`,
        { param: 'messages' },
      );
  }

  #join(pieces: readonly PromptPiece[], spans: readonly PictureSpan[]): PreparedPrompt {
    const { imageTokenId, tokenizer } = this.options;
    const runs: (readonly number[])[] = [];
    const pictures: PromptPicture[] = [];
    let tokens = 0;
    const append = (run: readonly number[]) => {
      runs.push(run);
      tokens += run.length;
    };
    for (const piece of pieces) {
      if ('text' in piece) append(tokenizer.encode(piece.text));
      else if (piece.tokenId !== imageTokenId) append([piece.tokenId]);
      else {
        const span = spans[pictures.length];
        if (span === undefined) continue;
        pictures.push({ offset: tokens, length: span.tokenIds.length, markerRows: span.markerRows });
        append(span.tokenIds);
      }
    }
    return { tokenIds: joined(runs, tokens), pictures };
  }
}

function joined(runs: readonly (readonly number[])[], tokens: number): Int32Array<ArrayBuffer> {
  const ids = new Int32Array(tokens);
  let at = 0;
  for (const run of runs) {
    ids.set(run, at);
    at += run.length;
  }
  return ids;
}

const partBytes = (part: ChatPart) => (part.type === 'text' ? Buffer.byteLength(part.text) : 0);

function textBytes({ content }: ChatTurn): number {
  if (typeof content === 'string') return Buffer.byteLength(content);
  return (content ?? []).reduce((sum, part) => sum + partBytes(part), 0);
}

function renderProbe(template: ChatTemplate, messages: readonly TemplateMessage[]): string {
  try {
    return template.render(messages, true);
  } catch (cause) {
    const message = `${template.file}: the chat template does not take a message with a picture`;
    throw new KvcError('MODEL_INVALID', message, { cause });
  }
}
