import { errorText } from "@axoneme/base";

/** Exit codes; stable, documented in `axon --help` and docs. */
export const exitCode = {
  ok: 0,
  failed: 1,
  usage: 2,
  notFound: 3,
  unreachable: 4,
  /** The answer is no: a connection is, or would be, denied. */
  denied: 5,
  interrupted: 130,
} as const;

export type ExitCode = (typeof exitCode)[keyof typeof exitCode];

export interface CliErrorParts {
  /** What could not be done: "cannot read the endpoints". */
  readonly what: string;
  /** On which object: a node, a socket, a name. */
  readonly object?: string;
  /** Why. */
  readonly cause?: unknown;
  /** What the user can do about it. */
  readonly fix?: string;
}

/** An error that is told to the user as it is, and decides the exit code. */
export class CliError extends Error {
  readonly exit: ExitCode;
  readonly parts: CliErrorParts;

  constructor(exit: ExitCode, parts: CliErrorParts) {
    super(parts.what, { cause: parts.cause });
    this.name = "CliError";
    this.exit = exit;
    this.parts = parts;
  }
}

/** `Error: <what> (<object>): <cause>` and, below, `  fix: <mend>`. */
export function formatError(error: unknown): string {
  if (!(error instanceof CliError)) return `Error: ${errorText(error)}`;
  const { what, object, cause, fix } = error.parts;
  const where = object === undefined ? "" : ` (${object})`;
  const why = cause === undefined ? "" : `: ${typeof cause === "string" ? cause : errorText(cause)}`;
  return `Error: ${what}${where}${why}${fix === undefined ? "" : `\n  fix: ${fix}`}`;
}

/** Exit code of any error. */
export function exitCodeOf(error: unknown): ExitCode {
  return error instanceof CliError ? error.exit : exitCode.failed;
}

/** A mistake in the command line. */
export function usageError(what: string, fix?: string): CliError {
  return new CliError(exitCode.usage, fix === undefined ? { what } : { what, fix });
}
