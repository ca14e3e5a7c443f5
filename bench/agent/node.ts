import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { delay, parseInterfaceAddress, parseIp, waitFor } from "@axoneme/base";
import { KubeClient, loadKubeconfig, resources } from "@axoneme/kube";
import { builtFile, closeFd, launch, Netlink, Netns, openNetns } from "@axoneme/netlink";
import { labPaths } from "../../apps/lab/src/index.ts";
import type { CniSubject } from "../cni/ptp.ts";

/** Memory that has not changed for so long is at rest: a second after its start an agent gives back what loading took. */
const restSeconds = 4;

const nodeName = "bench";
/** Host part of the node's addresses in the lab's network: beyond what the lab gives its own nodes. */
const hostPart = 222;

/** What the lab writes for the agents of its own nodes. */
type AgentConfig = Readonly<Record<string, unknown>>;

/**
 * A node of a lab with an agent and nothing else: pods are objects of the API and calls of the CNI plugin, so that
 * what is measured is not a kubelet. All it makes lies where the lab's `down` looks for leftovers.
 */
export class BenchNode {
  readonly runDir: string;
  readonly netns: string;
  readonly #paths: ReturnType<typeof labPaths>;
  readonly #client: KubeClient;
  #agent: ChildProcess | undefined;

  private constructor(lab: string, cgroup2: string) {
    this.#paths = labPaths(lab, { run: "/run/axon", cgroup2, bpffs: "/sys/fs/bpf" });
    this.runDir = this.#paths.nodeDir(nodeName);
    this.netns = this.#paths.netns(nodeName);
    this.#client = new KubeClient(loadKubeconfig({ path: this.#paths.kubeconfig }));
  }

  /** Joins a lab that is up: a namespace on its bridge, a Node object, an agent's configuration. */
  static async join(lab: string, cgroup2: string): Promise<BenchNode> {
    const node = new BenchNode(lab, cgroup2);
    await node.#connect();
    await node.#register();
    node.#configure();
    return node;
  }

  /** How a container runtime would call our plugin for the pods of `createPods`. */
  get subject(): CniSubject {
    return {
      name: "axoneme",
      plugin: builtFile("bin/axoneme-cni"),
      config: {
        cniVersion: "1.1.0",
        name: "axoneme",
        type: "axoneme-cni",
        axonSocket: join(this.runDir, "cni.sock"),
      },
      args: "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=bench-{i}",
      prefix: "axon",
    };
  }

  /** Creates the objects of pods bench-0 to bench-<count - 1>, bound to this node. */
  async createPods(count: number): Promise<void> {
    const pods = this.#client.resource(resources.pods);
    const names = Array.from({ length: count }, (_, i) => `bench-${i}`);
    while (names.length > 0) {
      const some = names.splice(0, 16).map((name) =>
        pods.create({
          apiVersion: "v1",
          kind: "Pod",
          metadata: { name, namespace: "default", labels: { app: "bench" } },
          spec: { nodeName, containers: [{ name: "c", image: "host" }] },
        }),
      );
      await Promise.all(some);
    }
  }

  /** Starts the agent's process; it is not ready yet. */
  startAgent(): void {
    const cgroup = join(this.#paths.cgroup, nodeName, "agent");
    mkdirSync(cgroup, { recursive: true });
    const log = openSync(join(this.runDir, "agent.log"), "a");
    const config = join(this.runDir, "agent.json");
    const command = this.#labConfig().agentCommand.map((word) => word.replace("{{config}}", config));
    const { file, args } = launch({ netns: this.netns, cgroups: [cgroup] }, command);
    this.#agent = spawn(file, args, { stdio: ["ignore", log, log] });
    closeSync(log);
  }

  /** Ends the agent as a crash would. */
  async killAgent(): Promise<void> {
    const agent = this.#agent;
    this.#agent = undefined;
    if (!agent || agent.exitCode !== null || agent.signalCode !== null) return;
    const gone = once(agent, "exit");
    agent.kill("SIGKILL");
    await gone;
  }

  /** Removes what is pinned: the next start verifies all programs anew. Only while no agent runs. */
  unpin(): void {
    rmSync(this.#paths.bpffs(nodeName), { recursive: true, force: true });
  }

  /** Milliseconds from the start of an agent's process to the end of the first ADD, which is called at once. */
  async startToFirstAdd(): Promise<number> {
    const netns = this.#paths.netns("bench-first");
    await Netns.create(netns);
    try {
      const begin = performance.now();
      this.startAgent();
      await this.#callPlugin("ADD", netns);
      const ms = performance.now() - begin;
      await this.#callPlugin("DEL", netns);
      return ms;
    } finally {
      await Netns.delete(netns);
    }
  }

  /** CPU time the agent's process has taken so far, in milliseconds. */
  agentCpuMs(): number {
    const stat = readFileSync(`/proc/${this.#agent?.pid}/stat`, "utf8");
    // The name in brackets may hold blanks; utime and stime are fields 14 and 15, in ticks of 10 ms.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return (Number(fields[11]) + Number(fields[12])) * 10;
  }

  /** Resident memory of the agent in kilobytes, once it has stopped changing. */
  async agentMemory(): Promise<number> {
    const read = () => {
      const status = readFileSync(`/proc/${this.#agent?.pid}/status`, "utf8");
      return Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1]);
    };
    let before = read();
    let still = 0;
    for (let round = 0; round < 20 && still < restSeconds; round++) {
      await delay(1000);
      const now = read();
      still = Math.abs(now - before) < 256 ? still + 1 : 0;
      before = now;
    }
    return before;
  }

