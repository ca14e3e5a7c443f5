import { type Clock, errorText, type Logger, type Timer } from "@axoneme/base";
import { type KubeClient, ListWatch, resources } from "@axoneme/kube";
import type { Lease } from "kubernetes-types/coordination/v1";
import type { Node, Pod } from "kubernetes-types/core/v1";
import { EventRecorder } from "../controllers/eventrecorder.ts";
import { condition, joinKey, keyOf, uidOf } from "../controllers/objects.ts";
import type { LabPaths } from "../lab/paths.ts";
import { type CniNetwork, CniRuntime } from "./cni.ts";
import type { LaunchSpec, NodeContext, SandboxOps } from "./context.ts";
import { FifoPool } from "./fifos.ts";
import { type NodeFacts, nodeObject, nodeStatus } from "./heartbeat.ts";
import { nodeApi } from "./kubeapi.ts";
import { KubeletServer } from "./kubelet.ts";
import { type PodState, PodStateStore } from "./podstate.ts";
import { PodWorker } from "./podworker.ts";
import { Slots } from "./slots.ts";

export interface NodeRunnerOptions {
  node: string;
  paths: LabPaths;
  hostIps: readonly string[];
  images: Readonly<Record<string, string>>;
  network: CniNetwork;
  client: KubeClient;
  sandbox: SandboxOps;
  clock: Clock;
  log: Logger;
  launch(spec: LaunchSpec): readonly string[];
  /** Pods that are set up at the same time (default 8). */
  parallel?: number;
  /** How long the cluster holds a silent node for alive (default 40 s): it is heard from four times as often. */
  graceMs?: number;
  /** Whether the pods of the node are this runner's business (default), or somebody else's. */
  runsPods?: boolean;
}

const defaultGraceMs = 40_000;
const longestLeaseMs = 10_000;
const networkEveryMs = 5_000;
/** While the network is not ready, it is asked more often: the first pods wait for it. */
const networkImpatienceMs = 250;
/** A ready network must fail for so long before the node is called not ready. */
const networkPatienceMs = 15_000;
const gcEveryMs = 300_000;

/** A node's kubelet: registers it, keeps it alive, runs the pods bound to it, serves logs and exec. */
export class NodeRunner {
  readonly #options: NodeRunnerOptions;
  readonly #context: NodeContext;
  readonly #workers = new Map<string, PodWorker>();
  /** Pods of a former runner that have not been taken over yet. */
  readonly #left = new Map<string, PodState>();
  readonly #watch: ListWatch<Pod>;
  readonly #kubelet: KubeletServer;
  #networkProblem: string | undefined = "the network plugin has not been asked yet";
  #failingSince: number | undefined;
  #timers: Timer[] = [];
  #stopped = false;

