import { type Command, CommanderError } from "commander";
import type { Context } from "./context.ts";
import { exitCode, exitCodeOf, formatError } from "./errors.ts";
import { colorsOf } from "./output.ts";
import { buildProgram } from "./program.ts";

/** Text that commander writes while it parses; written at the end, in order. */
interface Captured {
  readonly out: string[];
  readonly err: string[];
}

/** Settings that commander keeps per command. */
function configure(command: Command, captured: Captured): void {
  command.exitOverride();
  command.configureOutput({
    writeOut: (text) => void captured.out.push(text),
    writeErr: (text) => void captured.err.push(text),
    outputError: (text, write) => write(text.replace(/^error: /, "Error: ")),
    getOutHelpWidth: () => 110,
    getErrHelpWidth: () => 110,
  });
  command.showHelpAfterError(`  fix: see ${pathOf(command)} --help`);
  command.showSuggestionAfterError(true);
  for (const child of command.commands) configure(child, captured);
}

/** A command with those above it, as it is typed: "axon lab up". */
function pathOf(command: Command): string {
  return command.parent === null ? command.name() : `${pathOf(command.parent)} ${command.name()}`;
}

/**
 * Runs one command line (without the program's name) and returns the exit code. The one place where errors become
 * text.
 */
export async function run(args: readonly string[], context: Context): Promise<number> {
  let code: number = exitCode.ok;
  const own: Context = {
    ...context,
    setExitCode: (wanted) => {
      code = code === exitCode.ok ? wanted : code;
    },
  };
  const captured: Captured = { out: [], err: [] };
  const program = buildProgram(own);
  configure(program, captured);
  try {
    await program.parseAsync([...args], { from: "user" });
  } catch (error) {
    if (context.signal.aborted) code = exitCode.interrupted;
    else code = await report(error, own);
  }
  if (captured.out.length > 0) await context.stdout.write(captured.out.join(""));
  if (captured.err.length > 0) await context.stderr.write(captured.err.join(""));
  return context.signal.aborted ? exitCode.interrupted : code;
}

async function report(error: unknown, context: Context): Promise<number> {
  // Commander has written its message, or the help that was asked for.
  if (error instanceof CommanderError) return error.exitCode === 0 ? exitCode.ok : exitCode.usage;
  const colors = colorsOf(context, context.stderr);
  const text = formatError(error);
  await context.stderr.write(`${colors.red("Error")}${text.slice("Error".length)}\n`);
  return exitCodeOf(error);
}
