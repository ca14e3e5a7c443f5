import { spawn } from "node:child_process";
import { AxonError, waitFor } from "@axoneme/base";
import { bedObjects } from "./objects.ts";
import type { TestBed } from "./runner.ts";
import { type Action, testNamespace } from "./scenarios.ts";

interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A lab as seen through kubectl. */
export interface Cluster {
  readonly kubeconfig: string;
  /** Path of axon-probe, which is the same in the pods of a lab. */
  readonly probe: string;
  readonly nodes: readonly [string, string];
  readonly signal: AbortSignal;
}

/** So many questions in a row without an answer are a drop: a single one may be a lost packet. */
const silentTimes = 3;

/** The test bed in a lab: everything is done with kubectl. */
export class KubectlBed implements TestBed {
  readonly #cluster: Cluster;
  readonly #addresses = new Map<string, string>();
  #isOurs = false;

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
  }

  /**
   * Starts the pods and waits for them.
   * @throws AxonError `connectivity.exists` when the namespace is somebody else's, `connectivity.kubectl`
   */
  async start(): Promise<void> {
    const made = await this.#try(["create", "namespace", testNamespace]);
    if (made.code !== 0 && /AlreadyExists/.test(made.stderr))
      throw new AxonError(
        "connectivity.exists",
        `the namespace ${testNamespace} is there already, of another run or one with --keep: kubectl delete namespace ${testNamespace}`,
      );
    this.#isOurs = true;
    await this.#write("apply", bedObjects(this.#cluster.probe, this.#cluster.nodes));
    const ready = ["wait", "--for=condition=Ready", "pod", "--all", "--timeout=30s"];
    await this.#run([...ready, "-n", testNamespace]);
    const path = "{range .items[*]}{.metadata.name} {.status.podIP}{.spec.clusterIP}{'\\n'}{end}";
    const get = ["get", "pods,services", "-n", testNamespace, "-o", `jsonpath=${path}`];
    for (const line of (await this.#run(get)).trim().split("\n")) {
      const [name = "", address = ""] = line.split(" ");
      this.#addresses.set(name, address);
    }
  }

  /** Removes the namespace and what is in it, also after an interrupt. */
  async stop(): Promise<void> {
    if (!this.#isOurs) return;
    const args = ["delete", "namespace", testNamespace, "--ignore-not-found", "--timeout=60s"];
    await this.#run(args, "", AbortSignal.timeout(70_000));
  }

  async apply(policies: readonly object[]): Promise<void> {
    if (policies.length > 0) await this.#write("apply", policies);
  }

  async remove(policies: readonly object[]): Promise<void> {
    if (policies.length === 0) return;
    const list = JSON.stringify({ apiVersion: "v1", kind: "List", items: policies });
    await this.#run(["delete", "--ignore-not-found", "-f", "-"], list, AbortSignal.timeout(30_000));
  }

  async act(action: Action): Promise<Action["expect"]> {
    const address = this.#addresses.get(action.to) ?? "";
    const question = [this.#cluster.probe, "tcp", address, "8080", "--timeout", "500"];
    const args = ["exec", "-n", testNamespace, action.from, "--", ...question];
    let last: Outcome | undefined;
    let silent = 0;
    const verdict = (): Action["expect"] | undefined => {
      if (last?.code === 0) return "reached";
      return silent > 0 ? "dropped" : undefined;
    };
    const isExpected = async (): Promise<boolean> => {
      last = await this.#try(args);
      silent = last.code !== 0 && /timed out/.test(last.stderr) ? silent + 1 : 0;
      return action.expect === "reached" ? last.code === 0 : silent >= silentTimes;
    };
    const what = `${action.from} to ${action.to}`;
    try {
      await waitFor(isExpected, { timeoutMs: 10_000, everyMs: 50, what });
    } catch (error) {
      this.#cluster.signal.throwIfAborted();
      if (!(error instanceof AxonError && error.code === "wait.timeout")) throw error;
    }
    const got = verdict();
    // Neither an answer nor silence: the question could not be put, or was refused. That says nothing of policies.
    if (got === undefined) throw failed(args, last);
    return got;
  }

  #write(verb: string, items: readonly object[]): Promise<string> {
    return this.#run([verb, "-f", "-"], JSON.stringify({ apiVersion: "v1", kind: "List", items }));
  }

  async #run(args: readonly string[], stdin = "", signal = this.#cluster.signal): Promise<string> {
    const outcome = await this.#try(args, stdin, signal);
    if (outcome.code !== 0) throw failed(args, outcome);
    return outcome.stdout;
  }

  #try(args: readonly string[], stdin = "", signal = this.#cluster.signal): Promise<Outcome> {
    return new Promise((resolve, reject) => {
      const bounded = AbortSignal.any([signal, AbortSignal.timeout(70_000)]);
      const all = ["--kubeconfig", this.#cluster.kubeconfig, ...args];
      // A group of its own: Ctrl-C at the terminal must not end the kubectl that cleans up.
      const child = spawn("kubectl", all, { signal: bounded, detached: true });
      let stdout = "";
      let stderr = "";
      child.stdout.on("data", (chunk) => {
        stdout += String(chunk);
      });
      child.stderr.on("data", (chunk) => {
        stderr += String(chunk);
      });
      child.on("error", reject);
      child.on("close", (code) => resolve({ code: code ?? 1, stdout, stderr }));
      child.stdin.on("error", () => undefined);
      child.stdin.end(stdin);
    });
  }
}

function failed(args: readonly string[], outcome: Outcome | undefined): AxonError {
  const why = outcome?.stderr.trim() || outcome?.stdout.trim() || "no answer";
  return new AxonError("connectivity.kubectl", `kubectl ${args.join(" ")}: ${why}`);
}
