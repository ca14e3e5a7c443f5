import type { KubeObject, ListWatchHandlers } from "@axoneme/kube";

/**
 * Writes down what a ListWatch tells and checks each step on the way: an object is added when absent, updated
 * and deleted when present, and an update is never older than or the same as what was told before.
 */
export class Recorder<T extends KubeObject> implements ListWatchHandlers<T> {
  /** "add ns/name@version" and so on, in order. */
  readonly log: string[] = [];
  readonly problems: string[] = [];
  /** The events folded: must equal the store. */
  readonly folded = new Map<string, T>();
  synced = 0;

  onAdd = (object: T): void => {
    const key = this.#note("add", object);
    if (this.folded.has(key)) this.problems.push(`added twice: ${key}`);
    this.folded.set(key, object);
  };

  onUpdate = (object: T, previous: T): void => {
    const key = this.#note("update", object);
    const held = this.folded.get(key);
    if (held === undefined) this.problems.push(`updated but never added: ${key}`);
    if (held !== previous) this.problems.push(`previous is not what was told: ${key}`);
    if (Number(version(object)) <= Number(version(previous))) this.problems.push(`repeated or old: ${key}`);
    if (held?.metadata?.uid !== object.metadata?.uid) this.problems.push(`another object: ${key}`);
    this.folded.set(key, object);
  };

  onDelete = (object: T): void => {
    const key = this.#note("delete", object);
    if (!this.folded.delete(key)) this.problems.push(`deleted but absent: ${key}`);
  };

  onSynced = (): void => {
    this.synced++;
    this.log.push("synced");
  };

  #note(verb: string, object: T): string {
    const key = `${object.metadata?.namespace ?? ""}/${object.metadata?.name}`;
    this.log.push(`${verb} ${key}@${version(object)}`);
    return key;
  }
}

function version(object: KubeObject): string {
  return object.metadata?.resourceVersion ?? "";
}
