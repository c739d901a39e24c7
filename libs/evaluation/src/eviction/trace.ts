import type { ContentName, ContentUnit } from '@kvcapsule/domain/identity';

/** A piece of a request's content: a stored run of text, or a picture's capsule. */
export interface Piece extends ContentUnit {
  /** What it takes from the pool. */
  readonly pages: number;
}

export interface TraceRequest {
  readonly tenant: string;
  /** Prompt and answer. */
  readonly pieces: readonly Piece[];
  /** The first so many of them are the prompt. */
  readonly promptPieces: number;
}

/** Requests in the order in which they come. */
export interface Trace {
  readonly name: string;
  readonly requests: readonly TraceRequest[];
}

/** A request of a conversation, and what is known at its end of what follows. */
export interface KnownRequest extends TraceRequest {
  /** When it comes, in seconds. */
  readonly at: number;
  readonly conversation: string;
  /** Chance that the conversation goes on after it. */
  readonly goesOn: number;
}

/** A trace, and the process that it was drawn from. */
export interface KnownTrace extends Trace {
  readonly requests: readonly KnownRequest[];
  /** Chance that a conversation which goes on has done so within so many seconds. */
  readonly within: (seconds: number) => number;
  /** What a piece is of, where it is of something that many conversations use. */
  readonly sharedPart: (piece: Piece) => string | undefined;
  /** Uses a second of such a part, at a time, by conversations that begin. */
  readonly rate: (part: string, at: number) => number;
}

/** Pages of two tokens as raw rows: text stored at five bits a value, a picture as a capsule a little smaller than that. */
const RUN_TOKENS = 64;
const RUN_PAGES = 10;
const PICTURE_TOKENS = 320;
const PICTURE_PAGES = 24;

/** Some text or a picture, before it has a place in a prompt. */
export type Part =
  | { readonly kind: 'text'; readonly id: string; readonly tokens: number; readonly shared?: true }
  | { readonly kind: 'picture'; readonly id: string; readonly shared?: true };

const TOKENS = Array.from({ length: Math.max(RUN_TOKENS, PICTURE_TOKENS) }, (_, token) => token);
const FIRST_TOKENS = new Map([RUN_TOKENS, PICTURE_TOKENS].map((count) => [count, TOKENS.slice(0, count)]));

/** Names a request's content piece by piece, as `ContentChain` does, without hashing. */
export class PieceNames {
  readonly #pieces = new Map<string, Piece>();
  readonly #parts = new Map<Piece, Part>();

  /** Of which a piece is one. */
  partOf(piece: Piece): Part | undefined {
    return this.#parts.get(piece);
  }

  chain(root: string, parts: readonly Part[]): Piece[] {
    const pieces: Piece[] = [];
    let parent = root as ContentName;
    let start = 0;
    const add = (part: Part, id: string, picture: number | undefined) => {
      const piece = this.#piece(parent, id, start, picture);
      this.#parts.set(piece, part);
      pieces.push(piece);
      parent = piece.name;
      start += piece.tokenIds.length;
    };
    for (const part of parts) {
      if (part.kind === 'picture') add(part, part.id, 0);
      else
        for (let at = 0; at < Math.round(part.tokens / RUN_TOKENS); at += 1)
          add(part, `${part.id}.${at}`, undefined);
    }
    return pieces;
  }

  #piece(parent: ContentName, id: string, start: number, picture: number | undefined): Piece {
    const key = `${parent} ${id}`;
    const known = this.#pieces.get(key);
    if (known) return known;
    const text = picture === undefined;
    const piece: Piece = {
      ...{ name: `n${this.#pieces.size}` as ContentName, parent, start, picture, run: text },
      tokenIds: FIRST_TOKENS.get(text ? RUN_TOKENS : PICTURE_TOKENS) ?? [],
      pages: text ? RUN_PAGES : PICTURE_PAGES,
    };
    this.#pieces.set(key, piece);
    return piece;
  }
}
