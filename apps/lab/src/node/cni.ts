import { spawn } from "node:child_process";
import { access } from "node:fs/promises";
import { join } from "node:path";
import { AxonError } from "@axoneme/base";
import { type CniErrorObject, type CniResult, parseCniError, parseCniResult } from "./cniresult.ts";

export type CniCommand = "ADD" | "DEL" | "CHECK" | "STATUS" | "GC" | "VERSION";

/** A network as a runtime reads it from /etc/cni/net.d: one or more plugins, run in this order. */
export interface CniNetwork {
  cniVersion: string;
  name: string;
  plugins: readonly ({ type: string } & Record<string, unknown>)[];
  /** Where the plugins' programs lie. */
  path: readonly string[];
  /** Plugins that make links beside the pod's must run in the node's namespace; a mere client need not. */
  runInNode: boolean;
}

/** The pod an ADD, DEL or CHECK is about. */
export interface CniAttachment {
  containerId: string;
  netns: string;
  ifname: string;
  podNamespace: string;
  podName: string;
  podUid: string;
}

/** A plugin said no, or did not speak the protocol. `cniCode` is the spec's (1..99) or the plugin's. */
export class CniError extends AxonError {
  readonly cniCode: number;

  constructor(command: CniCommand, plugin: string, error: CniErrorObject, cause?: unknown) {
    const details = error.details === undefined || error.details === "" ? "" : `: ${error.details}`;
    super("cni.failed", `CNI ${command} by ${plugin} failed (${error.code}): ${error.msg}${details}`, {
      cause,
    });
    this.cniCode = error.code;
  }
}

/** The program and arguments that run `argv` in the namespace of the node. */
export type NodeLauncher = (argv: readonly string[]) => readonly string[];

/** Runs CNI plugins by the protocol of the spec (0.4 to 1.1): environment, stdin, stdout, exit code. */
export class CniRuntime {
  readonly #network: CniNetwork;
  readonly #launch: NodeLauncher;
  readonly #timeoutMs: number;
  readonly #programs = new Map<string, string>();

  constructor(network: CniNetwork, launch: NodeLauncher, timeoutMs = 60_000) {
    this.#network = network;
    this.#launch = launch;
    this.#timeoutMs = timeoutMs;
  }

  /** Attaches a pod: each plugin gets its predecessor's result; the last one's is returned. */
  async add(attachment: CniAttachment): Promise<CniResult> {
    let previous: unknown;
    let result: CniResult | undefined;
    for (const plugin of this.#network.plugins) {
      const stdout = await this.#run("ADD", plugin, attachment, previous);
      result = parseCniResult(stdout);
      previous = JSON.parse(stdout);
    }
    if (result === undefined)
      throw new AxonError("cni.empty", `the CNI network ${this.#network.name} has no plugin`);
    return result;
  }

  /** Detaches; the spec makes it idempotent, the last plugin goes first. */
  async del(attachment: CniAttachment, previous?: CniResult): Promise<void> {
    for (const plugin of [...this.#network.plugins].reverse())
      await this.#run("DEL", plugin, attachment, previous);
  }

  /** Throws unless every plugin can serve ADD now. Networks before spec 1.1 are taken at their word. */
  async status(): Promise<void> {
    if (!this.#atLeast11()) {
      for (const plugin of this.#network.plugins) await this.#program(plugin.type);
      return;
    }
    for (const plugin of this.#network.plugins) await this.#run("STATUS", plugin);
  }

  /** Tells the plugins which attachments are still valid, so that they free all others (spec 1.1). */
  async gc(valid: readonly CniAttachment[]): Promise<void> {
    if (!this.#atLeast11()) return;
    const list = valid.map(({ containerId, ifname }) => ({ containerID: containerId, ifname }));
    for (const plugin of this.#network.plugins) {
      await this.#run("GC", { ...plugin, "cni.dev/valid-attachments": list });
    }
  }

  #atLeast11(): boolean {
    const [major = 0, minor = 0] = this.#network.cniVersion.split(".").map(Number);
    return major > 1 || (major === 1 && minor >= 1);
  }

  async #program(type: string): Promise<string> {
    const known = this.#programs.get(type);
    if (known !== undefined) return known;
    for (const dir of this.#network.path) {
      const file = join(dir, type);
      const found = await access(file).then(
        () => true,
        () => false,
      );
      if (found) {
        this.#programs.set(type, file);
        return file;
      }
    }
    throw new AxonError("cni.plugin", `the CNI plugin ${type} is not in ${this.#network.path.join(", ")}`);
  }

  async #run(
    command: CniCommand,
    plugin: { type: string } & Record<string, unknown>,
    attachment?: CniAttachment,
    previous?: unknown,
  ): Promise<string> {
    const program = await this.#program(plugin.type);
    const { name, cniVersion, path } = this.#network;
    const conf = { ...plugin, name, cniVersion, ...(previous === undefined ? {} : { prevResult: previous }) };
    const argv = this.#network.runInNode ? this.#launch([program]) : [program];
    const env = { PATH: process.env["PATH"] ?? "", ...cniEnvironment(command, path, attachment) };
    const outcome = await execute(argv, env, JSON.stringify(conf), this.#timeoutMs);
    if (outcome.code === 0) return outcome.stdout;
    const failure = parseCniError(outcome.stdout) ?? {
      code: 100,
      msg: `exit status ${outcome.code ?? outcome.signal}`,
      details: outcome.stderr.trim().slice(-500),
    };
    throw new CniError(command, plugin.type, failure);
  }
}

/** The variables of the protocol. */
function cniEnvironment(
  command: CniCommand,
  path: readonly string[],
  attachment?: CniAttachment,
): Record<string, string> {
  const env: Record<string, string> = { CNI_COMMAND: command, CNI_PATH: path.join(":") };
  if (attachment === undefined) return env;
  const { containerId, netns, ifname, podNamespace, podName, podUid } = attachment;
  const args = [
    "IgnoreUnknown=1",
    `K8S_POD_NAMESPACE=${podNamespace}`,
    `K8S_POD_NAME=${podName}`,
    `K8S_POD_INFRA_CONTAINER_ID=${containerId}`,
    `K8S_POD_UID=${podUid}`,
  ];
  return {
    ...env,
    CNI_CONTAINERID: containerId,
    CNI_NETNS: netns,
    CNI_IFNAME: ifname,
    CNI_ARGS: args.join(";"),
  };
}

interface Outcome {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

function execute(
  argv: readonly string[],
  env: Record<string, string>,
  stdin: string,
  timeoutMs: number,
): Promise<Outcome> {
  const [program = "", ...args] = argv;
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      env,
      stdio: ["pipe", "pipe", "pipe"],
      timeout: timeoutMs,
      killSignal: "SIGKILL",
    });
    let stdout = "";
    let stderr = "";
    child.stdout.on("data", (chunk: Buffer) => {
      stdout += chunk.toString();
    });
    child.stderr.on("data", (chunk: Buffer) => {
      stderr += chunk.toString();
    });
    // A plugin that ends without reading its input breaks the pipe; its exit status tells the story.
    child.stdin.on("error", () => undefined);
    child.on("error", (cause) => reject(new AxonError("cni.spawn", `cannot run ${program}`, { cause })));
    child.on("close", (code, signal) => resolve({ code, signal, stdout, stderr }));
    child.stdin.end(stdin);
  });
}
