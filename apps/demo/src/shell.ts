import { spawn } from "node:child_process";
import { AxonError } from "@axoneme/base";

/** What a command did. */
export interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** How commands are run: the lab's kubeconfig in the environment, a deadline on each. */
export class Shell {
  readonly #env: NodeJS.ProcessEnv;
  readonly #signal: AbortSignal;

  /** @param signal stops the running command, for Ctrl-C. */
  constructor(env: Record<string, string>, signal: AbortSignal) {
    this.#env = { ...process.env, ...env };
    this.#signal = signal;
  }

  /** Runs a command to its end; never rejects for its exit code. */
  try(command: string, args: readonly string[], stdin = "", timeoutMs = 60_000): Promise<Outcome> {
    return new Promise((resolve, reject) => {
      const signal = AbortSignal.any([this.#signal, AbortSignal.timeout(timeoutMs)]);
      const child = spawn(command, args, { env: this.#env, signal, killSignal: "SIGTERM" });
      let stdout = "";
      let stderr = "";
      child.stdout.on("data", (chunk) => {
        stdout += chunk;
      });
      child.stderr.on("data", (chunk) => {
        stderr += chunk;
      });
      child.on("error", reject);
      child.on("close", (code) => resolve({ code: code ?? 1, stdout, stderr }));
      child.stdin.on("error", () => undefined);
      child.stdin.end(stdin);
    });
  }

  /**
   * Runs a command that must succeed and returns what it printed.
   * @throws AxonError `demo.command` with the command and its own words.
   */
  async run(command: string, args: readonly string[], stdin = "", timeoutMs = 60_000): Promise<string> {
    const { code, stdout, stderr } = await this.try(command, args, stdin, timeoutMs);
    if (code !== 0) {
      throw new AxonError(
        "demo.command",
        `${command} ${args.join(" ")} exited with ${code}: ${stderr.trim() || stdout.trim()}`,
      );
    }
    return stdout;
  }

  /** Runs a command with the terminal as its own. */
  show(command: string, args: readonly string[]): Promise<number> {
    return new Promise((resolve, reject) => {
      const child = spawn(command, args, {
        env: this.#env,
        signal: this.#signal,
        stdio: ["ignore", "inherit", "inherit"],
      });
      child.on("error", reject);
      child.on("close", (code) => resolve(code ?? 1));
    });
  }
}
