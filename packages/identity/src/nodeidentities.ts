import { AxonError } from "@axoneme/base";
import type { Identity } from "./identitycache.ts";
import { identityKey, type Labels } from "./labels.ts";
import { nodeScope } from "./reserved.ts";

interface Entry extends Identity {
  users: number;
}

/**
 * Identities of other nodes that rules tell apart by their labels: one for each set of labels that matters, numbers of
 * this node's own choice from 0x02000001 on, counted by use. A number given up is used again as late as can be.
 */
export class NodeIdentities {
  readonly #byKey = new Map<string, Entry>();
  readonly #byId = new Map<number, Entry>();
  #next: number = nodeScope.first;

  get size(): number {
    return this.#byId.size;
  }

  /** The identity of these labels, made when new; each call counts as one use. Throws `identity.exhausted`. */
  acquire(labels: Labels): Identity {
    const known = this.#byKey.get(identityKey(labels)) ?? this.#insert(this.#free(), labels);
    known.users++;
    return { id: known.id, labels: known.labels };
  }

  /** Gives back one use; the identity that nobody uses any more is forgotten and returned. */
  release(id: number): Identity | undefined {
    const entry = this.#byId.get(id);
    if (entry === undefined || --entry.users > 0) return undefined;
    this.#byId.delete(id);
    this.#byKey.delete(identityKey(entry.labels));
    return { id, labels: entry.labels };
  }

  /** Puts back the number some labels had before a restart, without a use. False when they cannot have it. */
  restore(id: number, labels: Labels): boolean {
    const valid = Number.isInteger(id) && id >= nodeScope.first && id <= nodeScope.last;
    if (!valid || this.#byId.has(id) || this.#byKey.has(identityKey(labels))) return false;
    this.#insert(id, labels);
    if (id >= this.#next) this.#next = id + 1;
    return true;
  }

  /** Forgets what was restored and nobody acquired since; returns it. */
  dropUnused(): Identity[] {
    const unused = [...this.#byId.values()].filter(({ users }) => users === 0);
    for (const { id, labels } of unused) {
      this.#byId.delete(id);
      this.#byKey.delete(identityKey(labels));
    }
    return unused;
  }

  get(id: number): Identity | undefined {
    const entry = this.#byId.get(id);
    return entry && { id, labels: entry.labels };
  }

  *all(): Generator<Identity> {
    for (const { id, labels } of this.#byId.values()) yield { id, labels };
  }

  #insert(id: number, labels: Labels): Entry {
    const entry = { id, labels, users: 0 };
    this.#byKey.set(identityKey(labels), entry);
    this.#byId.set(id, entry);
    return entry;
  }

  #free(): number {
    const { first, last } = nodeScope;
    for (let i = 0; i <= last - first; i++) {
      if (this.#next > last) this.#next = first;
      const id = this.#next++;
      if (!this.#byId.has(id)) return id;
    }
    throw new AxonError("identity.exhausted", `all ${last - first + 1} identities of nodes are in use`);
  }
}