  async close(): Promise<void> {
    await this.killAgent();
    await this.#client.close();
  }

  /** What the lab was made from: its agents are started in the same way as ours. */
  #labConfig(): { number: number; agentCommand: string[] } {
    return JSON.parse(readFileSync(this.#paths.config, "utf8")) as { number: number; agentCommand: string[] };
  }

  async #connect(): Promise<void> {
    await Netns.create(this.netns, {
      sysctls: { "net.ipv4.ip_forward": 1, "net.ipv6.conf.all.forwarding": 1 },
    });
    const { number } = this.#labConfig();
    const wire = Netlink.open({ netnsPath: this.#paths.netns("net") });
    const inside = Netlink.open({ netnsPath: this.netns });
    const netnsFd = openNetns(this.netns);
    try {
      await wire.linkAdd({ kind: "veth", name: "port-bench", peer: { name: "eth0", netnsFd } });
      const bridge = await wire.linkGet("br0");
      const port = await wire.linkGet("port-bench");
      await wire.linkSet({ index: port.index, master: bridge.index, up: true });
      const { index } = await inside.linkGet("eth0");
      await inside.linkSet({ index: 1, up: true });
      await inside.linkSet({ index, up: true });
      for (const text of [`172.30.${number}.${hostPart}/24`, `fd00:172:30:${number}::${hostPart}/64`]) {
        await inside.addrAdd({ index, prefix: parseInterfaceAddress(text), noDad: true });
      }
      await inside.routeAdd({ gateway: parseIp(`172.30.${number}.1`), oif: index, family: 4 });
      await inside.routeAdd({ gateway: parseIp(`fd00:172:30:${number}::1`), oif: index, family: 6 });
    } finally {
      closeFd(netnsFd);
      wire.close();
      inside.close();
    }
  }

  /** Without a Node the lab would take the pods for lost. */
  async #register(): Promise<void> {
    await this.#client
      .resource(resources.nodes)
      .create({ apiVersion: "v1", kind: "Node", metadata: { name: nodeName } });
  }

  #configure(): void {
    mkdirSync(this.runDir, { recursive: true });
    const model = JSON.parse(
      readFileSync(join(this.#paths.nodeDir("node1"), "agent.json"), "utf8"),
    ) as AgentConfig;
    const config = {
      ...model,
      nodeName,
      runDir: this.runDir,
      bpffs: this.#paths.bpffs(nodeName),
      cgroup: join(this.#paths.cgroup, nodeName),
    };
    writeFileSync(join(this.runDir, "agent.json"), JSON.stringify(config));
  }

  async #callPlugin(command: "ADD" | "DEL", netns: string): Promise<void> {
    const env = {
      CNI_COMMAND: command,
      CNI_CONTAINERID: "bench-first",
      CNI_NETNS: netns,
      CNI_IFNAME: "eth0",
      CNI_PATH: "/opt/cni/bin",
      CNI_ARGS: "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=bench-0",
    };
    await new Promise<void>((resolve, reject) => {
      const child = execFile(this.subject.plugin, [], { env }, (error, stdout) =>
        error ? reject(new Error(`${command}: ${stdout}`, { cause: error })) : resolve(),
      );
      child.stdin?.end(JSON.stringify(this.subject.config));
    });
  }

  /** Resolves when the agent's records and CiliumEndpoints have come to rest: no ADD's work is left over. */
  async settled(endpoints: number): Promise<void> {
    const resource = this.#client.resource(resources.ciliumendpoints);
    const there = async () => (await resource.list()).items.length;
    let seen = await there();
    await waitFor(
      () => {
        void there().then((count) => {
          seen = count;
        });
        return seen === endpoints;
      },
      { timeoutMs: 60_000, everyMs: 500, what: `${endpoints} CiliumEndpoints` },
    );
  }
}
