import type { KubeObject } from "./resources.ts";

/** A change of one object, after the store has taken it. */
export type Change<S> =
  | { type: "add"; key: string; value: S }
  | { type: "update"; key: string; value: S; previous: S }
  | { type: "delete"; key: string; value: S };

interface Entry<S> {
  uid: string;
  resourceVersion: string;
  value: S;
}

/** Reads of a {@link ListWatch}'s copy. Objects are shared: do not change them. */
export interface StoreReader<S> {
  readonly size: number;
  /** By name; namespaced objects by namespace and name. */
  get(name: string, namespace?: string): S | undefined;
  /** By the key of {@link objectKey}. */
  byKey(key: string): S | undefined;
  keys(): IterableIterator<string>;
  values(): IterableIterator<S>;
}

/** "namespace/name", or "name" for objects without a namespace. */
export function objectKey(name: string, namespace?: string): string {
  return namespace ? `${namespace}/${name}` : name;
}

/** The key of an object as it came from the server. */
export function keyOf(object: KubeObject): string {
  return objectKey(object.metadata?.name ?? "", object.metadata?.namespace);
}

/**
 * Orders two resourceVersions: negative, 0, positive; undefined where they are no numbers. Kubernetes declares
 * them comparable as integers of any size (KEP-5504); servers that do otherwise are left alone.
 */
export function compareVersions(a: string, b: string): number | undefined {
  if (a === b) return 0;
  if (!/^[1-9][0-9]*$/.test(a) || !/^[1-9][0-9]*$/.test(b)) return undefined;
  if (a.length !== b.length) return a.length - b.length;
  return a < b ? -1 : 1;
}

/** What an event meant for the store. */
export type Outcome<S> =
  | { kind: "changes"; changes: Change<S>[] }
  | { kind: "duplicate" }
  | { kind: "rewound" };

/** The local copy of a collection, and the arithmetic of what changed. No I/O. */
export class ObjectStore<T extends KubeObject, S> implements StoreReader<S> {
  readonly #trim: (object: T) => S;
  #entries = new Map<string, Entry<S>>();

  constructor(trim: (object: T) => S) {
    this.#trim = trim;
  }

  get size(): number {
    return this.#entries.size;
  }

  get(name: string, namespace?: string): S | undefined {
    return this.byKey(objectKey(name, namespace));
  }

  byKey(key: string): S | undefined {
    return this.#entries.get(key)?.value;
  }

  keys(): IterableIterator<string> {
    return this.#entries.keys();
  }

  *values(): IterableIterator<S> {
    for (const entry of this.#entries.values()) yield entry.value;
  }

  /** Takes one event of a watch. A "rewound" event (older than what we hold) changes nothing: list again. */
  take(type: "ADDED" | "MODIFIED" | "DELETED", object: T): Outcome<S> {
    const key = keyOf(object);
    const held = this.#entries.get(key);
    const order = held && compareVersions(object.metadata?.resourceVersion ?? "", held.resourceVersion);
    if (order !== undefined && order < 0) return { kind: "rewound" };
    if (type === "DELETED") return this.#remove(key, object, held);
    if (order === 0 && held?.uid === object.metadata?.uid) return { kind: "duplicate" };
    return { kind: "changes", changes: this.#put(key, this.#entryOf(object)) };
  }

  /** Starts a replacement of the whole content; feed pages, then finish. */
  replace(): Replacement<T, S> {
    let next = new Map<string, Entry<S>>();
    return {
      restart: () => {
        next = new Map();
      },
      // Trimmed at once, so that a large list is never held untrimmed as a whole.
      page: (objects) => {
        for (const object of objects) {
          const key = keyOf(object);
          const held = this.#entries.get(key);
          const same =
            held?.uid === object.metadata?.uid && held?.resourceVersion === object.metadata?.resourceVersion;
          next.set(key, same && held ? held : this.#entryOf(object));
        }
      },
      finish: () => this.#swap(next),
    };
  }

  #swap(next: Map<string, Entry<S>>): Change<S>[] {
    const changes: Change<S>[] = [];
    const gone = [...this.#entries].filter(([key]) => !next.has(key));
    for (const [key, entry] of gone) {
      this.#entries.delete(key);
      changes.push({ type: "delete", key, value: entry.value });
    }
    for (const [key, entry] of next) {
      if (this.#entries.get(key) !== entry) changes.push(...this.#put(key, entry));
    }
    return changes;
  }

  #entryOf(object: T): Entry<S> {
    const { uid = "", resourceVersion = "" } = object.metadata ?? {};
    return { uid, resourceVersion, value: this.#trim(object) };
  }

  #put(key: string, entry: Entry<S>): Change<S>[] {
    const held = this.#entries.get(key);
    this.#entries.set(key, entry);
    if (held === undefined) return [{ type: "add", key, value: entry.value }];
    if (held.uid !== entry.uid) {
      // Deleted and made anew while we were not looking: two objects that share a name.
      return [
        { type: "delete", key, value: held.value },
        { type: "add", key, value: entry.value },
      ];
    }
    return [{ type: "update", key, value: entry.value, previous: held.value }];
  }

  #remove(key: string, object: T, held: Entry<S> | undefined): Outcome<S> {
    if (held === undefined || held.uid !== (object.metadata?.uid ?? "")) return { kind: "duplicate" };
    this.#entries.delete(key);
    return { kind: "changes", changes: [{ type: "delete", key, value: this.#entryOf(object).value }] };
  }
}

/** A replacement under way. */
export interface Replacement<T, S> {
  /** Forget the pages seen. */
  restart(): void;
  page(objects: T[]): void;
  /** Swaps the content: deletions first, then additions and updates in the order of the list. */
  finish(): Change<S>[];
}
