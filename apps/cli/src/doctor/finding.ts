export const LEVELS = ['ok', 'warn', 'fail'] as const;
export type Level = (typeof LEVELS)[number];

/** One thing that was looked at. */
export interface Finding {
  readonly group: string;
  readonly name: string;
  /** `fail`: a start would end, or serve nothing. `warn`: it serves, but less well than it could. */
  readonly level: Level;
  /** What is there, one line. */
  readonly found: string;
  /** What to do about it; with `warn` and `fail`. */
  readonly advice?: string;
}

type Told = readonly [found: string, advice?: string];

/** Findings of one group. */
export interface Group {
  readonly ok: (name: string, found: string) => Finding;
  readonly warn: (name: string, ...told: Told) => Finding;
  readonly fail: (name: string, ...told: Told) => Finding;
}

export function group(name: string): Group {
  const finding =
    (level: Level) =>
    (what: string, found: string, advice?: string): Finding => ({
      ...{ group: name, name: what, level, found },
      ...(advice === undefined ? {} : { advice }),
    });
  return { ok: finding('ok'), warn: finding('warn'), fail: finding('fail') };
}

/** What a fault says, split into what is there and what to do where its words have both. */
export function told(error: unknown): Told {
  const words = error instanceof Error ? error.message : String(error);
  const hint = (error as { hint?: unknown }).hint;
  if (typeof hint === 'string') return [words, hint];
  if (!words.startsWith('Redis at ')) return [words];
  // what a server or a library said stands in brackets, with colons of its own
  const at = words.replaceAll(/\([^)]*\)/g, (bracket) => '-'.repeat(bracket.length)).indexOf(': ');
  return at < 0 ? [words] : [words.slice(0, at), sentence(words.slice(at + 2))];
}

const sentence = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);
