import { formatPrefix, isV4Prefix, Lpm, type Prefix, prefixCovers, prefixKey } from "@axoneme/base";

/** A CIDR peer in use and the prefixes (as peer codes) it selects now. Equal peers share one. */
export interface CidrNode {
  readonly text: string;
  readonly prefix: Prefix;
  readonly except: readonly Prefix[];
  readonly items: Set<number>;
  users: number;
}

/**
 * CIDR peers and prefixes with a number, each indexed by the other. A peer selects a prefix when it
 * covers it and none of its exceptions does.
 */
export class CidrIndex {
  readonly #nodes = new Map<string, CidrNode>();
  readonly #nodesByPrefix = new Lpm<Set<CidrNode>>();
  readonly #items = new Map<number, Prefix[]>();
  readonly #itemsByPrefix = new Lpm<Set<number>>();

  /** The node of a peer, made when new; counts a user. */
  acquire(prefix: Prefix, except: readonly Prefix[]): CidrNode {
    const text = `${formatPrefix(prefix)}-${except.map(formatPrefix).sort().join()}`;
    const known = this.#nodes.get(text);
    if (known !== undefined) {
      known.users++;
      return known;
    }
    const node: CidrNode = { text, prefix, except, items: new Set(), users: 1 };
    this.#nodes.set(text, node);
    const here = this.#nodesByPrefix.get(prefix) ?? new Set();
    this.#nodesByPrefix.set(prefix, here.add(node));
    for (const { prefix: inner, value } of this.#itemsByPrefix.inside(prefix)) {
      if (covers(node, inner)) for (const id of value) node.items.add(id);
    }
    return node;
  }

  /** Gives back one use of a node. */
  release(node: CidrNode): void {
    if (--node.users > 0) return;
    this.#nodes.delete(node.text);
    const here = this.#nodesByPrefix.get(node.prefix);
    here?.delete(node);
    if (here?.size === 0) this.#nodesByPrefix.delete(node.prefix);
  }

  /** Adds an identity under the prefixes it stands for; returns the peers that select it. */
  add(id: number, prefixes: readonly Prefix[]): CidrNode[] {
    this.#items.set(id, [...prefixes]);
    const nodes = new Set<CidrNode>();
    for (const prefix of prefixes) {
      const here = this.#itemsByPrefix.get(prefix) ?? new Set();
      this.#itemsByPrefix.set(prefix, here.add(id));
      for (const node of this.#covering(prefix)) nodes.add(node);
    }
    for (const node of nodes) node.items.add(id);
    return [...nodes];
  }

  /** Removes an identity; returns the peers that selected it. */
  remove(id: number): CidrNode[] {
    const nodes = new Set<CidrNode>();
    for (const prefix of this.#items.get(id) ?? []) {
      const here = this.#itemsByPrefix.get(prefix);
      here?.delete(id);
      if (here?.size === 0) this.#itemsByPrefix.delete(prefix);
      for (const node of this.#covering(prefix)) nodes.add(node);
    }
    this.#items.delete(id);
    for (const node of nodes) node.items.delete(id);
    return [...nodes];
  }

  *#covering(prefix: Prefix): Generator<CidrNode> {
    for (const { value } of this.#nodesByPrefix.covering(prefix)) {
      for (const node of value) if (covers(node, prefix)) yield node;
    }
  }
}

function covers(node: CidrNode, prefix: Prefix): boolean {
  return prefixCovers(node.prefix, prefix) && !node.except.some((hole) => prefixCovers(hole, prefix));
}

/** Counts who needs an identity for a prefix, and tells what is needed newly or no longer. */
export class CidrNeeds {
  readonly #needs = new Map<string, { prefix: Prefix; users: number; told: boolean }>();
  readonly #changed = new Set<string>();

  /** Adds (1) or takes back (-1) a use of every prefix of a peer. */
  countNode(node: Pick<CidrNode, "prefix" | "except">, by: 1 | -1): void {
    this.count([node.prefix, ...node.except], by);
  }

  /** Adds (1) or takes back (-1) a use of prefixes. */
  count(prefixes: readonly Prefix[], by: 1 | -1): void {
    for (const prefix of prefixes.filter(isNeeded)) {
      const key = prefixKey(prefix);
      const need = this.#needs.get(key) ?? { prefix, users: 0, told: false };
      need.users += by;
      this.#needs.set(key, need);
      this.#changed.add(key);
    }
  }

  /** What is needed newly and was not told. */
  *coming(): Generator<Prefix> {
    for (const key of this.#changed) {
      const need = this.#needs.get(key);
      if (need !== undefined && need.users > 0 && !need.told) yield need.prefix;
    }
  }

  /** What is needed newly, as `take`, and leaves the rest for that. */
  takeAdded(): Prefix[] {
    const added = [...this.coming()];
    for (const key of this.#changed) {
      const need = this.#needs.get(key);
      if (need === undefined || need.users <= 0) continue;
      this.#changed.delete(key);
      need.told = true;
    }
    return added;
  }

  /** Changes since the last call. What came and went between two calls was never told. */
  take(): { added: Prefix[]; removed: Prefix[] } {
    const added: Prefix[] = [];
    const removed: Prefix[] = [];
    for (const key of this.#changed) {
      const need = this.#needs.get(key);
      if (need === undefined) continue;
      const wanted = need.users > 0;
      if (wanted && !need.told) added.push(need.prefix);
      if (!wanted && need.told) removed.push(need.prefix);
      need.told = wanted;
      if (!wanted) this.#needs.delete(key);
    }
    this.#changed.clear();
    return { added, removed };
  }

  *all(): Generator<Prefix> {
    for (const { prefix, users } of this.#needs.values()) if (users > 0) yield prefix;
  }
}

/** A /0 is the world; every other prefix must be an identity of its own. */
function isNeeded(prefix: Prefix): boolean {
  return prefix.length !== (isV4Prefix(prefix) ? 96 : 0);
}
