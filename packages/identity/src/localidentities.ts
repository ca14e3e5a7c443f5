import { AxonError, isV4Prefix, type Prefix, prefixKey } from "@axoneme/base";
import type { Identity } from "./identitycache.ts";
import type { Labels } from "./labels.ts";
import { cidrLabels, localScope, worldOf } from "./reserved.ts";

interface Entry extends Identity {
  prefix: Prefix;
  users: number;
}

/**
 * Identities of CIDRs and of learned addresses: node-local numbers from 0x01000001 on. Those of CIDRs are counted by use. The number of a CIDR given up is
 * used again as late as can be. A /0 is the world itself and takes no number.
 */
export class LocalIdentities {
  readonly #dualStack: boolean;
  readonly #byPrefix = new Map<string, Entry>();
  readonly #byId = new Map<number, Entry>();
  /** Those that stand for no prefix of their own. */
  readonly #minted = new Map<number, Labels>();
  #next: number = localScope.first;

  constructor(options: { dualStack: boolean }) {
    this.#dualStack = options.dualStack;
  }

  get size(): number {
    return this.#byPrefix.size + this.#minted.size;
  }

  /** The identity of a prefix, made when new; each call counts as one use. Throws `identity.exhausted`. */
  acquire(prefix: Prefix): Identity & { created: boolean } {
    const v4 = isV4Prefix(prefix);
    const labels = cidrLabels(prefix, this.#dualStack);
    if (prefix.length === (v4 ? 96 : 0)) {
      return { id: worldOf(v4, this.#dualStack).id, labels, created: false };
    }
    const known = this.#byPrefix.get(prefixKey(prefix));
    if (known !== undefined) {
      known.users++;
      return { id: known.id, labels, created: false };
    }
    const id = this.#free();
    this.#insert(prefix, id, 1);
    return { id, labels, created: true };
  }

  /** Gives back one use; the identity that nobody uses any more is forgotten and returned. */
  release(prefix: Prefix): Identity | undefined {
    const entry = this.#byPrefix.get(prefixKey(prefix));
    if (entry === undefined || --entry.users > 0) return undefined;
    this.#byPrefix.delete(prefixKey(prefix));
    this.#byId.delete(entry.id);
    return { id: entry.id, labels: entry.labels };
  }

  /** Puts back the number a prefix had before a restart, without a use. False when it cannot have it. */
  restore(prefix: Prefix, id: number): boolean {
    if (!this.#isFree(id) || this.#byPrefix.has(prefixKey(prefix))) return false;
    this.#insert(prefix, id, 0);
    if (id >= this.#next) this.#next = id + 1;
    return true;
  }

  /** A number for addresses that have these labels in common and no prefix. Throws `identity.exhausted`. */
  mint(labels: Labels): number {
    const id = this.#free();
    this.#minted.set(id, labels);
    return id;
  }

  /** Puts back a number that `mint` gave before a restart. False when it is another's. */
  remint(id: number, labels: Labels): boolean {
    if (!this.#isFree(id)) return false;
    this.#minted.set(id, labels);
    if (id >= this.#next) this.#next = id + 1;
    return true;
  }

  /** Gives up what `mint` gave. */
  retire(id: number): void {
    this.#minted.delete(id);
  }

  #isFree(id: number): boolean {
    return id >= localScope.first && id <= localScope.last && !this.#byId.has(id) && !this.#minted.has(id);
  }

  /** The labels of a number in use. */
  labelsOf(id: number): Labels | undefined {
    return this.#byId.get(id)?.labels ?? this.#minted.get(id);
  }

  /** Forgets what was restored and nobody acquired since; returns it. Call once all policies are known. */
  dropUnused(): { id: number; prefix: Prefix }[] {
    const unused = [...this.#byPrefix.values()].filter((entry) => entry.users === 0);
    for (const { prefix, id } of unused) {
      this.#byPrefix.delete(prefixKey(prefix));
      this.#byId.delete(id);
    }
    return unused.map(({ id, prefix }) => ({ id, prefix }));
  }

  get(prefix: Prefix): Identity | undefined {
    const entry = this.#byPrefix.get(prefixKey(prefix));
    return entry && { id: entry.id, labels: entry.labels };
  }

  prefixOf(id: number): Prefix | undefined {
    return this.#byId.get(id)?.prefix;
  }

  *all(): Generator<Identity> {
    for (const { id, labels } of this.#byPrefix.values()) yield { id, labels };
    for (const [id, labels] of this.#minted) yield { id, labels };
  }

  #insert(prefix: Prefix, id: number, users: number): void {
    const entry = { id, prefix, users, labels: cidrLabels(prefix, this.#dualStack) };
    this.#byPrefix.set(prefixKey(prefix), entry);
    this.#byId.set(id, entry);
  }

  #free(): number {
    const { first, last } = localScope;
    for (let i = 0; i <= last - first; i++) {
      if (this.#next > last) this.#next = first;
      const id = this.#next++;
      if (this.#isFree(id)) return id;
    }
    throw new AxonError("identity.exhausted", `all ${last - first + 1} local CIDR identities are in use`);
  }
}
