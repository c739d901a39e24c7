/** A picture as the client gave it: a data URI, as text or as the bytes it came in, or an http(s) URL. */
export interface PictureSource {
  readonly url: string | Buffer;
  /** The content part it came from, such as `messages.0.content.1`. */
  readonly param: string;
}

export interface ChatTurn {
  readonly role: 'system' | 'user' | 'assistant';
  /** Texts and pictures in the order of their parts. */
  readonly content: readonly (string | PictureSource)[];
}

/** One picture's place in the prompt, markers included: `[offset, offset + length)`. */
export interface PromptPicture {
  readonly sha256: Buffer;
  readonly encoded: Buffer;
  readonly offset: number;
  readonly length: number;
  /** Rows of the span that are markers, ascending; the others are the picture's own. */
  readonly markerRows: readonly number[];
  readonly param: string;
}

export interface PreparedPrompt {
  readonly tokenIds: readonly number[];
  readonly pictures: readonly PromptPicture[];
}

/** Renders, fetches, inspects and tokenises; rejects with the error the client is to see. */
export abstract class PromptPreparer {
  abstract readonly contextTokens: number;
  /** Of the tokenizer, the template and the rules for pictures: workers with another one see other tokens. */
  abstract readonly processorRevision: string;
  abstract prepare(turns: readonly ChatTurn[], signal: AbortSignal): Promise<PreparedPrompt>;
  /** Called once, when nothing is prepared any longer. */
  abstract close(): Promise<void>;
}
