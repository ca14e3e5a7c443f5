import type { HealthReporter, Module } from "@axoneme/app";
import { errorText, type Logger } from "@axoneme/base";
import {
  type CiliumClusterwideNetworkPolicy,
  type CiliumNetworkPolicy,
  isNotFound,
  type KubeClient,
  ListWatch,
  type Resource,
  resources,
} from "@axoneme/kube";
import { type Problem, parseCiliumPolicy } from "@axoneme/policy";
import { WorkQueue } from "./workqueue.ts";

type CiliumPolicy = CiliumNetworkPolicy | CiliumClusterwideNetworkPolicy;

const fieldManager = "axoneme-operator";

/**
 * Writes the condition Valid of CiliumNetworkPolicies and CiliumClusterwideNetworkPolicies: what the schema cannot
 * refuse (fields that exclude each other, selectors that make no sense) is told by `kubectl get` and `kubectl
 * describe`, with the field. It reads policies with the agents' own reader, so the two agree.
 */
export class PolicyValidity implements Module {
  readonly name = "policy-validity";
  readonly #around: { client: KubeClient; log: Logger; signal: AbortSignal };
  readonly #kinds: readonly ValidityOfKind[];
  #health: HealthReporter | undefined;

  constructor(around: { client: KubeClient; log: Logger; signal: AbortSignal }) {
    this.#around = around;
    const failed = (name: string, error: unknown): void => this.#failed(name, error);
    this.#kinds = [
      new ValidityOfKind(around, resources.ciliumnetworkpolicies, failed),
      new ValidityOfKind(around, resources.ciliumclusterwidenetworkpolicies, failed),
    ];
  }

  /** Does not wait for the definitions: where policies are not served, there is nothing to tell. */
  start(health: HealthReporter): void {
    this.#health = health;
    for (const kind of this.#kinds) kind.start();
    health.ok();
  }

  async stop(): Promise<void> {
    await Promise.all(this.#kinds.map((kind) => kind.stop()));
  }

  #failed(policy: string, error: unknown): void {
    this.#around.log.warn({ policy, err: errorText(error) }, "could not write whether a policy is valid");
    this.#health?.degraded(`validity of ${policy}: ${errorText(error)}`);
  }
}

/** The policies of one of the two kinds. */
class ValidityOfKind {
  readonly #around: { client: KubeClient; signal: AbortSignal };
  readonly #resource: Resource<CiliumPolicy>;
  readonly #watch: ListWatch<CiliumPolicy>;
  readonly #queue: WorkQueue;

  constructor(
    around: { client: KubeClient; log: Logger; signal: AbortSignal },
    resource: Resource<CiliumPolicy>,
    onError: (name: string, error: unknown) => void,
  ) {
    this.#around = around;
    this.#resource = resource;
    this.#watch = new ListWatch(around.client, resource, { log: around.log });
    this.#queue = new WorkQueue((name) => this.#tell(name), onError);
  }

  start(): void {
    const add = ({ metadata = {} }: CiliumPolicy): void =>
      this.#queue.add(`${metadata.namespace ?? ""}/${metadata.name ?? ""}`);
    this.#watch.start({ onAdd: add, onUpdate: add });
  }

  async stop(): Promise<void> {
    await Promise.all([this.#watch.stop(), this.#queue.stop()]);
  }

  async #tell(key: string): Promise<void> {
    const [namespace = "", name = ""] = key.split("/");
    const policy = this.#watch.store.get(name, namespace === "" ? undefined : namespace);
    if (policy === undefined) return;
    const { problems } = parseCiliumPolicy({ ...policy, kind: this.#resource.kind });
    const wanted = conditionOf(problems);
    const present = policy.status?.conditions?.find(({ type }) => type === "Valid");
    if (present?.status === wanted.status && (present.message ?? "") === wanted.message) return;
    const lastTransitionTime =
      present?.status === wanted.status && present.lastTransitionTime !== undefined
        ? present.lastTransitionTime
        : new Date().toISOString().replace(/\.\d+Z$/, "Z");
    const status = { conditions: [{ ...wanted, lastTransitionTime }] };
    const metadata = namespace === "" ? { name } : { name, namespace };
    try {
      const options = { fieldManager, force: true, signal: this.#around.signal };
      await this.#around.client.resource(this.#resource).applyStatus({ metadata, status }, options);
    } catch (error) {
      // It went meanwhile.
      if (!isNotFound(error)) throw error;
    }
  }
}

function conditionOf(problems: readonly Problem[]) {
  const text = problems.map(({ path, message }) => `${path}: ${message}`).join("; ");
  const invalid = problems.some(({ severity }) => severity === "invalid");
  return {
    type: "Valid",
    status: invalid ? ("False" as const) : ("True" as const),
    reason: invalid ? "InvalidPolicy" : "PolicyUnderstood",
    // Of a valid policy: what of it has no effect here.
    message: text,
  };
}
