import { allNodes, type CommandNode, type OptionNode, type Value } from '../reference/command-tree.js';

export const SHELLS = ['bash', 'zsh', 'fish'] as const;
export type Shell = (typeof SHELLS)[number];

const WRITERS: Readonly<Record<Shell, (tree: CommandNode) => string>> = {
  bash: bashScript,
  zsh: zshScript,
  fish: fishScript,
};

/** A script that completes the tree's commands, options and what they take. */
export function completionScript(shell: Shell, tree: CommandNode): string {
  return WRITERS[shell](tree);
}

const pathOf = ({ path }: CommandNode): string => path.map((name) => ` ${name}`).join('');
const namesOf = ({ long, short }: OptionNode): string[] => [long, ...(short === undefined ? [] : [short])];
/** In single quotes of any shell but fish's, whose escapes are its own. */
const quoted = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`;

/** What may stand where an argument of the node is expected. */
function argumentValue({ arguments: [first] }: CommandNode): Value | undefined {
  return first?.value;
}

/** The words before the cursor that are commands make the path; both shells find it with the same loop. */
function pathLoop(tree: CommandNode, words: string, first: number, last: string): string {
  const known = allNodes(tree)
    .filter(({ path }) => path.length > 0)
    .map((node) => quoted(pathOf(node)))
    .join('|');
  return [
    `  for ((i = ${String(first)}; i < ${last}; i++)); do`,
    `    case "$at \${${words}[i]}" in`,
    `      ${known}) at="$at \${${words}[i]}" ;;`,
    '    esac',
    '  done',
  ].join('\n');
}

/** Cases of `$at:$previous` where the option before the cursor takes a value. */
function valueCases(tree: CommandNode, complete: (value: Value) => string): string[] {
  return allNodes(tree).flatMap((node) =>
    node.options.flatMap((option) => {
      if (option.value === undefined) return [];
      const patterns = namesOf(option).map((name) => quoted(`${pathOf(node)}:${name}`));
      return [`    ${patterns.join('|')}) ${complete(option.value)}; return ;;`];
    }),
  );
}

function bashScript(tree: CommandNode): string {
  const complete = (value: Value): string => {
    if (value.kind === 'choice')
      return `COMPREPLY=($(compgen -W ${quoted(value.choices.join(' '))} -- "$current"))`;
    return value.kind === 'file' ? '_kvcapsule_files "$current"' : ':';
  };
  const wordCases = allNodes(tree).map((node) => {
    const options = node.options.flatMap(({ long }) => long);
    const commands = node.commands.map(({ path }) => path.at(-1) ?? '');
    const value = argumentValue(node);
    const operands = value === undefined ? ':' : complete(value);
    return [
      `    ${quoted(pathOf(node))})`,
      `      if [[ $current == -* ]]; then COMPREPLY=($(compgen -W ${quoted(options.join(' '))} -- "$current"))`,
      commands.length > 0
        ? `      else COMPREPLY=($(compgen -W ${quoted(commands.join(' '))} -- "$current")); fi ;;`
        : `      else ${operands}; fi ;;`,
    ].join('\n');
  });
  return `# Completion of kvcapsule for bash. Load it with: source <(kvcapsule completion bash)
_kvcapsule_files() {
  compopt -o filenames 2>/dev/null
  mapfile -t COMPREPLY < <(compgen -f -- "$1")
}
_kvcapsule() {
  local current=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD-1]} at='' i
  COMPREPLY=()
  # bash makes three words of --option=value
  if [[ $current == = ]]; then current=''
  elif [[ $previous == = ]]; then previous=\${COMP_WORDS[COMP_CWORD-2]}; fi
${pathLoop(tree, 'COMP_WORDS', 1, 'COMP_CWORD')}
  case "$at:$previous" in
${valueCases(tree, complete).join('\n')}
  esac
  case "$at" in
${wordCases.join('\n')}
  esac
}
complete -F _kvcapsule kvcapsule
`;
}

function zshScript(tree: CommandNode): string {
  const complete = (value: Value): string => {
    if (value.kind === 'choice') return `compadd -- ${value.choices.map(quoted).join(' ')}`;
    return value.kind === 'file' ? '_files' : ':';
  };
  const described = (name: string, description: string): string =>
    quoted(`${name.replaceAll(':', '\\:')}:${description.replaceAll(':', '\\:')}`);
  const wordCases = allNodes(tree).map((node) => {
    const options = node.options.map(({ long, description }) => described(long, description));
    const commands = node.commands.map(({ path, description }) => described(path.at(-1) ?? '', description));
    const value = argumentValue(node);
    const operands = commands.length > 0 ? `known=(${commands.join(' ')}); _describe command known` : '';
    return [
      `    ${quoted(pathOf(node))})`,
      `      if [[ $words[CURRENT] == -* ]]; then known=(${options.join(' ')}); _describe option known`,
      `      else ${operands || (value === undefined ? ':' : complete(value))}; fi ;;`,
    ].join('\n');
  });
  return `#compdef kvcapsule
# Completion of kvcapsule for zsh. Load it with: source <(kvcapsule completion zsh)
_kvcapsule() {
  local at='' i
  local -a known
${pathLoop(tree, 'words', 2, 'CURRENT')}
  case "$at:$words[CURRENT-1]" in
${valueCases(tree, complete).join('\n')}
  esac
  case "$at" in
${wordCases.join('\n')}
  esac
}
compdef _kvcapsule kvcapsule
`;
}

const fishQuoted = (text: string): string => `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;

function fishScript(tree: CommandNode): string {
  const lines = allNodes(tree).flatMap((node) => {
    const at = `-n ${fishQuoted(`__kvcapsule_at ${node.path.join(' ')}`.trim())}`;
    const takes = (value: Value | undefined): string => {
      if (value === undefined) return '';
      return value.kind === 'choice'
        ? ` -xa ${fishQuoted(value.choices.join(' '))}`
        : value.kind === 'file'
          ? ' -rF'
          : ' -x';
    };
    return [
      ...node.commands.map(
        ({ path, description }) =>
          `complete -c kvcapsule -f ${at} -a ${path.at(-1) ?? ''} -d ${fishQuoted(description)}`,
      ),
      ...node.options.map(({ long, short, description, value }) => {
        const name = `-l ${long.slice(2)}${short === undefined ? '' : ` -s ${short.slice(1)}`}`;
        return `complete -c kvcapsule ${at} ${name}${takes(value)} -d ${fishQuoted(description)}`;
      }),
      ...(argumentValue(node)?.kind === 'choice'
        ? [`complete -c kvcapsule -f ${at}${takes(argumentValue(node)).replace(' -xa', ' -a')}`]
        : []),
    ];
  });
  const known = allNodes(tree)
    .filter(({ path }) => path.length > 0)
    .map(({ path }) => fishQuoted(path.join(' ')))
    .join(' ');
  return `# Completion of kvcapsule for fish. Load it with: kvcapsule completion fish | source
function __kvcapsule_at
    set -l at
    for word in (commandline -opc)[2..-1]
        if contains -- (string join -- ' ' $at $word) ${known}
            set -a at $word
        end
    end
    test "$at" = "$argv"
end
${lines.join('\n')}
`;
}
