import { type ChildProcess, spawn } from "node:child_process";
import { join } from "node:path";

/** The checkout. */
export const root = join(import.meta.dirname, "../..");
/** A program that the build made. */
export const built = (name: string): string => join(root, "build/bin", name);

/** What a command did. */
export interface Outcome {
  /** 128 + the signal's number when it was killed. */
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CommandOptions {
  readonly stdin?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** After this long it is killed; default 60 s. */
  readonly timeoutMs?: number;
}

/** A command that runs, and what it has said so far. */
export class Running {
  readonly process: ChildProcess;
  readonly ended: Promise<Outcome>;
  stdout = "";
  stderr = "";

  constructor(program: string, args: readonly string[], options: CommandOptions = {}) {
    const { stdin = "", env, timeoutMs = 60_000 } = options;
    const child = spawn(program, args, {
      ...(env === undefined ? {} : { env: { ...process.env, ...env } }),
      stdio: ["pipe", "pipe", "pipe"],
      timeout: timeoutMs,
      killSignal: "SIGKILL",
    });
    this.process = child;
    child.stdout.on("data", (chunk: Buffer) => {
      this.stdout += chunk.toString();
    });
    child.stderr.on("data", (chunk: Buffer) => {
      this.stderr += chunk.toString();
    });
    // A command may end without reading; its exit code tells.
    child.stdin.on("error", () => undefined);
    child.stdin.end(stdin);
    this.ended = new Promise((resolve, reject) => {
      child.once("error", reject);
      child.once("close", (code, signal) =>
        resolve({
          code: code ?? (signal === "SIGKILL" ? 137 : 143),
          stdout: this.stdout,
          stderr: this.stderr,
        }),
      );
    });
    this.ended.catch(() => undefined);
  }

  kill(): void {
    this.process.kill("SIGKILL");
  }
}

/** Runs a command to its end, whatever that is. */
export function run(
  program: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<Outcome> {
  return new Running(program, args, options).ended;
}
