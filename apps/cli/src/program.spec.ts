import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ROOT } from './paths.js';
import { createProgram } from './program.js';

const program = await createProgram();

describe('the list of commands', () => {
  it('is the same in the entry script, which needs no build, and in the CLI', () => {
    const help = execFileSync(join(ROOT, 'kvcapsule'), ['--help'], { encoding: 'utf8' });
    const section = help.slice(help.indexOf('Commands:'), help.indexOf('Options:'));
    // a command may have a line for each of its own
    const listed = [...new Set([...section.matchAll(/^ {2}(\w+)/gm)].map(([, name]) => name))];
    const commands = program.commands.map((command) => command.name());
    expect(listed.filter((name) => name !== 'test').sort()).toEqual(commands.sort());
  });

  it('is one that the entry script passes on', () => {
    const script = readFileSync(join(ROOT, 'kvcapsule'), 'utf8');
    const passedOn = [...script.matchAll(/^ {4}([\w |-]+)\)/gm)].flatMap(([, names = '']) =>
      names.split(' | '),
    );
    expect(passedOn).toEqual(expect.arrayContaining(program.commands.map((command) => command.name())));
  });

  it('shows examples with every command', () => {
    for (const command of program.commands) {
      let help = '';
      command.configureOutput({ writeOut: (text) => (help += text) }).outputHelp();
      expect(help, command.name()).toContain('kvcapsule ' + command.name());
      expect(help, command.name()).toContain('Examples:');
    }
  });
});
