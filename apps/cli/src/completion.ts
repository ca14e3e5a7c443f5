import type { Command, Option } from "commander";

export type Shell = "bash" | "zsh" | "fish";
export const shells: readonly Shell[] = ["bash", "zsh", "fish"];

/** One command of the tree as completion needs it. */
interface Node {
  /** Words after the program: "endpoint get". */
  readonly path: string;
  readonly words: readonly { name: string; says: string }[];
  readonly options: readonly Option[];
}

function walk(command: Command, path: string): Node[] {
  const visible = command.createHelp().visibleCommands(command);
  const options = command.createHelp().visibleOptions(command);
  const words = visible.map((child) => ({ name: child.name(), says: firstLine(child.description()) }));
  const children = command.commands.flatMap((child) => {
    const names = [child.name(), ...child.aliases()];
    return names.flatMap((name) => walk(child, `${path} ${name}`.trim()));
  });
  return [{ path, words, options }, ...children];
}

function firstLine(text: string): string {
  return text.split("\n")[0] ?? "";
}

function flagsOf(option: Option): string[] {
  return [option.long, option.short].filter((flag): flag is string => flag !== undefined);
}

/** A completion script for the shell, made from the command tree: it cannot lag behind the commands. */
export function completionScript(program: Command, shell: Shell): string {
  const nodes = walk(program, "");
  const name = program.name();
  if (shell === "bash") return bash(name, nodes);
  return shell === "zsh" ? zsh(name, nodes) : fish(name, nodes);
}

/** Cases that set `words` (what may come next) and `values` (what a flag takes). */
function cases(nodes: readonly Node[]): string {
  return nodes
    .map((node) => {
      const words = [...node.words.map((word) => word.name), ...node.options.flatMap(flagsOf)].join(" ");
      return `    "${node.path}") words="${words}" ;;`;
    })
    .join("\n");
}

/** What may stand after a flag: "" when only the user knows, undefined when it takes no value. */
function valuesOf(option: Option): string | undefined {
  if (option.argChoices !== undefined) return option.argChoices.join(" ");
  if (option.long === "--lab" || option.long === "--name") return labs;
  return option.required ? "" : undefined;
}

/** The labs of this machine; the shell asks when it completes. */
const labs = `$(ls "\${AXON_RUN_DIR:-/run/axon}" 2>/dev/null)`;

function choiceCases(nodes: readonly Node[]): string {
  const lines = new Set<string>();
  for (const node of nodes) {
    for (const option of node.options) {
      const values = valuesOf(option);
      if (values === undefined) continue;
      for (const flag of flagsOf(option)) lines.add(`    "${node.path} ${flag}") words="${values}" ;;`);
    }
  }
  return [...lines].join("\n");
}

/** The words typed so far that are commands, as one string. */
const pathLoop = (from: string, word: string, paths: string): string => `  path=""
  for (( i = ${from}; i < current; i++ )); do
    try="\${path:+$path }${word}"
    case "$try" in
${paths}
    esac
  done`;

function pathCases(nodes: readonly Node[]): string {
  const paths = nodes.filter((node) => node.path !== "").map((node) => `"${node.path}"`);
  return `      ${paths.join("|")}) path="$try" ;;`;
}

function bash(name: string, nodes: readonly Node[]): string {
  return `# bash completion for ${name}: source <(${name} completion bash)
_${name}() {
  local path try words i current=$COMP_CWORD
${pathLoop("1", `\${COMP_WORDS[i]}`, pathCases(nodes))}
  words=""
  case "$path" in
${cases(nodes)}
  esac
  case "$path \${COMP_WORDS[COMP_CWORD-1]}" in
${choiceCases(nodes)}
  esac
  COMPREPLY=( $(compgen -W "$words" -- "\${COMP_WORDS[COMP_CWORD]}") )
}
complete -o default -F _${name} ${name}
`;
}

function zsh(name: string, nodes: readonly Node[]): string {
  const script = `#compdef ${name}
# zsh completion for ${name}: source <(${name} completion zsh)
_${name}() {
  local path_words try path i current=$CURRENT wordlist
  local -a replies
${pathLoop("2", `\${words[i]}`, pathCases(nodes))}
  wordlist=""
  case "$path" in
${cases(nodes).replaceAll(" words=", " wordlist=")}
  esac
  case "$path \${words[CURRENT-1]}" in
${choiceCases(nodes).replaceAll(" words=", " wordlist=")}
  esac
  replies=(\${=wordlist})
  compadd -- $replies
}
compdef _${name} ${name}
`;
  // $path is the command search path in zsh.
  return script
    .replaceAll("$path", "$node")
    .replaceAll("${path", "${node")
    .replaceAll('path="', 'node="')
    .replaceAll("try path i", "try node i");
}

function quoted(text: string): string {
  return `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
}

function fish(name: string, nodes: readonly Node[]): string {
  const lines = [`# fish completion for ${name}: ${name} completion fish | source`, `complete -c ${name} -f`];
  for (const node of nodes) {
    const words = node.path.split(" ").filter(Boolean);
    const children = node.words.map((word) => word.name);
    const seen = words.map((word) => `__fish_seen_subcommand_from ${word}`);
    const not = children.length === 0 ? [] : [`not __fish_seen_subcommand_from ${children.join(" ")}`];
    const condition = [...seen, ...not].join("; and ") || "true";
    for (const word of node.words) {
      lines.push(`complete -c ${name} -n ${quoted(condition)} -a ${word.name} -d ${quoted(word.says)}`);
    }
    for (const option of node.options) lines.push(fishOption(name, condition, option));
  }
  return `${lines.join("\n")}\n`;
}

function fishOption(name: string, condition: string, option: Option): string {
  const long = option.long === undefined ? "" : ` -l ${option.long.slice(2)}`;
  const short = option.short === undefined ? "" : ` -s ${option.short.slice(1)}`;
  const value = option.required ? " -r" : "";
  const choices = option.argChoices === undefined ? "" : ` -a ${quoted(option.argChoices.join(" "))}`;
  return `complete -c ${name} -n ${quoted(condition)}${short}${long}${value}${choices} -d ${quoted(firstLine(option.description))}`;
}