  constructor(options: NodeRunnerOptions) {
    this.#options = options;
    const { node, paths, client, log } = options;
    const netns = paths.netns(node);
    const cgroup = paths.nodeCgroup(node);
    const inNode = (argv: readonly string[]): readonly string[] =>
      options.launch({ netns, cgroup: `${cgroup}/cni`, argv });
    this.#context = {
      node,
      paths,
      netns,
      cgroup,
      hostIps: options.hostIps,
      images: options.images,
      api: nodeApi(client, new EventRecorder(client, "kubelet", log, node)),
      cni: new CniRuntime(options.network, inNode),
      sandbox: options.sandbox,
      states: new PodStateStore(paths.pods),
      fifos: new FifoPool(`${paths.nodeDir(node)}/fifos`),
      slots: new Slots(options.parallel ?? 8),
      clock: options.clock,
      log,
      launch: options.launch,
    };
    this.#watch = new ListWatch(client, resources.pods, { fieldSelector: `spec.nodeName=${node}`, log });
    this.#kubelet = new KubeletServer(this.#context, {
      find: (namespace, name) => this.#find(namespace, name),
    });
  }

  get socketPath(): string {
    return `${this.#context.paths.nodeDir(this.#context.node)}/kubelet.sock`;
  }

  /** Takes over pods of a former runner, registers the node, and begins. Returns once the pods are listed. */
  async start(): Promise<void> {
    await this.#kubelet.listen(this.socketPath);
    await this.#register();
    for (const state of this.#context.states.load(this.#context.node)) this.#left.set(state.uid, state);
    const leaseEveryMs = Math.min(longestLeaseMs, (this.#options.graceMs ?? defaultGraceMs) / 4);
    this.#repeat(leaseEveryMs, () => this.#signOfLife());
    this.#watchNetwork();
    if (this.#options.runsPods === false) return;
    this.#repeat(gcEveryMs, () => this.#collectGarbage());
    this.#watch.start({
      onAdd: (pod) => this.#seen(pod),
      onUpdate: (pod) => this.#seen(pod),
      onDelete: (pod) => this.#workers.get(uidOf(pod))?.remove(),
    });
    await this.#watch.synced;
    // What nobody asked for lost its object while no runner was there: end it, the API knows already.
    for (const state of this.#left.values()) this.#adopt(state.pod, state).remove();
    this.#left.clear();
  }

  /** Stops watching; pods keep running and the next runner takes them over. */
  async stop(): Promise<void> {
    this.#stopped = true;
    for (const timer of this.#timers) timer.cancel();
    await this.#watch.stop();
    for (const worker of this.#workers.values()) worker.stop();
    await this.#kubelet.close();
  }

  #find(namespace: string, name: string): PodWorker | undefined {
    for (const worker of this.#workers.values()) {
      if (keyOf(worker.pod) === joinKey(namespace, name)) return worker;
    }
    return undefined;
  }

  #seen(pod: Pod): void {
    const known = this.#workers.get(uidOf(pod));
    if (known !== undefined) {
      known.update(pod);
      return;
    }
    const state = this.#left.get(uidOf(pod));
    this.#left.delete(uidOf(pod));
    this.#adopt(pod, state).wake();
  }

  #adopt(pod: Pod, state?: PodState): PodWorker {
    const worker = new PodWorker(this.#context, pod, () => this.#workers.delete(uidOf(pod)), state);
    this.#workers.set(uidOf(pod), worker);
    return worker;
  }

  // --- the node object ---

  #facts(): NodeFacts {
    return {
      name: this.#context.node,
      ips: this.#context.hostIps,
      kubeletSocket: this.socketPath,
      networkProblem: this.#networkProblem,
      images: Object.keys(this.#context.images),
      now: this.#context.clock.now(),
    };
  }

  async #register(): Promise<void> {
    const nodes = this.#options.client.resource(resources.nodes);
    const wanted = nodeObject(this.#facts());
    const existing = await nodes.find(this.#context.node);
    if (existing === undefined) await nodes.create(wanted);
    else {
      await nodes.patch(this.#context.node, { metadata: { ...wanted.metadata } });
      // A former runner knew the network to be ready; that holds until the plugin says otherwise.
      if (condition(existing.status?.conditions, "Ready")?.status === "True")
        this.#networkProblem = undefined;
    }
    await this.#writeStatus();
    await this.#renewLease();
  }

  async #writeStatus(): Promise<void> {
    const nodes = this.#options.client.resource(resources.nodes);
    const stored: Node | undefined = await nodes.find(this.#context.node);
    if (stored === undefined) return this.#register();
    const status = nodeStatus(this.#facts(), stored.status);
    await nodes.patch(this.#context.node, { status }, { subresource: "status" });
    const was = condition(stored.status?.conditions, "Ready")?.status;
    const is = condition(status.conditions, "Ready")?.status;
    if (was !== is) {
      const reason = is === "True" ? "NodeReady" : "NodeNotReady";
      const about: Node = { ...stored, apiVersion: "v1", kind: "Node" };
      this.#context.api.event(about, "Normal", reason, `Node ${this.#context.node} status is now: ${reason}`);
    }
  }

  /** Who was silent for too long has been called lost: a kubelet that is back says what is so. */
  async #signOfLife(): Promise<void> {
    await this.#renewLease();
    const stored = await this.#options.client.resource(resources.nodes).find(this.#context.node);
    if (condition(stored?.status?.conditions, "Ready")?.status === "Unknown") await this.#writeStatus();
  }

  async #renewLease(): Promise<void> {
    const leases = this.#options.client.resource(resources.leases);
    const renewTime = new Date(this.#context.clock.now()).toISOString().replace(/Z$/, "000Z");
    const namespace = "kube-node-lease";
    const name = this.#context.node;
    if ((await leases.find(name, { namespace })) !== undefined) {
      await leases.patch(name, { spec: { renewTime } }, { namespace });
      return;
    }
    const lease: Lease = {
      apiVersion: "coordination.k8s.io/v1",
      kind: "Lease",
      metadata: { name, namespace },
      spec: { holderIdentity: name, leaseDurationSeconds: 40, renewTime },
    };
    await leases.create(lease);
  }

  #watchNetwork(): void {
    const again = (): void => {
      if (this.#stopped) return;
      const calm = this.#networkProblem === undefined && this.#failingSince === undefined;
      const timer = this.#context.clock.setTimer(calm ? networkEveryMs : networkImpatienceMs, () => {
        this.#timers = this.#timers.filter((entry) => entry !== timer);
        void this.#askNetwork().finally(again);
      });
      this.#timers.push(timer);
    };
    // At once, but not waited for: a plugin may take its time while its agent starts.
    void this.#askNetwork().finally(again);
  }

  async #askNetwork(): Promise<void> {
    const before = this.#networkProblem;
    const problem = await this.#context.cni.status().then(
      () => undefined,
      (error: unknown) => errorText(error),
    );
    if (problem === undefined) this.#failingSince = undefined;
    else this.#failingSince ??= this.#context.clock.now();
    // An agent that restarts is away for a moment: the node's pods work on, and must stay in their services.
    const isPatient = before === undefined && problem !== undefined;
    if (isPatient && this.#context.clock.now() - (this.#failingSince ?? 0) < networkPatienceMs) return;
    this.#networkProblem = problem;
    if (problem === before) return;
    await this.#writeStatus().catch((error: unknown) => {
      this.#networkProblem = before;
      this.#context.log.warn({ err: errorText(error) }, "the node's status could not be written");
    });
  }

  async #collectGarbage(): Promise<void> {
    const valid = [...this.#workers.values()].flatMap((worker) => worker.attachment ?? []);
    await this.#context.cni.gc(valid);
    await this.#writeStatus();
  }

  #repeat(everyMs: number, task: () => Promise<void>): void {
    const again = (): void => {
      if (this.#stopped) return;
      const timer = this.#context.clock.setTimer(everyMs, () => {
        this.#timers = this.#timers.filter((entry) => entry !== timer);
        void task()
          .catch((error: unknown) => this.#context.log.warn({ err: errorText(error) }, "a node duty failed"))
          .finally(again);
      });
      this.#timers.push(timer);
    };
    again();
  }
}
