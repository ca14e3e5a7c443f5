import { existsSync, lstatSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { AxonError, formatIp, type Ip } from "@axoneme/base";
import { openMaps } from "@axoneme/datapath";
import { resources } from "@axoneme/kube";
import { Netlink, Netns } from "@axoneme/netlink";
import { ask } from "./agent.ts";
import { built, type Outcome, run } from "./command.ts";
import type { Place, TestLab } from "./lab.ts";

/** The Pod an attachment is for. */
export interface PodName {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
}

/** A network namespace and what the runtime calls it. */
export interface Sandbox {
  readonly id: string;
  readonly netns: string;
  readonly pod: PodName | undefined;
}

/** The result of an ADD, as the specification has it. */
export interface AddResult {
  readonly cniVersion: string;
  readonly interfaces: readonly { readonly name: string; readonly mac: string; readonly sandbox?: string }[];
  readonly ips: readonly {
    readonly address: string;
    readonly gateway?: string;
    readonly interface: number;
  }[];
  readonly routes: readonly { readonly dst: string; readonly gw?: string }[];
}

export interface CniOptions {
  readonly version?: string;
  /** Milliseconds the plugin waits for the agent. */
  readonly timeoutMs?: number;
  readonly config?: Readonly<Record<string, unknown>>;
  /** Over the protocol's variables; undefined removes one. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly stdin?: string;
}

/** Plays the container runtime against the agent of one node, with the plugin that a runtime would run. */
export class Runtime {
  readonly #lab: TestLab;
  readonly node: string;
  #next = 0;

  constructor(lab: TestLab, node: string) {
    this.#lab = lab;
    this.node = node;
  }

  /** A fresh network namespace; `lab down` removes what a test leaves. */
  async sandbox(pod?: PodName): Promise<Sandbox> {
    const id = `rt${process.pid}-${this.#next++}`;
    const netns = this.#lab.paths.netns(id);
    await Netns.create(netns, {
      sysctls: { "net.ipv6.conf.all.accept_dad": 0, "net.ipv6.conf.default.accept_dad": 0 },
    });
    return { id, netns, pod };
  }

  async discard(sandbox: Sandbox): Promise<void> {
    await Netns.delete(sandbox.netns);
  }

  /** One call of the plugin. */
  call(command: string, sandbox: Sandbox | undefined, options: CniOptions = {}): Promise<Outcome> {
    const { version = "1.1.0", timeoutMs = 30_000, config = {}, env = {} } = options;
    const socket = join(this.#lab.paths.nodeDir(this.node), "cni.sock");
    const conf = { cniVersion: version, name: "axoneme", type: "axoneme-cni", axonSocket: socket, ...config };
    const variables = { ...variablesOf(command, sandbox), AXON_CNI_TIMEOUT_MS: String(timeoutMs), ...env };
    const given = Object.entries(variables).filter(
      (entry): entry is [string, string] => entry[1] !== undefined,
    );
    return run(built("axoneme-cni"), [], {
      stdin: options.stdin ?? JSON.stringify(conf),
      env: Object.fromEntries(given),
      timeoutMs: timeoutMs + 30_000,
    });
  }

  /** ADD that must succeed. */
  async add(sandbox: Sandbox, options: CniOptions = {}): Promise<AddResult> {
    const { code, stdout, stderr } = await this.call("ADD", sandbox, options);
    if (code !== 0) throw new AxonError("test.cni", `ADD of ${sandbox.id} failed: ${stdout}${stderr}`);
    return JSON.parse(stdout) as AddResult;
  }

  /** DEL that must succeed. */
  async del(sandbox: Sandbox, options: CniOptions = {}): Promise<void> {
    const { code, stdout, stderr } = await this.call("DEL", sandbox, options);
    if (code !== 0) throw new AxonError("test.cni", `DEL of ${sandbox.id} failed: ${stdout}${stderr}`);
  }

  /** The place of a sandbox with these addresses. */
  place(sandbox: Sandbox, result: AddResult): Place {
    const ips = addressesOf(result);
    const v4 = ips.find((ip) => !ip.includes(":")) ?? "";
    const v6 = ips.find((ip) => ip.includes(":")) ?? "";
    return { name: sandbox.id, netns: sandbox.netns, cgroup: this.#lab.node(this.node).cgroup, v4, v6 };
  }
}

function variablesOf(command: string, sandbox: Sandbox | undefined): Record<string, string> {
  if (sandbox === undefined) return { CNI_COMMAND: command, CNI_PATH: built("") };
  const { pod } = sandbox;
  const args =
    pod === undefined
      ? "IgnoreUnknown=1"
      : `IgnoreUnknown=1;K8S_POD_NAMESPACE=${pod.namespace};K8S_POD_NAME=${pod.name};K8S_POD_UID=${pod.uid}`;
  return {
    CNI_COMMAND: command,
    CNI_PATH: built(""),
    CNI_CONTAINERID: sandbox.id,
    CNI_NETNS: sandbox.netns,
    CNI_IFNAME: "eth0",
    CNI_ARGS: args,
  };
}

/** The addresses of a result, without prefix lengths. */
export function addressesOf(result: AddResult): string[] {
  return result.ips.map(({ address }) => address.slice(0, address.indexOf("/")));
}

/** Everything of a node that a pod adds to and its removal must take from. */
export interface NodeState {
  readonly records: readonly string[];
  readonly endpoints: readonly string[];
  readonly rows: readonly string[];
  readonly namespaces: readonly string[];
  readonly ipcache: readonly string[];
  readonly policies: readonly string[];
  readonly links: readonly string[];
  readonly routes: readonly string[];
  readonly neighbours: readonly string[];
  readonly pins: readonly string[];
  readonly addresses: readonly string[];
  readonly ciliumEndpoints: readonly string[];
}

/** What a node holds now. */
export async function nodeState(lab: TestLab, node: string): Promise<NodeState> {
  const agent = lab.agent(node);
  const [endpoints, rows, ipcache, policies, metrics, ceps] = await Promise.all([
    agent.endpoints(),
    agent.map("endpoints"),
    agent.map("ipcache"),
    agent.map("policy"),
    ask(join(lab.paths.nodeDir(node), "agent.sock"), "/metrics"),
    lab.client.resource(resources.ciliumendpoints).list(),
  ]);
  return {
    records: readdirSync(join(lab.paths.nodeDir(node), "endpoints")).sort(),
    endpoints: endpoints.map((e) => `${e.namespace}/${e.pod} ${e.ipv4}`).sort(),
    rows: rows.rows.map((row) => String(row["ip"])).sort(),
    namespaces: namespaceRows(lab, node).map(({ ips }) => ips),
    ipcache: ipcache.rows.map((row) => `${row["prefix"]} ${row["identity"]}`).sort(),
    policies: [...new Set(policies.rows.map((row) => String(row["policy"])))].sort(),
    ...(await kernelState(lab.paths.netns(node))),
    // Which build of the programs runs does not matter here: somebody may build while the test runs.
    pins: filesBelow(lab.paths.bpffs(node))
      .map((pin) => pin.replace(/\/progs\/[0-9a-f]+\//, "/progs/<build>/"))
      .sort(),
    addresses: metrics.split("\n").filter((line) => line.startsWith("cilium_ip_addresses{")),
    ciliumEndpoints: ceps.items.map((cep) => `${cep.metadata?.namespace}/${cep.metadata?.name}`).sort(),
  };
}

/** What the socket layer knows of the pods' namespaces, by address. */
export function namespaceRows(lab: TestLab, node: string): { cookie: bigint; ips: string }[] {
  const { maps, close } = openMaps(join(lab.paths.bpffs(node), "maps"));
  try {
    return maps.netns
      .entries()
      .map(([cookie, { ip4, ip6 }]) => ({ cookie, ips: `${formatIp(ip4 as Ip)} ${formatIp(ip6 as Ip)}` }))
      .sort((a, b) => a.ips.localeCompare(b.ips));
  } finally {
    close();
  }
}

async function kernelState(netnsPath: string) {
  const netlink = Netlink.open({ netnsPath });
  try {
    const [links, routes, neighbours] = [
      await netlink.linkList(),
      await netlink.routeList(),
      await netlink.neighList(),
    ];
    const nameOf = new Map(links.map(({ index, name }) => [index, name]));
    return {
      links: links.map(({ name }) => name).sort(),
      routes: routes.flatMap(({ oif }) => nameOf.get(oif ?? 0) ?? []).sort(),
      neighbours: neighbours.map(({ index }) => nameOf.get(index) ?? "").filter((n) => n.startsWith("lxc")),
    };
  } finally {
    netlink.close();
  }
}

function filesBelow(dir: string): string[] {
  if (!existsSync(dir)) return [];
  return readdirSync(dir).flatMap((name) => {
    const path = join(dir, name);
    return lstatSync(path).isDirectory() ? filesBelow(path) : [path];
  });
}

/** Open descriptors of a process by what they are, for comparison. */
export function openFiles(pid: number): number {
  return readdirSync(`/proc/${pid}/fd`).length;
}
