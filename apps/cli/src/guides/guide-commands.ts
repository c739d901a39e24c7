import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from '../paths.js';

/** A block of commands in a guide. */
export interface GuideBlock {
  readonly file: string;
  readonly line: number;
  /** What stands behind `sh` in the fence: what the block needs that a test does not have. */
  readonly needs: string;
  readonly script: string;
}

/** Every `sh` block of the README and the guides, in their order. */
export function guideBlocks(): GuideBlock[] {
  return guideFiles().flatMap((file) => blocksOf(file, readFileSync(join(ROOT, file), 'utf8')));
}

const lineAt = (text: string, index: number): number => text.slice(0, index).split('\n').length;

function guideFiles(): string[] {
  const guides = readdirSync(join(ROOT, 'docs/guides')).map((name) => join('docs/guides', name));
  return ['README.md', ...guides.sort()];
}

/** Fences of `sh`, and those of no language that hold a command of the CLI. */
export function blocksOf(file: string, text: string): GuideBlock[] {
  return [...text.matchAll(/^```(\w*) *(.*)\n([\s\S]*?)^```$/gm)].flatMap(
    ({ index, 1: language = '', 2: info = '', 3: script = '' }) => {
      const line = lineAt(text, index);
      if (language === 'sh') return [{ file, line, script, needs: info === '' ? neededBy(script) : info }];
      if (language !== '' || commandsOf(script).length === 0) return [];
      return [{ file, line, script, needs: 'plain' }];
    },
  );
}

const TOOLS: readonly (readonly [RegExp, string])[] = [
  [/^\s*docker\s/m, 'docker'],
  [/^\s*(helm|kubectl)\s/m, 'kubernetes'],
];

/** A block of these tools says by itself what it needs. */
function neededBy(script: string): string {
  return TOOLS.find(([pattern]) => pattern.test(script))?.[1] ?? '';
}

/** Commands of the CLI in a script, each as its words, without the variables before it and the rest of a pipe. */
export function commandsOf(script: string): string[][] {
  return script.split('\n').flatMap((line) => {
    const [, command] =
      /(?:^\s*|[;&|]\s*|=\S+ +)(?:[^\s=]*\/)?kvcapsule +(.*)$/.exec(line.replace(/\s#\s.*$/, '')) ?? [];
    if (command === undefined || line.trimStart().startsWith('#')) return [];
    return [wordsOf(command)];
  });
}

/** As a shell splits them; a placeholder such as `...` is none. */
function wordsOf(command: string): string[] {
  const words = [...command.matchAll(/"([^"]*)"|'([^']*)'|([^\s"']+)/g)].map(
    ([, double, single, plain]) => double ?? single ?? plain ?? '',
  );
  const end = words.findIndex((word) => /^([|&;<>]|\)$)/.test(word));
  return (end < 0 ? words : words.slice(0, end)).filter((word) => word !== '...');
}
