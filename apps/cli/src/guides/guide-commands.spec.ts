import { VARIABLES } from '@kvcapsule/platform/config';
import type { Command } from 'commander';
import { describe, expect, it } from 'vitest';
import { createProgram } from '../program.js';
import { blocksOf, commandsOf, guideBlocks } from './guide-commands.js';

// all commands are loaded once, outside any test's time
await createProgram();

/** Throws what is wrong with a command line, and runs nothing. */
async function parse(words: readonly string[]): Promise<void> {
  const program = await createProgram(words[0]);
  const disarm = (command: Command): void => {
    command
      .exitOverride((error) => {
        if (error.exitCode !== 0) throw error;
        throw new Shown();
      })
      .configureOutput({ writeOut: () => undefined, writeErr: () => undefined });
    // one with commands below it runs by itself only where it has an action of its own
    if ((command as { _actionHandler?: unknown })._actionHandler) command.action(() => undefined);
    command.commands.forEach(disarm);
  };
  disarm(program);
  await program.parseAsync([...words], { from: 'user' }).catch((error: unknown) => {
    if (!(error instanceof Shown)) throw error;
  });
}

/** A help text. */
class Shown extends Error {}

const PART_FLAGS = ['--help', '--config', '--print-config', '--no-auth'];

/** `serve` hands its settings on: those of a part, each named as its variable is, lists in the singular. */
function unknownSettings(part: 'router' | 'worker', words: readonly string[]): string[] {
  const flags = VARIABLES[part].map((name) => `--${name.toLowerCase().replaceAll('_', '-')}`);
  const known = new Set([...PART_FLAGS, ...flags, ...flags.map((flag) => flag.replace(/s$/, ''))]);
  return words.filter((word) => word.startsWith('--') && !known.has(word.replace(/=.*/, '')));
}

describe('every command of every guide', () => {
  const commands = guideBlocks().flatMap((block) =>
    commandsOf(block.script).map((words) => ({ where: `${block.file}:${String(block.line)}`, words })),
  );

  it.each(commands.map(({ where, words }) => [where, words.join(' '), words] as const))(
    '%s: kvcapsule %s is one that the CLI takes',
    async (_where, _text, words) => {
      if (words[0] === 'test') return;
      await parse(words);
      const [first, part] = words;
      if (first === 'serve') expect(unknownSettings(part as 'router' | 'worker', words)).toEqual([]);
    },
  );

  it('would be missed where it is wrong', async () => {
    await expect(parse(['up', '--prt', '1'])).rejects.toThrow('unknown option');
    await expect(parse(['ask', 'a.png'])).rejects.toThrow('missing required argument');
    await expect(parse(['up', '--codec', 'zip'])).rejects.toThrow('Allowed choices');
    expect(unknownSettings('worker', ['serve', 'worker', '--pol-mib', '1'])).toEqual(['--pol-mib']);
  });
});

describe('blocks of a guide', () => {
  it('are found with what they need, and their commands as words', () => {
    const text =
      'a\n```sh hours\nX=1 ./kvcapsule up --port 9 # why\n\ncd b; kvcapsule ask a.png "What is it?" | tee c\n```\n';
    const [block] = blocksOf('a.md', text);
    expect(block).toMatchObject({ file: 'a.md', line: 2, needs: 'hours' });
    expect(commandsOf(block?.script ?? '')).toEqual([
      ['up', '--port', '9'],
      ['ask', 'a.png', 'What is it?'],
    ]);
  });
});
