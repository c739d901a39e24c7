/** What is used of a terminal's stream. */
interface Terminal {
  readonly isTTY?: boolean;
  write(text: string): unknown;
}

const CLEAR = '\r\x1b[K';

/** What is done of a prompt before its answer begins: of its pictures, then of all its tokens. */
export type PromptStage = 'encode' | 'prefill';

const WORDS: Readonly<Record<PromptStage, string>> = {
  encode: 'looking at the picture',
  prefill: 'reading the prompt',
};

/** A line that shows how far the prompt is and goes when the answer comes; undefined without a terminal. */
export function prefillLine(stream: Terminal):
  | {
      show(this: void, stage: PromptStage, computed: number, all: number): void;
      clear(): void;
    }
  | undefined {
  if (stream.isTTY !== true) return undefined;
  let isShown = false;
  return {
    show: (stage, computed, all) => {
      isShown = true;
      stream.write(`${CLEAR}${WORDS[stage]}: ${String(computed)} of ${String(all)} tokens`);
    },
    clear: () => {
      if (isShown) stream.write(CLEAR);
      isShown = false;
    },
  };
}
