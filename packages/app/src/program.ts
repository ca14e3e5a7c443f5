import { parseArgs } from "node:util";
import { AxonError, errorText } from "@axoneme/base";
import { type ConfigPlaces, ConfigSources } from "./config-sources.ts";
import type { StructuredLogger } from "./logging.ts";
import type { Option, OptionSet, Values } from "./option.ts";
import { configKey } from "./option-keys.ts";
import { valueFromText } from "./option-text.ts";

/** A program that is configured by one set of options. */
export interface Program<S extends OptionSet> {
  /** As its command is called, and its errors begin. */
  readonly name: string;
  readonly version: string;
  /** What it is, in a sentence or two. */
  readonly about: string;
  readonly options: S;
  /** Starts it; it goes on when this returns. `sources` reads the configuration again. */
  readonly start: (config: Values<S>, sources: ConfigSources<S>) => Promise<void>;
  /** What it does in place of that when asked to by a flag of this name. */
  readonly actions?: Readonly<Record<string, Action<S>>>;
}

/** Something a program does and ends. */
export interface Action<S extends OptionSet> {
  /** For `--help`. */
  readonly about: string;
  readonly run: (config: Values<S>) => void | Promise<void>;
}

/** What `--help` prints. */
export function programHelp<S extends OptionSet>(program: Omit<Program<S>, "start">): string {
  const { name, version, about, options, actions = {} } = program;
  const width = Math.max(...Object.keys(options).map(({ length }) => length));
  const lines = Object.entries(options).map(
    ([option, { doc, default: value }]) => `  ${option.padEnd(width)} ${doc} (${JSON.stringify(value)})`,
  );
  return `axoneme-${name} ${version}

Usage: ${name} [--config FILE] [--config-dir DIRECTORY] [--set OPTION=VALUE]... [--OPTION VALUE]...

${about}
FILE is YAML or JSON. DIRECTORY is a mounted ConfigMap, one file a key; a key, and a flag, is the option's name
in lower case with dashes, or the field's name for it. Flags go over the directory, and that over the file.
${Object.entries(actions)
  .map(([flag, action]) => `\n--${flag} ${action.about}\n`)
  .join("")}
Options, with their defaults:
${lines.join("\n")}
`;
}

/** What a command line says. */
export interface CommandLine {
  readonly help: boolean;
  readonly version: boolean;
  readonly places: ConfigPlaces;
  /** Something to do in place of starting; undefined: start. */
  readonly action: string | undefined;
}

/**
 * Reads a command line: every option is a flag too.
 * @throws Error naming what is no option, AxonError `config.invalid` for a --set that is no assignment
 */
export function readCommandLine(
  options: OptionSet,
  args: readonly string[],
  actions: readonly string[] = [],
): CommandLine {
  const byKey = Object.entries(options).map(([name, option]) => [configKey(name, option), option] as const);
  const flags = byKey.map(([key, option]) => [key, { type: "string", multiple: isList(option) }] as const);
  const { values } = parseArgs({
    args: [...args],
    options: {
      ...Object.fromEntries(actions.map((name) => [name, { type: "boolean" as const }])),
      ...(Object.fromEntries(flags) as Record<string, { type: "string"; multiple: boolean }>),
      config: { type: "string" },
      "config-dir": { type: "string" },
      set: { type: "string", multiple: true },
      help: { type: "boolean", short: "h" },
      version: { type: "boolean" },
    },
  });
  const given = values as Record<string, string | string[] | boolean | undefined>;
  const texts: Record<string, string> = {};
  for (const text of values.set ?? []) Object.assign(texts, assignment(options, text));
  for (const [key, option] of byKey) {
    const value = given[key];
    if (Array.isArray(value)) texts[key] = JSON.stringify(value.flatMap((text) => elements(option, text)));
    else if (typeof value === "string") texts[key] = value;
  }
  const { config: file, "config-dir": directory } = values;
  const action = actions.find((name) => given[name] === true);
  const [help, version] = [values.help === true, values.version === true];
  return { help, version, places: { file, directory, flags: texts }, action };
}

const isList = (option: Option<unknown>): boolean => Array.isArray(option.default);

/** A list's flag may be repeated, and be an array each time. */
function elements(option: Option<unknown>, text: string): unknown[] {
  const value = text.startsWith("[") ? valueFromText(option, text) : text;
  return Array.isArray(value) ? value : [value];
}

function assignment(options: OptionSet, text: string): Record<string, string> {
  const equals = text.indexOf("=");
  if (equals <= 0) throw new AxonError("config.invalid", `"${text}" is not OPTION=VALUE`);
  const name = text.slice(0, equals);
  const option = options[name];
  return { [option === undefined ? name : configKey(name, option)]: text.slice(equals + 1) };
}

/** The process of a program: reads arguments and configuration, and starts; what hinders it is one line and exit code 1. */
export function runProgram<S extends OptionSet>(program: Program<S>): void {
  const { options, actions = {} } = program;
  const run = async (): Promise<void> => {
    const line = readCommandLine(options, process.argv.slice(2), Object.keys(actions));
    const { help, version, places, action } = line;
    if (help || version) {
      process.stdout.write(help ? programHelp(program) : `axoneme-${program.name} ${program.version}\n`);
      return;
    }
    const sources = new ConfigSources(options, places);
    const { values } = sources.read();
    const instead = action === undefined ? undefined : actions[action];
    if (instead !== undefined) await instead.run(values);
    else await program.start(values, sources);
  };
  run().catch((error: unknown) => {
    process.stderr.write(`${program.name}: ${errorText(error)}\n`);
    process.exit(1);
  });
}

/** Ends the process on SIGTERM and Ctrl-C, after `stop`: exit code 0, or 1 when that failed. `what` is logged before. */
export function stopOnSignal(log: StructuredLogger, what: string, stop: () => Promise<void>): void {
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.once(signal, () => {
      log.info({ signal }, what);
      stop().then(
        () => process.exit(0),
        (err: unknown) => {
          log.error({ err }, "did not stop cleanly");
          process.exit(1);
        },
      );
    });
  }
}
