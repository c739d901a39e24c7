import { openModelFolder, type ModelFolder, type PictureSize } from '@kvcapsule/model';

/** The prompt of one picture and one question, cut where its segments are cut. */
export interface CutPrompt {
  /** Text before the picture. */
  readonly prefix: readonly number[];
  /** Markers and image tokens. */
  readonly picture: readonly number[];
  /** The question, up to where the answer begins. */
  readonly question: readonly number[];
}

/** Prompts as the server makes them, and answers as it reads them. */
export class PromptMaker {
  readonly #folder: ModelFolder;

  constructor(folder: ModelFolder) {
    this.#folder = folder;
  }

  /** @param size upright size of the picture in pixels */
  async cut(size: PictureSize, question: string): Promise<CutPrompt> {
    const content = [{ type: 'image' as const }, { type: 'text' as const, text: question }];
    const { tokenIds, pictures } = await this.#folder.prepareChat({
      messages: [{ role: 'user', content }],
      pictures: [{ width: size.width, height: size.height }],
      addGenerationPrompt: true,
    });
    const [span] = pictures;
    if (span === undefined) throw new Error('the prompt holds no picture');
    const end = span.offset + span.length;
    return {
      prefix: [...tokenIds.subarray(0, span.offset)],
      picture: [...tokenIds.subarray(span.offset, end)],
      question: [...tokenIds.subarray(end)],
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
