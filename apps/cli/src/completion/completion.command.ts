import { Argument, type Command } from 'commander';
import { commandTree } from '../reference/command-tree.js';
import { completionScript, type Shell, SHELLS } from './scripts.js';

const EXAMPLES = `
Examples:
  source <(kvcapsule completion bash)                                            this shell
  kvcapsule completion bash > ~/.local/share/bash-completion/completions/kvcapsule    every one
  kvcapsule completion zsh > "\${fpath[1]}/_kvcapsule"
  kvcapsule completion fish > ~/.config/fish/completions/kvcapsule.fish`;

export function registerCompletion(program: Command): void {
  program
    .command('completion')
    .description('print a script that completes commands and options in a shell')
    .addArgument(new Argument('<shell>', 'which shell').choices([...SHELLS]))
    .addHelpText('after', EXAMPLES)
    .action((shell: Shell) => {
      process.stdout.write(completionScript(shell, commandTree(program)));
    });
}
