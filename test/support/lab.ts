import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { AxonError, waitFor } from "@axoneme/base";
import { findCgroup2 } from "@axoneme/bpf";
import { KubeClient, type KubeObject, loadKubeconfig, type Pod, resources } from "@axoneme/kube";
import { type LabPaths, type LabUpOptions, labDown, labNames, labPaths, labUp } from "@axoneme/lab";
import { AgentApi } from "./agent.ts";
import { built, type CommandOptions, type Outcome, Running, root, run } from "./command.ts";

/** A place from which packets can be sent: a pod, a node or the world outside. */
export interface Place {
  readonly name: string;
  /** Path of its network namespace. */
  readonly netns: string;
  /** A cgroup of its node; processes outside it are balanced per packet in place of at connect. */
  readonly cgroup: string | undefined;
  readonly v4: string;
  readonly v6: string;
}

export interface TestPod extends Place {
  readonly namespace: string;
  readonly node: string;
  readonly uid: string;
}

export interface PodRequest {
  readonly name: string;
  readonly node: string;
  readonly namespace?: string;
  readonly labels?: Readonly<Record<string, string>>;
  /** Default: axon-probe on `serves`. */
  readonly command?: readonly string[];
  /** Ports that axon-probe listens on, TCP and UDP; default 8080. */
  readonly serves?: readonly number[];
  readonly ports?: readonly PodPort[];
  /** Lives in the network namespace of its node. */
  readonly hostNetwork?: boolean;
  readonly serviceAccount?: string;
  /** Runs but is never ready. */
  readonly isUnready?: boolean;
  /** Seconds it may go on after its deletion; default 0. Its program must not end at SIGTERM. */
  readonly graceSeconds?: number;
}

/** A port as the container's specification has it. */
export interface PodPort {
  readonly name: string;
  readonly containerPort: number;
  readonly protocol?: string;
  readonly hostPort?: number;
  readonly hostIP?: string;
}

export const probe = built("axon-probe");
/** Where every server of the tests listens. */
export const port = "8080";

/** The addresses of what lies outside the cluster. */
export const world = { v4: "192.0.2.1", v6: "2001:db8::1" };

/** A lab with agents, and what tests do with it. */
export class TestLab {
  readonly name: string;
  readonly paths: LabPaths;
  readonly client: KubeClient;
  readonly nodes: ReadonlyMap<string, Place>;
  readonly world: Place;
  readonly #servers: Running[] = [];

  private constructor(name: string, client: KubeClient, nodes: readonly Place[]) {
    this.name = name;
    this.paths = pathsOf(name);
    this.client = client;
    this.nodes = new Map(nodes.map((node) => [node.name, node]));
    this.world = { name: "world", netns: this.paths.netns("net"), cgroup: undefined, ...world };
  }

  /** Brings a lab up on clear ground. */
  static async up(name: string, options: Omit<LabUpOptions, "name"> = {}): Promise<TestLab> {
    await clearStale();
    const paths = pathsOf(name);
    const lab = await labUp({ timeoutMs: 100_000, ...options, name });
    const client = new KubeClient(loadKubeconfig({ path: lab.kubeconfig }));
    const { items } = await client.resource(resources.nodes).list();
    const places = items.map((node): Place => {
      const ips = (node.status?.addresses ?? []).filter((a) => a.type === "InternalIP").map((a) => a.address);
      const cgroup = join(paths.nodeCgroup(node.metadata?.name ?? ""), "probes");
      return placeOf(node.metadata?.name ?? "", paths.netns(node.metadata?.name ?? ""), cgroup, ips);
    });
    return new TestLab(name, client, places);
  }

  /** Takes the lab down; for afterAll, so that it also runs when `up` or a test failed. */
  static async down(lab: TestLab | undefined, name: string): Promise<void> {
    for (const server of lab?.servers ?? []) server.kill();
    await lab?.client.close();
    await labDown({ name });
  }

  get servers(): readonly Running[] {
    return this.#servers;
  }

  node(name: string): Place {
    const found = this.nodes.get(name);
    if (found === undefined) throw new AxonError("test.node", `the lab ${this.name} has no node ${name}`);
    return found;
  }

  agent(node: string): AgentApi {
    return new AgentApi(join(this.paths.nodeDir(node), "agent.sock"));
  }

  /** The process of a node's agent, undefined between two lives. */
  agentPid(node: string): number | undefined {
    const pid = Number(readFileSync(join(this.paths.nodeDir(node), "agent.pid"), "utf8"));
    const group = join(this.paths.nodeCgroup(node), "agent/cgroup.procs");
    return readFileSync(group, "utf8").split("\n").includes(String(pid)) ? pid : undefined;
  }

