import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Argument, Command, Option } from 'commander';
import { describe, expect, it } from 'vitest';
import { ROOT } from '../paths.js';
import { createProgram } from '../program.js';
import { allNodes, commandTree } from './command-tree.js';
import { referencePage } from './reference-page.js';

const whole = await createProgram();

describe('the reference of the command line', () => {
  it('is what docs/reference/cli.md says (node tools/cli-reference.mjs writes it)', () => {
    const page = readFileSync(join(ROOT, 'docs/reference/cli.md'), 'utf8');
    expect(page).toBe(referencePage(commandTree(whole)));
  });

  it('has every command, argument and option, with choices, variable and default', () => {
    const program = new Command('kvcapsule');
    program
      .command('cook')
      .description('make a meal')
      .addArgument(new Argument('<dish>', 'what').choices(['soup', 'stew']))
      .addOption(new Option('-s, --spoons <count>', 'how many').env('KVCAPSULE_SPOONS').default(2))
      .addOption(new Option('--secret').hideHelp());
    const page = referencePage(commandTree(program));
    expect(page).toContain('## kvcapsule cook\n\nMake a meal.');
    expect(page).toContain('| `<dish>` | what (soup, stew) |');
    expect(page).toContain('| `-s, --spoons <count>` | how many; default 2; [KVCAPSULE_SPOONS] |');
    expect(page).not.toContain('--secret');
  });
});

describe('the help of every command', () => {
  it('says what each option does, and what the command ends with', () => {
    for (const { path, options } of allNodes(commandTree(whole)))
      for (const { long, description } of options)
        expect(description, [...path, long].join(' ')).toMatch(/\w{3}/);
    for (const command of whole.commands) {
      let help = '';
      command.configureOutput({ writeOut: (text) => (help += text) }).outputHelp();
      expect(help, command.name()).toMatch(/Exit codes:\n {2}0 .*done/);
    }
  });
});
