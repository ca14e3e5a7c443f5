import { waitFor } from "@axoneme/base";
import type { Shell } from "./shell.ts";

/** One line of the closing table. */
export interface Check {
  readonly what: string;
  readonly expected: string;
  readonly got: string;
  readonly ok: boolean;
}

/** Reaching and not reaching, as a pod sees it. */
export type Reach = "reached" | "cut off";

/** Asks from inside the lab's pods and remembers every answer. */
export class Checks {
  readonly all: Check[] = [];
  readonly #shell: Shell;
  readonly #probe: string;

  constructor(shell: Shell, probe: string) {
    this.#shell = shell;
    this.#probe = probe;
  }

  /**
   * Has `pod` ask `address` (`tcp A P`, `udp A P` or `ping A`) until the answer is the expected one or 10 s are over:
   * a policy takes a moment from `kubectl apply` to the kernel.
   */
  reach(what: string, pod: string, question: readonly string[], expected: Reach): Promise<void> {
    return this.#ask(what, ["kubectl", "exec", "-n", "shop", pod, "--"], question, expected);
  }

  /** The same from outside of the cluster: from the network namespace that is the lab's physical network. */
  reachFromOutside(what: string, netns: string, question: readonly string[], expected: Reach): Promise<void> {
    return this.#ask(what, ["nsenter", `--net=${netns}`], question, expected);
  }

  async #ask(
    what: string,
    from: readonly string[],
    question: readonly string[],
    expected: Reach,
  ): Promise<void> {
    let got: Reach = "cut off";
    const [command = "", ...args] = [...from, this.#probe, ...question, "--timeout", "700"];
    const settled = async (): Promise<boolean> => {
      got = (await this.#shell.try(command, args)).code === 0 ? "reached" : "cut off";
      return got === expected;
    };
    await waitFor(settled, { timeoutMs: 10_000, everyMs: 100, what }).catch(() => undefined);
    this.record(what, expected, got);
  }

  /** Notes one comparison. */
  record(what: string, expected: string, got: string): void {
    this.all.push({ what, expected, got, ok: expected === got });
  }

  /** The closing table. */
  table(): string {
    const width = Math.max(...this.all.map((c) => c.what.length));
    const line = (c: Check) =>
      `  ${c.ok ? "ok    " : "FAILED"}  ${c.what.padEnd(width)}  ${c.got}${c.ok ? "" : ` (expected: ${c.expected})`}`;
    return this.all.map(line).join("\n");
  }

  get failed(): number {
    return this.all.filter((c) => !c.ok).length;
  }
}