  /** The process that runs a node's pods, as a kubelet does. */
  runnerPid(node: string): number {
    return Number(readFileSync(join(this.paths.nodeDir(node), "kubelet.pid"), "utf8"));
  }

  // ---- objects ----------------------------------------------------------------------------------------------------

  /** Creates or replaces objects as `kubectl apply` would. */
  async apply(...objects: readonly KubeObject[]): Promise<void> {
    for (const object of objects) {
      await this.client.resource(kindOf(object)).apply(object, { fieldManager: "test", force: true });
    }
  }

  async remove(...objects: readonly KubeObject[]): Promise<void> {
    for (const object of objects) {
      const { name = "", namespace } = object.metadata ?? {};
      await this.client.resource(kindOf(object)).deleteIfExists(name, { namespace });
    }
  }

  async namespace(name: string, labels: Readonly<Record<string, string>> = {}): Promise<void> {
    await this.apply({ apiVersion: "v1", kind: "Namespace", metadata: { name, labels: { ...labels } } });
  }

  /** Creates pods and waits until each runs, has its addresses and answers itself. */
  async pods(...requests: readonly PodRequest[]): Promise<TestPod[]> {
    await this.apply(...requests.map(podObject));
    return Promise.all(requests.map((request) => this.#untilRunning(request)));
  }

  async #untilRunning(request: PodRequest): Promise<TestPod> {
    const { name, namespace = "default" } = request;
    const pods = this.client.resource(resources.pods);
    const isServer = request.command === undefined;
    let state = "not seen";
    return waitFor(
      async () => {
        const pod = await pods.get(name, { namespace });
        state = JSON.stringify(pod.status ?? {});
        const found = this.#runningPod(pod);
        if (found === undefined) return undefined;
        if (!isServer) return found;
        const { code } = await this.probe(found, ["tcp", "127.0.0.1", String(request.serves?.[0] ?? port)]);
        return code === 0 ? found : undefined;
      },
      { timeoutMs: 60_000, everyMs: 50, what: `the pod ${namespace}/${name} to run` },
    ).catch((cause: unknown) => {
      throw new AxonError("test.pod", `the pod ${namespace}/${name} does not run: ${state}`, { cause });
    });
  }

  #runningPod(pod: Pod): TestPod | undefined {
    const { name = "", namespace = "", uid = "" } = pod.metadata ?? {};
    const ips = (pod.status?.podIPs ?? []).map((entry) => entry.ip ?? "");
    const isRunning = pod.status?.phase === "Running";
    if (!isRunning || ips.length < 2) return undefined;
    const node = pod.spec?.nodeName ?? "";
    const cgroup = join(this.paths.nodeCgroup(node), "probes");
    const netns = this.paths.netns(pod.spec?.hostNetwork === true ? node : `pod-${uid}`);
    return { ...placeOf(name, netns, cgroup, ips), namespace, node, uid };
  }

  /** Deletes a pod and waits until it is gone. */
  async deletePod(name: string, namespace = "default"): Promise<void> {
    const pods = this.client.resource(resources.pods);
    await pods.deleteIfExists(name, { namespace, gracePeriodSeconds: 0 });
    await waitFor(async () => (await pods.find(name, { namespace })) === undefined, {
      timeoutMs: 30_000,
      everyMs: 50,
      what: `the pod ${namespace}/${name} to go`,
    });
  }

  // ---- packets ----------------------------------------------------------------------------------------------------

  /** Starts axon-probe in a place. */
  start(from: Place, args: readonly string[], options: CommandOptions = {}): Running {
    const cgroup = from.cgroup === undefined ? [] : ["--cgroup", from.cgroup];
    if (from.cgroup !== undefined) mkdirSync(from.cgroup, { recursive: true });
    return new Running(built("axon-exec"), ["--netns", from.netns, ...cgroup, "--", probe, ...args], options);
  }

  /** Runs axon-probe in a place to its end. */
  probe(from: Place, args: readonly string[], options: CommandOptions = {}): Promise<Outcome> {
    return this.start(from, args, options).ended;
  }

  /** What an axon command prints as JSON about this lab. */
  async axon(args: readonly string[]): Promise<unknown> {
    const { code, stdout, stderr } = await this.axonRun(args);
    if (code !== 0) throw new AxonError("test.axon", `axon ${args.join(" ")}: ${stderr}`);
    return JSON.parse(stdout) as unknown;
  }

