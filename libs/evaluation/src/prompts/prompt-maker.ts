import {
  openModelFolder,
  type ChatTurn,
  type ModelFolder,
  type PictureSize,
  type PictureSpan,
} from '@kvcapsule/model';

/** The prompt of one picture and one question, cut where its segments are cut. */
export interface CutPrompt {
  /** Text before the picture. */
  readonly prefix: readonly number[];
  /** Markers and image tokens. */
  readonly picture: readonly number[];
  /** The question, up to where the answer begins. */
  readonly question: readonly number[];
}

/** A chat about pictures, cut where its segments are cut. */
export interface CutChat {
  /** Text before the pictures, then each picture's markers and image tokens. */
  readonly prefix: readonly number[];
  readonly pictures: readonly (readonly number[])[];
  /** Everything behind the last picture, up to where the next answer begins. */
  readonly text: readonly number[];
}

/** Prompts as the server makes them, and answers as it reads them. */
export class PromptMaker {
  readonly #folder: ModelFolder;

  constructor(folder: ModelFolder) {
    this.#folder = folder;
  }

  /** Spans of all grids that pictures can have. */
  spans(): readonly PictureSpan[] {
    return this.#folder.pictureSpans();
  }

  /** @param size upright size of the picture in pixels */
  async cut(size: PictureSize, question: string): Promise<CutPrompt> {
    const { prefix, pictures, text } = await this.cutChat([size], [], question);
    return { prefix, picture: pictures[0] ?? [], question: text };
  }

  /**
   * All pictures stand before the first question.
   *
   * @param sizes upright sizes of the pictures in pixels, at least one
   * @param history turns that have been answered
   */
  async cutChat(
    sizes: readonly PictureSize[],
    history: readonly { readonly ask: string; readonly answer: string }[],
    question: string,
  ): Promise<CutChat> {
    const [first = question, ...later] = [...history.map(({ ask }) => ask), question];
    const opening = sizes.map(() => ({ type: 'image' as const }));
    const messages: ChatTurn[] = [
      { role: 'user', content: [...opening, { type: 'text', text: first }] },
      ...later.flatMap((ask, turn): ChatTurn[] => [
        { role: 'assistant', content: history[turn]?.answer ?? '' },
        { role: 'user', content: ask },
      ]),
    ];
    const { tokenIds, pictures } = await this.#folder.prepareChat({
      messages,
      pictures: sizes.map(({ width, height }) => ({ width, height })),
      addGenerationPrompt: true,
    });
    const last = pictures.at(-1);
    if (last === undefined) throw new Error('the prompt holds no picture');
    return {
      prefix: [...tokenIds.subarray(0, pictures[0]?.offset)],
      pictures: pictures.map(({ offset, length }) => [...tokenIds.subarray(offset, offset + length)]),
      text: [...tokenIds.subarray(last.offset + last.length)],
    };
  }

  /** Text of an answer's tokens; the token that ends it has none. */
  text(tokens: readonly number[]): string {
    const detokenizer = this.#folder.detokenizer();
    return tokens.map((token) => detokenizer.push(token)).join('') + detokenizer.flush();
  }

  endsAnswer(token: number): boolean {
    return this.#folder.eosTokenIds.includes(token);
  }

  dispose(): Promise<void> {
    return this.#folder.dispose();
  }
}

/** @throws KvcError MODEL_INVALID naming the file at fault */
export async function openPromptMaker(modelDir: string): Promise<PromptMaker> {
  return new PromptMaker(await openModelFolder(modelDir));
}
