import type { Argument, Command, Option } from 'commander';

/** What a word of the command line may be, as far as a shell can help with it. */
export type Value =
  | { readonly kind: 'choice'; readonly choices: readonly string[] }
  | { readonly kind: 'file' }
  /** A number, a name, a URL. */
  | { readonly kind: 'text' };

export interface OptionNode {
  /** `--port`; of an option with a negation alone, that. */
  readonly long: string;
  readonly short: string | undefined;
  readonly description: string;
  /** `<port>`, `[file]`; absent: a switch. */
  readonly placeholder: string | undefined;
  readonly value: Value | undefined;
  readonly variable: string | undefined;
  readonly fallback: string | undefined;
  readonly isRequired: boolean;
}

export interface ArgumentNode {
  readonly name: string;
  readonly description: string;
  readonly value: Value;
  readonly isRequired: boolean;
  readonly isRepeated: boolean;
}

export interface CommandNode {
  /** From the program on: `['bench', 'engine']`. */
  readonly path: readonly string[];
  readonly description: string;
  readonly arguments: readonly ArgumentNode[];
  readonly options: readonly OptionNode[];
  readonly commands: readonly CommandNode[];
}

/** The tree of a program's commands, as completion and the reference need it. Hidden options are left out. */
export function commandTree(program: Command): CommandNode {
  return nodeOf(program, []);
}

/** A node and all below it, each before its children. */
export function allNodes(node: CommandNode): CommandNode[] {
  return [node, ...node.commands.flatMap(allNodes)];
}

function nodeOf(command: Command, path: readonly string[]): CommandNode {
  const help = command.createHelp();
  return {
    path,
    description: command.description(),
    arguments: command.registeredArguments.map(argumentOf),
    options: help.visibleOptions(command).map(optionOf),
    commands: command.commands.map((child) => nodeOf(child, [...path, child.name()])),
  };
}

/** Placeholders that name something on disk. */
const ON_DISK = /^(file|folder|dir|picture|path|python|results?|trace|before|after)s?$/;

function valueOf(choices: readonly string[] | undefined, name: string): Value {
  if (choices !== undefined) return { kind: 'choice', choices };
  return { kind: ON_DISK.test(name) ? 'file' : 'text' };
}

function argumentOf(argument: Argument): ArgumentNode {
  const { description, variadic, required, argChoices } = argument;
  const name = argument.name();
  return { name, description, value: valueOf(argChoices, name), isRequired: required, isRepeated: variadic };
}

function optionOf(option: Option): OptionNode {
  const placeholder = /[<[][^\]>]*[\]>]/.exec(option.flags)?.[0];
  const name = placeholder?.replaceAll(/[<>[\].]/g, '') ?? '';
  const { defaultValue, defaultValueDescription } = option as {
    defaultValue?: unknown;
    defaultValueDescription?: string;
  };
  return {
    long: option.long ?? option.flags,
    short: option.short,
    description: option.description,
    placeholder,
    value: placeholder === undefined ? undefined : valueOf(option.argChoices, name),
    variable: option.envVar,
    fallback: defaultValueDescription ?? plain(defaultValue),
    isRequired: option.mandatory,
  };
}

/** What can be shown of a default; nothing of switches and lists. */
function plain(value: unknown): string | undefined {
  return (typeof value === 'string' && value !== '') || typeof value === 'number' ? String(value) : undefined;
}
