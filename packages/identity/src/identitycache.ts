import { AxonError, Emitter } from "@axoneme/base";
import { identityKey, type Labels, labelKeys } from "./labels.ts";
import { clusterScope, reservedIdentities } from "./reserved.ts";

/** A numeric identity and the labels it stands for. */
export interface Identity {
  id: number;
  labels: Labels;
}

/** `labels` absent = the identity is gone. Labels of a number never change while it lives. */
export interface IdentityChange {
  id: number;
  labels: Labels | undefined;
}

/** The part of a CiliumIdentity object that matters here. */
export interface IdentityObject {
  metadata?: { name?: string | undefined } | undefined;
  "security-labels"?: { readonly [key: string]: string } | undefined;
}

export interface IdentityCacheOptions {
  /** Where in the range, [0, 1), the search for a free number begins; default: by a hash of the labels. */
  startAt?: (key: string) => number;
  /** Range of numbers to choose from (default 256..65535). */
  range?: { first: number; last: number };
}

/**
 * What is known of the cluster's identities: numbers and labels as learned from CiliumIdentity objects, plus
 * the reserved ones. It also chooses numbers for new ones; creating the object is the caller's:
 *
 *     id = cache.lookup(labels) ?? cache.propose(labels)
 *     create the object -> created: cache.upsert(id, labels); name taken: cache.reject(id), propose again
 *
 * Callers pass the labels that are relevant to identity, already filtered (`LabelFilter`).
 */
export class IdentityCache {
  readonly changes = new Emitter<IdentityChange>();
  readonly #range: { first: number; last: number };
  readonly #startAt: (key: string) => number;
  readonly #byId = new Map<number, { labels: Labels; key: string }>();
  readonly #byKey = new Map<string, Set<number>>();
  /** Numbers that are in somebody's hands though no object has been seen: proposed, or refused by the API. */
  readonly #held = new Map<number, string | undefined>();

  constructor(options: IdentityCacheOptions = {}) {
    this.#range = options.range ?? clusterScope;
    this.#startAt = options.startAt ?? hashFraction;
    for (const { id, labels } of reservedIdentities()) this.#insert(id, labels);
  }

  get size(): number {
    return this.#byId.size;
  }

  get(id: number): Identity | undefined {
    const entry = this.#byId.get(id);
    return entry && { id, labels: entry.labels };
  }

  *all(): Generator<Identity> {
    for (const [id, { labels }] of this.#byId) yield { id, labels };
  }

  /** The number of these labels. When two agents made one each, the lower: every node then picks the same. */
  lookup(labels: Labels): number | undefined {
    const ids = this.#byKey.get(identityKey(labels));
    return ids === undefined ? undefined : Math.min(...ids);
  }

  /** Notes an identity (object seen or created). Other labels under a known number replace it. */
  upsert(id: number, labels: Labels): void {
    this.#held.delete(id);
    const known = this.#byId.get(id);
    if (known?.key === identityKey(labels)) return;
    if (known !== undefined) this.delete(id);
    this.#insert(id, labels);
    this.changes.emit({ id, labels });
  }

  #insert(id: number, labels: Labels): void {
    const key = identityKey(labels);
    this.#byId.set(id, { labels, key });
    const ids = this.#byKey.get(key) ?? new Set();
    ids.add(id);
    this.#byKey.set(key, ids);
  }

  /** Forgets an identity (object deleted). */
  delete(id: number): void {
    const entry = this.#byId.get(id);
    if (entry === undefined) return;
    this.#byId.delete(id);
    const ids = this.#byKey.get(entry.key);
    ids?.delete(id);
    if (ids?.size === 0) this.#byKey.delete(entry.key);
    this.changes.emit({ id, labels: undefined });
  }

  /**
   * Chooses a free number by the labels and holds it: agents that meet the same new labels at the same moment choose
   * the same number, so that one creates it and the others find it taken, by these very labels. The same labels get
   * the same proposal until it is rejected or seen. Throws `identity.exhausted`.
   */
  propose(labels: Labels): number {
    const key = identityKey(labels);
    for (const [id, forKey] of this.#held) if (forKey === key) return id;
    const { first, last } = this.#range;
    const count = last - first + 1;
    const start = Math.floor(this.#startAt(key) * count);
    for (let i = 0; i < count; i++) {
      const id = first + ((start + i) % count);
      if (this.#byId.has(id) || this.#held.has(id)) continue;
      this.#held.set(id, key);
      return id;
    }
    throw new AxonError(
      "identity.exhausted",
      `all ${count} identities (${first}..${last}) are in use; exclude labels that differ from pod to pod`,
    );
  }

  /** The API refused a proposed number: somebody else has it. It is not proposed again. */
  reject(id: number): void {
    if (!this.#byId.has(id)) this.#held.set(id, undefined);
  }

  /** Gives a held number back: creation failed for another reason, or is not wanted any more. */
  release(id: number): void {
    this.#held.delete(id);
  }

  /** Brings the cache to exactly these cluster identities: a resync. Reserved ones stay. */
  replaceAll(identities: Iterable<Identity>): void {
    const keep = new Set<number>();
    for (const { id, labels } of identities) {
      keep.add(id);
      this.upsert(id, labels);
    }
    const { first, last } = this.#range;
    for (const id of [...this.#byId.keys()]) if (id >= first && id <= last && !keep.has(id)) this.delete(id);
  }
}

/** The CiliumIdentity object of an identity. */
export function identityObject(id: number, labels: Labels) {
  const namespace = labels[`k8s:${labelKeys.namespace}`];
  return {
    apiVersion: "cilium.io/v2",
    kind: "CiliumIdentity",
    metadata: {
      name: String(id),
      labels: namespace === undefined ? {} : { [labelKeys.namespace]: namespace },
    },
    "security-labels": { ...labels },
  };
}

/** Reads a CiliumIdentity object. Throws `identity.object` when its name is no number of 24 bits. */
export function parseIdentityObject(object: IdentityObject): Identity {
  const name = object.metadata?.name ?? "";
  const id = Number(name);
  if (!/^[1-9][0-9]{0,7}$/.test(name) || id > 0xff_ffff) {
    throw new AxonError(
      "identity.object",
      `CiliumIdentity "${name}" is not named by a number of 1..16777215`,
    );
  }
  return { id, labels: { ...object["security-labels"] } };
}

/** FNV-1a over the text, as a fraction of 2^32. */
function hashFraction(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193) >>> 0;
  return hash / 2 ** 32;
}
