import { parseArgs } from "node:util";
import { errorText } from "@axoneme/base";
import { loadOptions, type OptionSet, parseOptions, type Values } from "./config.ts";
import type { StructuredLogger } from "./logging.ts";

/** A program that is configured by one file. */
export interface Program<S extends OptionSet> {
  /** As its command is called, and its errors begin. */
  readonly name: string;
  readonly version: string;
  /** What it is, in a sentence or two. */
  readonly about: string;
  readonly options: S;
  /** Starts it; it goes on when this returns. */
  readonly start: (config: Values<S>) => Promise<void>;
  /** What it does in place of that when asked to by a flag of this name. */
  readonly actions?: Readonly<Record<string, Action<S>>>;
}

/** Something a program does and ends. */
export interface Action<S extends OptionSet> {
  /** For `--help`. */
  readonly about: string;
  readonly run: (config: Values<S>) => void;
}

/** What `--help` prints. */
export function programHelp<S extends OptionSet>(program: Omit<Program<S>, "start">): string {
  const { name, version, about, options, actions = {} } = program;
  const width = Math.max(...Object.keys(options).map(({ length }) => length));
  const lines = Object.entries(options).map(
    ([option, { doc, default: value }]) => `  ${option.padEnd(width)} ${doc} (${JSON.stringify(value)})`,
  );
  return `axoneme-${name} ${version}

Usage: ${name} [--config FILE]${Object.keys(actions)
    .map((flag) => ` [--${flag}]`)
    .join("")}

${about} The file is YAML or JSON.
${Object.entries(actions)
  .map(([flag, action]) => `\n--${flag} ${action.about}\n`)
  .join("")}
Options of the file, with their defaults:
${lines.join("\n")}
`;
}

/** The process of a program: reads arguments and file, and starts; what hinders it is one line and exit code 1. */
export function runProgram<S extends OptionSet>(program: Program<S>): void {
  const { options, actions = {} } = program;
  const run = async (): Promise<void> => {
    const { values } = parseArgs({
      options: {
        config: { type: "string" },
        help: { type: "boolean", short: "h" },
        ...Object.fromEntries(Object.keys(actions).map((flag) => [flag, { type: "boolean" as const }])),
      },
    });
    if (values.help) {
      process.stdout.write(programHelp(program));
      return;
    }
    const { config: file } = values;
    const config = typeof file === "string" ? loadOptions(options, file) : parseOptions(options, {});
    const flag = Object.keys(actions).find((name) => (values as Record<string, unknown>)[name] === true);
    const action = flag === undefined ? undefined : actions[flag];
    if (action !== undefined) action.run(config);
    else await program.start(config);
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
