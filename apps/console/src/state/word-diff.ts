/** A piece of one of two texts; `isOther` where the other text has something else. */
export interface DiffPiece {
  readonly text: string;
  readonly isOther: boolean;
}

/** Longer answers are compared as far as this; the rest counts as other. */
const MOST_WORDS = 2_000;

/** Words with the blanks that follow them. */
const wordsOf = (text: string): string[] => text.match(/\s*\S+\s*/g) ?? (text === '' ? [] : [text]);

/** Two texts word by word, with what is not common to both marked in each. */
export function wordDiff(left: string, right: string): readonly [DiffPiece[], DiffPiece[]] {
  const [a, b] = [wordsOf(left), wordsOf(right)];
  const [isCommonA, isCommonB] = common(a.slice(0, MOST_WORDS).map(trim), b.slice(0, MOST_WORDS).map(trim));
  return [pieces(a, isCommonA), pieces(b, isCommonB)];
}

const trim = (word: string) => word.trim();

/** Which words of each are part of one longest common sequence. */
function common(a: readonly string[], b: readonly string[]): [Uint8Array, Uint8Array] {
  const width = b.length + 1;
  const lengths = new Uint16Array((a.length + 1) * width);
  const at = (i: number, j: number) => lengths[i * width + j] ?? 0;
  for (let i = a.length - 1; i >= 0; i -= 1)
    for (let j = b.length - 1; j >= 0; j -= 1)
      lengths[i * width + j] = a[i] === b[j] ? at(i + 1, j + 1) + 1 : Math.max(at(i + 1, j), at(i, j + 1));
  const [inA, inB] = [new Uint8Array(a.length), new Uint8Array(b.length)];
  for (let i = 0, j = 0; i < a.length && j < b.length;) {
    if (a[i] === b[j]) {
      inA[i] = inB[j] = 1;
      i += 1;
      j += 1;
    } else if (at(i + 1, j) >= at(i, j + 1)) i += 1;
    else j += 1;
  }
  return [inA, inB];
}

/** Neighbours of one kind together. */
function pieces(words: readonly string[], isCommon: Uint8Array): DiffPiece[] {
  const joined: { text: string; isOther: boolean }[] = [];
  for (const [at, text] of words.entries()) {
    const isOther = isCommon[at] !== 1;
    const last = joined.at(-1);
    if (last?.isOther === isOther) last.text += text;
    else joined.push({ text, isOther });
  }
  return joined;
}
