import { type ChildProcess, execFileSync } from "node:child_process";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { PolicyVerdict } from "@axoneme/abi";
import { AxonError, parseIp, waitFor } from "@axoneme/base";
import { builtFile, Netlink } from "@axoneme/netlink";
import { AgentStandIn } from "../../bpf/test/dns.ts";
import { LiveCluster, type Node, type Pod } from "../../bpf/test/live.ts";
import { Proto } from "../../bpf/test/packet.ts";
import { serveNames, start } from "./programs.ts";

const proxyIps = { v4: "169.254.42.2", v6: "fd00:6178:6f6e::2" } as const;
const rules = 7;
const policyId = 1;

/** Where things run: the proxy has a CPU of its own, everything else shares the other. */
export const places = {
  proxy: { cpu: 1, priority: 10 },
  clients: { cpu: 0, priority: 10 },
  server: { cpu: 0, priority: 20 },
};

/** A node with a pod that asks, one that answers, and the proxy between them when the policy says so. */
export class Scene {
  readonly asker: Pod;
  readonly server: Pod;
  readonly runDir = `/run/axdns-bench-${process.pid}`;
  private readonly cluster: LiveCluster;
  private readonly node: Node;
  private readonly children: ChildProcess[] = [];
  private agent: AgentStandIn | undefined;
  private proxyPid = 0;

  private constructor(cluster: LiveCluster, node: Node, asker: Pod, server: Pod) {
    this.cluster = cluster;
    this.node = node;
    this.asker = asker;
    this.server = server;
  }

  static async create(): Promise<Scene> {
    const cluster = await LiveCluster.create(false);
    const [node] = cluster.nodes;
    if (node === undefined) throw new AxonError("bench.dns", "no node");
    const asker = await cluster.pod("a", node, 11, 301);
    // The agent's stand-in is this process.
    execFileSync("chrt", ["-r", "-p", "15", String(process.pid)]);
    execFileSync("taskset", ["-a", "-c", "-p", "0", String(process.pid)], { stdio: "ignore" });
    const scene = new Scene(cluster, node, asker, await cluster.pod("b", node, 12, 302));
    await scene.prepare();
    return scene;
  }

  private async prepare(): Promise<void> {
    const { node, server } = this;
    const netlink = Netlink.open({ netnsPath: node.netns });
    const { index } = await netlink.linkGet("lo");
    for (const ip of Object.values(proxyIps))
      await netlink.addrAdd({ index, prefix: { ip: parseIp(ip), length: 128 }, noDad: true });
    netlink.close();
    node.dp.configure({
      proxyPort: 10_053,
      proxyIp4: Uint8Array.from(parseIp(proxyIps.v4)),
      proxyIp6: Uint8Array.from(parseIp(proxyIps.v6)),
    });
    node.dp.policyHead(policyId, "egress", 99);
    node.dp.policyHead(policyId, "ingress", 0, PolicyVerdict.ALLOW);
    this.children.push(await serveNames({ netns: server.netns, ...places.server }, server.addresses.v4));
    await this.startProxy();
  }

  private async startProxy(): Promise<void> {
    const { node, runDir } = this;
    execFileSync("mkdir", ["-p", runDir]);
    const config = join(runDir, "config.json");
    writeFileSync(config, JSON.stringify({ runDir, bpffs: join(node.pinDir, "maps") }));
    const command = [
      process.execPath,
      "--single-threaded-gc",
      "--max-semi-space-size=64",
      builtFile("../dist/dnsproxy.mjs"),
      "--config",
      config,
    ];
    const proxy = start({ netns: node.netns, cpu: places.proxy.cpu, priority: 0 }, command);
    this.children.push(proxy);
    let log = "";
    proxy.stdout?.on("data", (bytes: Buffer) => {
      log += bytes.toString();
    });
    await waitFor(() => log.includes('"serving"'), { timeoutMs: 30_000, what: "the DNS proxy to serve" });
    this.proxyPid = proxy.pid ?? 0;
    // The thread that serves goes before those that compile and collect; all are on the one CPU.
    execFileSync("chrt", ["-r", "-p", String(places.proxy.priority), String(this.proxyPid)]);
    this.agent = await AgentStandIn.connect(runDir, { [rules]: { patterns: ["*.good.test."] } });
  }

  /** From now on queries go through the proxy, or not. */
  through(proxy: boolean): void {
    const { node, asker } = this;
    const row = { policy: policyId, dir: "egress", proto: Proto.UDP, port: 53, rule: 5 } as const;
    node.dp.policyRow(proxy ? { ...row, proxyPort: rules } : row);
    node.dp.map("ax_ct").clear();
    asker.publish(policyId);
  }

  /** CPU seconds of all threads of the proxy so far. */
  get proxyCpu(): number {
    const tasks = `/proc/${this.proxyPid}/task`;
    const ns = (task: string) => Number(readFileSync(join(tasks, task, "schedstat"), "utf8").split(" ")[0]);
    return readdirSync(tasks).reduce((sum, task) => sum + ns(task), 0) / 1e9;
  }

  /** Resident memory of the proxy, MiB. */
  get proxyMemory(): number {
    const kib = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${this.proxyPid}/status`, "utf8"))?.[1];
    return Number(kib) / 1024;
  }

  /** Forgets what was heard, which would grow. */
  rest(): void {
    this.agent?.heard.splice(0);
  }

  async close(): Promise<void> {
    this.agent?.close();
    for (const child of this.children) child.kill("SIGKILL");
    await this.cluster.close();
    execFileSync("rm", ["-rf", this.runDir]);
  }
}
