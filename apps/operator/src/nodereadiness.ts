import type { HealthReporter, Module } from "@axoneme/app";
import { errorText, type Logger } from "@axoneme/base";
import { type KubeClient, ListWatch, type Pod, resources } from "@axoneme/kube";
import { tolerate } from "./identitygc.ts";
import type { OperatorConfig } from "./options.ts";
import type { Sources } from "./sources.ts";
import { WorkQueue } from "./workqueue.ts";

/** What is known of an agent's pod. */
interface AgentRow {
  readonly node: string;
  readonly isReady: boolean;
}

interface Surroundings {
  readonly client: KubeClient;
  readonly sources: Sources;
  readonly log: Logger;
  readonly signal: AbortSignal;
}

type Options = Pick<
  OperatorConfig,
  | "removeNodeTaints"
  | "agentNotReadyTaintKey"
  | "setNodeNetworkStatus"
  | "agentPodNamespace"
  | "agentPodSelector"
>;

/**
 * Lets pods onto a node once its agent can serve them: takes away the taint by which those who make nodes keep pods off
 * until then, and says that the network is there. An agent that is not ready later changes nothing: the pods that are
 * there are served by what is in the kernel, and new ones wait for it.
 */
export class NodeReadiness implements Module {
  readonly name = "node-readiness";
  readonly #around: Surroundings;
  readonly #options: Options;
  readonly #queue: WorkQueue;
  readonly #agents: ListWatch<Pod, AgentRow>;
  #off: () => void = () => undefined;
  #health: HealthReporter | undefined;

  constructor(around: Surroundings, options: Options) {
    this.#around = around;
    this.#options = options;
    this.#queue = new WorkQueue(
      (node) => this.#settle(node),
      (node, error) => this.#failed(node, error),
      4,
    );
    this.#agents = new ListWatch(around.client, resources.pods, {
      log: around.log,
      namespace: options.agentPodNamespace,
      labelSelector: options.agentPodSelector,
      trim: agentRow,
    });
  }

  start(health: HealthReporter): void {
    this.#health = health;
    const look = ({ node }: AgentRow): void => this.#queue.add(node);
    this.#agents.start({ onAdd: look, onUpdate: look });
    this.#off = this.#around.sources.onNode.on((node) => this.#queue.add(node));
  }

  async stop(): Promise<void> {
    this.#off();
    await Promise.all([this.#queue.stop(), this.#agents.stop()]);
  }

  async #settle(node: string): Promise<void> {
    const { removeNodeTaints, agentNotReadyTaintKey: key, setNodeNetworkStatus } = this.#options;
    const row = this.#around.sources.nodes.store.get(node);
    if (row === undefined || !this.#hasReadyAgent(node)) return;
    if (setNodeNetworkStatus && row.networkUnavailable !== "False") await this.#say(node);
    if (removeNodeTaints && row.taints.includes(key)) await this.#removeTaint(node, key);
    this.#health?.ok();
  }

  #hasReadyAgent(node: string): boolean {
    return [...this.#agents.store.values()].some((agent) => agent.node === node && agent.isReady);
  }

  /** Only this taint, and only if nobody changed the others meanwhile. */
  async #removeTaint(name: string, key: string): Promise<void> {
    const { client, signal, log } = this.#around;
    const nodes = client.resource(resources.nodes);
    const node = await nodes.find(name, { signal });
    const taints = node?.spec?.taints ?? [];
    const kept = taints.filter((taint) => taint.key !== key);
    if (kept.length === taints.length) return;
    const patch = [
      { op: "test", path: "/spec/taints", value: taints },
      { op: "replace", path: "/spec/taints", value: kept },
    ];
    await nodes.patch(name, patch, { type: "json", signal });
    log.info({ node: name, taint: key }, "the agent is ready: taint removed");
  }

  async #say(name: string): Promise<void> {
    const now = new Date().toISOString();
    const condition = {
      type: "NetworkUnavailable",
      status: "False",
      reason: "CiliumIsUp",
      message: "The agent of this node can serve pods",
      lastTransitionTime: now,
      lastHeartbeatTime: now,
    };
    const { client, signal } = this.#around;
    const patch = { status: { conditions: [condition] } };
    const options = { type: "strategic", subresource: "status", signal } as const;
    await tolerate(client.resource(resources.nodes).patch(name, patch, options));
  }

  #failed(node: string, error: unknown): void {
    this.#around.log.warn({ node, err: errorText(error) }, "the node's readiness is not told yet");
    this.#health?.degraded(`node ${node}: ${errorText(error)}`);
  }
}

function agentRow({ spec, status }: Pod): AgentRow {
  const ready = status?.conditions?.find(({ type }) => type === "Ready");
  return { node: spec?.nodeName ?? "", isReady: ready?.status === "True" };
}
