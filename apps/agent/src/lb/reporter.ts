import type { EventRecorder } from "@axoneme/kube";
import type { Owner, OwnerKind, Problem } from "@axoneme/loadbalancer";

/** Finds the uid of an object, for events; undefined when it is gone. */
export type UidOf = (kind: OwnerKind, namespace: string, name: string) => string | undefined;

const apiVersions: Readonly<Record<OwnerKind, string>> = {
  Service: "v1",
  Pod: "v1",
  CiliumLocalRedirectPolicy: "cilium.io/v2",
};

/** What the events are recorded with: those every node would write alike, and those of this node alone. */
export interface ProblemEvents {
  readonly shared: Pick<EventRecorder, "record">;
  readonly own: Pick<EventRecorder, "record">;
}

/**
 * Tells people about Services that are not programmed as they ask: as Kubernetes events on the object, when a problem
 * comes and when the last one has gone. What follows from the object alone is the same on every node and is one event.
 */
export class ProblemReporter {
  readonly #events: ProblemEvents;
  readonly #uidOf: UidOf;
  readonly #told = new Map<string, ReadonlySet<string>>();
  readonly #refused = new Map<string, Owner>();

  constructor(events: ProblemEvents, uidOf: UidOf) {
    this.#events = events;
    this.#uidOf = uidOf;
  }

  /** What the compiler finds wrong with an object now; nothing: all is well. */
  compiled(owner: Owner, problems: readonly Problem[]): void {
    const texts = new Set(
      problems.map(({ port, reason }) => (port === "" ? reason : `port ${port}: ${reason}`)),
    );
    const before = this.#told.get(owner.text) ?? new Set();
    for (const text of texts) {
      if (!before.has(text)) this.#say(this.#events.shared, owner, "Warning", "NotProgrammed", text);
    }
    if (before.size > 0 && texts.size === 0)
      this.#say(this.#events.shared, owner, "Normal", "Programmed", "everything it asks for is programmed");
    if (texts.size === 0) this.#told.delete(owner.text);
    else this.#told.set(owner.text, texts);
  }

  /** The objects whose rows the kernel of this node refuses now, with the reason. */
  refused(failures: ReadonlyMap<string, { readonly owner: Owner; readonly error: string }>): void {
    for (const [text, { owner, error }] of failures) {
      if (this.#refused.has(text)) continue;
      this.#refused.set(text, owner);
      this.#say(this.#events.own, owner, "Warning", "WriteFailed", `its rows could not be written: ${error}`);
    }
    for (const [text, owner] of this.#refused) {
      if (failures.has(text)) continue;
      this.#refused.delete(text);
      this.#say(this.#events.own, owner, "Normal", "Written", "its rows are in the kernel again");
    }
  }

  /** Something of this node is in a Service's way, for instance a port that another process has. */
  local(owner: Owner, reason: string, message: string): void {
    this.#say(this.#events.own, owner, "Warning", reason, message);
  }

  #say(
    events: Pick<EventRecorder, "record">,
    { kind, namespace, name }: Owner,
    type: "Normal" | "Warning",
    reason: string,
    message: string,
  ): void {
    const uid = this.#uidOf(kind, namespace, name);
    // An object that is gone needs no word.
    if (uid === undefined) return;
    events.record({ apiVersion: apiVersions[kind], kind, namespace, name, uid }, type, reason, message);
  }
}