  /** Runs an axon command about this lab. */
  axonRun(args: readonly string[]): Promise<Outcome> {
    return run(join(root, "bin/axon"), [...args, "--lab", this.name]);
  }

  /** Starts a server in a place; it ends with the lab. */
  async serve(at: Place, onPort = port): Promise<void> {
    const server = this.start(at, ["serve", onPort, "--name", at.name], { timeoutMs: 3_600_000 });
    this.#servers.push(server);
    await waitFor(() => server.stdout.includes("listens"), { what: `the server of ${at.name}` });
  }

  /** Asks until an answer comes, for the time until something has spread; returns the answer. */
  async reached(from: Place, question: readonly string[], what = question.join(" ")): Promise<string> {
    let last: Outcome | undefined;
    try {
      return await waitFor(
        async () => {
          last = await this.probe(from, [...question, "--timeout", "1500"]);
          return last.code === 0 ? last.stdout : undefined;
        },
        { timeoutMs: 15_000, everyMs: 20, what: `${from.name}: ${what}` },
      );
    } catch (cause) {
      throw new AxonError("test.cut", `${from.name} does not reach ${what}: ${last?.stderr.trim()}`, {
        cause,
      });
    }
  }

  /** Asks until no answer comes, twice in a row: one lost packet is not a policy. */
  async cutOff(from: Place, question: readonly string[], what = question.join(" ")): Promise<void> {
    let silent = 0;
    await waitFor(
      async () => {
        const { code } = await this.probe(from, [...question, "--timeout", "400"]);
        silent = code === 0 ? 0 : silent + 1;
        return silent >= 2;
      },
      { timeoutMs: 15_000, everyMs: 20, what: `${from.name} to be cut off from ${what}` },
    );
  }
}

/** A lab's name for one test file: two runs at one time do not meet. */
export function labName(prefix: string): string {
  return `${prefix}-${process.pid}`;
}

/** Takes down the labs of test runs that were killed before they could. */
async function clearStale(): Promise<void> {
  for (const name of labNames()) {
    const [, pid] = /^it-[a-z-]+-(\d+)$/.exec(name) ?? [];
    if (pid === undefined || existsSync(`/proc/${pid}`)) continue;
    await labDown({ name }).catch((error: unknown) => {
      // Another file's run is taking the same one down.
      if (!(error instanceof AxonError && error.code === "lab.locked")) throw error;
    });
  }
}

/** The paths of a lab on this machine. */
export function pathsOf(lab: string): LabPaths {
  return labPaths(lab, { run: "/run/axon", cgroup2: findCgroup2(), bpffs: "/sys/fs/bpf" });
}

/** A Pod bound to its node, with the probe as its program. */
export function podObject(request: PodRequest): Pod & KubeObject {
  const { name, node, namespace = "default", labels = { app: name }, graceSeconds = 0 } = request;
  const serve = [probe, "serve", request.serves?.join(",") ?? port, "--name", name];
  // A shell that ignores SIGTERM keeps the probe alive until the grace period ends.
  const patient = ["/bin/sh", "-c", `trap "" TERM; ${serve.join(" ")}`];
  const command = request.command ?? (graceSeconds > 0 ? patient : serve);
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, namespace, labels: { ...labels } },
    spec: {
      nodeName: node,
      terminationGracePeriodSeconds: graceSeconds,
      ...(request.hostNetwork === true ? { hostNetwork: true } : {}),
      ...(request.serviceAccount === undefined ? {} : { serviceAccountName: request.serviceAccount }),
      containers: [
        {
          name: "main",
          image: "host",
          command: [...command],
          ...(request.ports === undefined ? {} : { ports: request.ports.map((entry) => ({ ...entry })) }),
          ...(request.isUnready === true
            ? { readinessProbe: { exec: { command: ["/bin/false"] }, periodSeconds: 1 } }
            : {}),
        },
      ],
    },
  };
}

function placeOf(name: string, netns: string, cgroup: string, ips: readonly string[]): Place {
  const v4 = ips.find((ip) => !ip.includes(":")) ?? "";
  const v6 = ips.find((ip) => ip.includes(":")) ?? "";
  return { name, netns, cgroup, v4, v6 };
}

function kindOf(object: KubeObject) {
  const found = Object.values(resources).find((r) => r.kind === object.kind);
  if (found === undefined) throw new AxonError("test.kind", `no resource of kind ${object.kind ?? "?"}`);
  return found as unknown as ReturnType<typeof asResource>;
}

function asResource() {
  return resources.pods as unknown as import("@axoneme/kube").Resource<KubeObject>;
}
