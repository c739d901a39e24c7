import { EXIT_CODES } from '../exit-codes.js';
import { allNodes, type ArgumentNode, type CommandNode, type OptionNode } from './command-tree.js';

const HEAD = `# Command line

\`./kvcapsule\` sets up and builds what is missing, then runs a command. \`./kvcapsule COMMAND --help\` shows examples, too. This page is made from the commands themselves (\`node tools/cli-reference.mjs\`); a test compares.

Options that name a variable in brackets may stand in the environment; the flag wins. \`serve router\` and \`serve worker\` have settings of their own, with a variable and a key of the configuration file each: \`./kvcapsule serve worker --help\`, [Configuration](../guides/configuration.md).

A fault is one line on stderr that says what is wrong, and a second one that says what to do about it. What a command prints for programs (\`--json\`, \`--print-config\`, \`completion\`) is on stdout alone.`;

/** \`docs/reference/cli.md\`. */
export function referencePage(tree: CommandNode): string {
  const codes = EXIT_CODES.map(([code, meaning]) => `| ${String(code)} | ${meaning} |`);
  const commands = allNodes(tree).filter(({ path }) => path.length > 0);
  return [
    HEAD,
    ['| exit code | when |', '| --- | --- |', ...codes].join('\n'),
    ...commands.map(commandSection),
    '## kvcapsule test\n\nSets up, builds and runs every test and check; `--full` adds the native tests under sanitizers, millions of random operations, an hour of soak and mutation tests. It is the entry script’s own, which needs no build.',
    '',
  ].join('\n\n');
}

function commandSection(node: CommandNode): string {
  const { path, description, commands, options } = node;
  const usage = ['kvcapsule', ...path, ...node.arguments.map(argumentText)].join(' ');
  const below = commands.map((child) => `\`${child.path.join(' ')}\``).join(', ');
  return [
    `## kvcapsule ${path.join(' ')}`,
    `${sentence(description)}.${below === '' ? '' : ` Commands: ${below}.`}`,
    ...(commands.length > 0 ? [] : [`\`\`\`\n${usage}${options.length > 0 ? ' [options]' : ''}\n\`\`\``]),
    ...(node.arguments.length > 0 ? [table('argument', node.arguments.map(argumentRow))] : []),
    ...(options.length > 1 ? [table('option', options.filter(isNoHelp).map(optionRow))] : []),
  ].join('\n\n');
}

const isNoHelp = ({ long }: OptionNode): boolean => long !== '--help';

function table(of: string, rows: readonly string[]): string {
  return [`| ${of} | what |`, '| --- | --- |', ...rows].join('\n');
}

function argumentText({ name, isRequired, isRepeated }: ArgumentNode): string {
  const text = `${name}${isRepeated ? '...' : ''}`;
  return isRequired ? `<${text}>` : `[${text}]`;
}

function argumentRow(argument: ArgumentNode): string {
  const { value, description } = argument;
  const notes = value.kind === 'choice' ? ` (${value.choices.join(', ')})` : '';
  return `| \`${argumentText(argument)}\` | ${cell(description + notes)} |`;
}

function optionRow({
  long,
  short,
  placeholder,
  description,
  value,
  variable,
  fallback,
  isRequired,
}: OptionNode): string {
  const flags = [short, long].filter((name) => name !== undefined).join(', ');
  const notes = [
    ...(value?.kind === 'choice' ? [`one of ${value.choices.join(', ')}`] : []),
    ...(isRequired ? ['required'] : []),
    ...(fallback === undefined ? [] : [`default ${fallback}`]),
    ...(variable === undefined ? [] : [`[${variable}]`]),
  ];
  const name = placeholder === undefined ? flags : `${flags} ${placeholder}`;
  return `| \`${name}\` | ${cell([description, ...(notes.length > 0 ? [notes.join('; ')] : [])].join('; '))} |`;
}

const cell = (text: string): string => text.replaceAll('|', '\\|').replaceAll('<', '\\<');
const sentence = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);
