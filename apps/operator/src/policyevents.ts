import type { Logger } from "@axoneme/base";
import {
  apiVersionOf,
  builtinResources,
  EventRecorder,
  type KubeClient,
  type KubeObject,
  ListWatch,
  type Resource,
} from "@axoneme/kube";
import { type Problem, parseNetworkPolicy } from "@axoneme/policy";

/** Problems in one event at most: an event is a sentence. */
const namedProblems = 4;

/**
 * Tells on the object itself what of a policy selects nothing, with the field: once per change of what is wrong, not
 * with every list, and not again after a restart. For NetworkPolicies, which have no status, it is the only word.
 */
export class PolicyEvents {
  readonly #recorder: EventRecorder;
  readonly #watch: ListWatch<KubeObject>;
  /** What was said last, by kind and name. */
  readonly #told = new Map<string, string>();

  constructor({ client, log }: { client: KubeClient; log: Logger }) {
    this.#recorder = new EventRecorder(client, { component: "axoneme-operator", log });
    this.#watch = new ListWatch<KubeObject>(client, builtinResources.networkpolicies, { log });
  }

  start(): void {
    const resource = builtinResources.networkpolicies;
    const told = (object: KubeObject) => this.tell(resource, object, parseNetworkPolicy(object).problems);
    this.#watch.start({
      onAdd: told,
      onUpdate: told,
      onDelete: (object) => this.forget(resource, object),
    });
  }

  async stop(): Promise<void> {
    await this.#watch.stop();
    this.#recorder.stop();
  }

  /** Says what is wrong with an object, if that was not said before. */
  tell<T extends KubeObject>(
    resource: Resource<T>,
    { metadata = {} }: KubeObject,
    problems: readonly Problem[],
  ): void {
    const wrong = problems.filter(({ severity }) => severity !== "warning");
    const key = keyOf(resource, metadata);
    const message = textOf(wrong);
    if (message === (this.#told.get(key) ?? "")) return;
    if (message === "") {
      this.#told.delete(key);
      return;
    }
    this.#told.set(key, message);
    const { namespace = "", name = "", uid } = metadata;
    const subject = { apiVersion: apiVersionOf(resource), kind: resource.kind, namespace, name, uid };
    const isInvalid = wrong.some(({ severity }) => severity === "invalid");
    this.#recorder.record(subject, "Warning", isInvalid ? "InvalidPolicy" : "UnsupportedPolicy", message);
  }

  /** An object is gone. */
  forget<T extends KubeObject>(resource: Resource<T>, { metadata = {} }: KubeObject): void {
    this.#told.delete(keyOf(resource, metadata));
  }
}

function keyOf<T extends KubeObject>(
  { kind }: Resource<T>,
  metadata: NonNullable<KubeObject["metadata"]>,
): string {
  return `${kind}/${metadata.namespace ?? ""}/${metadata.name ?? ""}/${metadata.uid ?? ""}`;
}

function textOf(problems: readonly Problem[]): string {
  if (problems.length === 0) return "";
  const named = problems.slice(0, namedProblems).map(({ path, message }) => `${path} ${message}`);
  const more = problems.length > namedProblems ? [`and ${problems.length - namedProblems} more`] : [];
  return `selects nothing by what is not understood: ${[...named, ...more].join("; ")}`;
}
