import type { Logger } from "@axoneme/base";
import { isNotFound, type KubeClient, type KubeObject, ListWatch, type Resource } from "@axoneme/kube";
import { timeNow } from "./lbrows.ts";
import { WorkQueue } from "./workqueue.ts";

/** A condition without its time, which the writer keeps. */
export interface WantedCondition {
  readonly type: string;
  readonly status: "True" | "False";
  readonly reason: string;
  readonly message: string;
}

/** What an object's status should say. */
export interface WantedStatus {
  readonly conditions: readonly WantedCondition[];
  /** Fields beside the conditions. */
  readonly fields?: Readonly<Record<string, unknown>>;
}

/** The part of a status that is compared. */
interface PresentStatus {
  readonly [field: string]: unknown;
  readonly conditions?: readonly (Partial<WantedCondition> & { readonly lastTransitionTime?: string })[];
}

const fieldManager = "axoneme-operator";

/** Keeps the status of all objects of one kind at what `wanted` makes of each; a failed write is repeated. */
export class StatusWriter<T extends KubeObject> {
  readonly #around: { client: KubeClient; signal: AbortSignal };
  readonly #resource: Resource<T>;
  readonly #wanted: (object: T) => WantedStatus;
  readonly #watch: ListWatch<T>;
  readonly #queue: WorkQueue;

  constructor(
    around: { client: KubeClient; log: Logger; signal: AbortSignal },
    resource: Resource<T>,
    wanted: (object: T) => WantedStatus,
    onError: (name: string, error: unknown) => void,
  ) {
    this.#around = around;
    this.#resource = resource;
    this.#wanted = wanted;
    this.#watch = new ListWatch(around.client, resource, { log: around.log });
    this.#queue = new WorkQueue((name) => this.#write(name), onError);
  }

  /** Does not wait for the definition: what is not served has no status. */
  start(): void {
    const add = ({ metadata = {} }: T): void =>
      this.#queue.add(`${metadata.namespace ?? ""}/${metadata.name ?? ""}`);
    this.#watch.start({ onAdd: add, onUpdate: add });
  }

  async stop(): Promise<void> {
    await Promise.all([this.#watch.stop(), this.#queue.stop()]);
  }

  async #write(key: string): Promise<void> {
    const [namespace = "", name = ""] = key.split("/");
    const object = this.#watch.store.get(name, namespace === "" ? undefined : namespace);
    if (object === undefined) return;
    const present = (object as { status?: PresentStatus }).status ?? {};
    const wanted = this.#wanted(object);
    if (says(present, wanted)) return;
    const conditions = wanted.conditions.map((condition) => ({
      ...condition,
      lastTransitionTime: sinceWhen(present, condition),
    }));
    const metadata = namespace === "" ? { name } : { name, namespace };
    const next = { metadata, status: { ...wanted.fields, conditions } } as unknown as T;
    try {
      const options = { fieldManager, force: true, signal: this.#around.signal };
      await this.#around.client.resource(this.#resource).applyStatus(next, options);
    } catch (error) {
      // It went meanwhile.
      if (!isNotFound(error)) throw error;
    }
  }
}

function says(present: PresentStatus, { conditions, fields = {} }: WantedStatus): boolean {
  // Agents tell there what a policy is on their node.
  const before = (present.conditions ?? []).filter(({ type }) => !type?.startsWith("host.axoneme.io/"));
  const same = conditions.every(({ type, status, message, reason }) => {
    const condition = before.find((each) => each.type === type);
    return (
      condition?.status === status && condition.reason === reason && (condition.message ?? "") === message
    );
  });
  const few = before.length === conditions.length;
  return same && few && Object.entries(fields).every(([field, value]) => present[field] === value);
}

function sinceWhen({ conditions = [] }: PresentStatus, { type, status }: WantedCondition): string {
  const before = conditions.find((each) => each.type === type);
  return before?.status === status && before.lastTransitionTime !== undefined
    ? before.lastTransitionTime
    : timeNow();
}
