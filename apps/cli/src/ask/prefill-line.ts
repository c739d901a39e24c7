/** What is used of a terminal's stream. */
interface Terminal {
  readonly isTTY?: boolean;
  write(text: string): unknown;
}

const CLEAR = '\r\x1b[K';

/** A line that shows how much of the prompt is computed and goes when the answer comes; undefined without a terminal. */
export function prefillLine(
  stream: Terminal,
): { show(this: void, computed: number, all: number): void; clear(): void } | undefined {
  if (stream.isTTY !== true) return undefined;
  let isShown = false;
  return {
    show: (computed, all) => {
      isShown = true;
      stream.write(`${CLEAR}reading the prompt: ${String(computed)} of ${String(all)} tokens`);
    },
    clear: () => {
      if (isShown) stream.write(CLEAR);
      isShown = false;
    },
  };
}
