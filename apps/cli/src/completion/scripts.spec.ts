import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createProgram } from '../program.js';
import { allNodes, commandTree } from '../reference/command-tree.js';
import { completionScript } from './scripts.js';

const tree = commandTree(await createProgram());

describe('completion in bash', () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'kvc-completion-'));
    mkdirSync(join(folder, 'pictures of birds'));
    writeFileSync(join(folder, 'photo.png'), '');
    writeFileSync(join(folder, 'completion.bash'), completionScript('bash', tree));
  });
  afterAll(() => {
    rmSync(folder, { recursive: true });
  });

  /** What a real bash offers at the end of the words. */
  function offered(...words: readonly string[]): string[] {
    const script = `source completion.bash
complete -p kvcapsule >/dev/null || exit 3
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_kvcapsule
printf '%s\\n' "\${COMPREPLY[@]}"`;
    const args = ['--norc', '-c', script, 'bash', 'kvcapsule', ...words];
    return execFileSync('bash', args, { cwd: folder, encoding: 'utf8' }).split('\n').filter(Boolean);
  }

  it('offers the commands, and those below one', () => {
    expect(offered('')).toEqual(tree.commands.map(({ path }) => path[0]));
    expect(offered('si')).toEqual(['simulate']);
    expect(offered('profile', '')).toEqual(['show']);
  });

  it('offers the options of the command that is named, after other options too', () => {
    expect(offered('up', '--po')).toEqual(['--port', '--pool-mib']);
    expect(offered('up', '--port', '9000', '--wor')).toEqual(['--workers']);
    expect(offered('profile', 'show', '--h')).toEqual(['--html', '--help']);
  });

  it('offers what an option or an argument may be', () => {
    expect(offered('up', '--codec', 'capsule-')).toEqual(['capsule-q8', 'capsule-q4', 'capsule-mixed']);
    expect(offered('serve', '')).toEqual(['router', 'worker']);
    expect(offered('completion', 'z')).toEqual(['zsh']);
  });

  it('offers files where one is named, and nothing where a number or a URL is', () => {
    expect(offered('up', '--model', 'pic')).toEqual(['pictures of birds']);
    expect(offered('ask', 'ph')).toEqual(['photo.png']);
    expect(offered('up', '--port', '')).toEqual([]);
    expect(offered('ask', '--url', '')).toEqual([]);
  });
});

describe('completion in a bash at a terminal', () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'kvc-completion-'));
    mkdirSync(join(folder, 'pictures of birds', 'of the north'), { recursive: true });
    writeFileSync(join(folder, 'pictures of birds', "a gull's.png"), '');
    writeFileSync(join(folder, 'completion.bash'), completionScript('bash', tree));
  });
  afterAll(() => {
    rmSync(folder, { recursive: true });
  });

  /** The words of a line behind which Tab was pressed. */
  function completed(line: string): string[] {
    const lines = [
      'source completion.bash',
      `kvcapsule() { printf '[%s]' "$@"; echo; }`,
      `kvcapsule ${line}\t`,
      'exit',
      '',
    ];
    const said = execFileSync('script', ['-qec', 'bash --norc --noprofile -i', '/dev/null'], {
      ...{ cwd: folder, input: lines.join('\n'), encoding: 'utf8', timeout: 20_000 },
      env: { ...process.env, PS1: '', TERM: 'dumb', INPUTRC: '/dev/null', HISTFILE: '' },
    });
    const [words = ''] = /^\[.*\]\r?$/m.exec(said) ?? [];
    return [...words.matchAll(/\[([^\]]*)\]/g)].map(([, word = '']) => word);
  }

  it.each([
    ['pic', 'pictures of birds/'],
    ['pictures\\ of\\ birds/of', 'pictures of birds/of the north/'],
    ['"pictures of birds/of', 'pictures of birds/of the north/'],
    ["'pictures of birds/of", 'pictures of birds/of the north/'],
    ['pictures\\ of\\ birds/a', "pictures of birds/a gull's.png"],
  ])('goes on below folders whose names have blanks: %s', (typed, word) => {
    expect(completed(`up --model ${typed}`)).toEqual(['up', '--model', word]);
  });

  it('offers what comes after the = of an option', () => {
    expect(completed('up --codec=capsule-m')).toEqual(['up', '--codec=capsule-mixed']);
    expect(completed('up --model=pic')).toEqual(['up', '--model=pictures of birds/']);
  });
});

describe.each(['zsh', 'fish'] as const)('completion in %s', (shell) => {
  it('knows every command, option and choice', () => {
    const script = completionScript(shell, tree);
    for (const { path, options } of allNodes(tree)) {
      expect(script).toContain(path.join(' '));
      for (const { long, value } of options) {
        expect(script).toContain(shell === 'fish' ? `-l ${long.slice(2)} ` : `'${long}:`);
        const choices = value?.kind === 'choice' ? value.choices : [];
        for (const choice of choices) expect(script).toContain(choice);
      }
    }
  });
});
