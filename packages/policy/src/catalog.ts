import { formatPrefix, type Prefix, prefixCovers } from "@axoneme/base";
import type { Labels } from "@axoneme/identity";
import type { Effort } from "./effort.ts";
import { LabelIndex, type SelectorNode } from "./labelindex.ts";
import type { ConcretePeer } from "./rule.ts";
import { type Selector, selectorText } from "./selector.ts";

/** A peer by reference: objects of a catalog by their labels, less some prefixes. Equal references share one. */
export interface PeerRef {
  readonly text: string;
  readonly catalog: Catalog;
  readonly node: SelectorNode;
  readonly except: readonly Prefix[];
  /** What it stands for now, and how many objects say so. */
  readonly peers: Map<string, { peer: ConcretePeer; users: number }>;
  users: number;
}

/** A reference stands for other peers than before. */
export interface PeerTurn {
  readonly ref: PeerRef;
  readonly added: readonly ConcretePeer[];
  readonly removed: readonly ConcretePeer[];
}

interface Item {
  readonly id: number;
  readonly nodes: ReadonlySet<SelectorNode>;
  readonly peers: ReadonlyMap<string, ConcretePeer>;
}

/**
 * Objects that rules name instead of peers (CIDR groups, Services): each has labels and stands for some peers.
 * A change of one tells the references that name it what they gained and lost, and nobody else.
 */
export class Catalog {
  readonly #index: LabelIndex;
  readonly #items = new Map<string, Item>();
  readonly #byId = new Map<number, Item>();
  readonly #refs = new Map<string, PeerRef>();
  readonly #refsByNode = new Map<SelectorNode, Set<PeerRef>>();
  #next = 1;

  constructor(effort: Effort) {
    this.#index = new LabelIndex(effort);
  }

  get size(): number {
    return this.#items.size;
  }

  /** Whether any rule names objects of this catalog. */
  get isNamed(): boolean {
    return this.#refs.size > 0;
  }

  /** Whether a rule names an object with these labels, or would if there were one. */
  names(labels: Labels): boolean {
    return this.#index.isSelected(labels);
  }

  /** The reference of a selector, made when new; counts a user. */
  acquire(selector: Selector, except: readonly Prefix[]): PeerRef {
    const text = `${selectorText(selector)} - ${except.map(formatPrefix).sort().join()}`;
    const known = this.#refs.get(text);
    if (known !== undefined) {
      known.users++;
      return known;
    }
    const node = this.#index.acquire(selector);
    const ref: PeerRef = { text, catalog: this, node, except, peers: new Map(), users: 1 };
    this.#refs.set(text, ref);
    const refs = this.#refsByNode.get(node) ?? new Set();
    this.#refsByNode.set(node, refs.add(ref));
    for (const id of node.items) {
      for (const [key, peer] of this.#byId.get(id)?.peers ?? []) count(ref, key, peer, 1);
    }
    return ref;
  }

  /** Gives back one use of a reference. */
  release(ref: PeerRef): void {
    if (--ref.users > 0) return;
    this.#refs.delete(ref.text);
    const refs = this.#refsByNode.get(ref.node);
    refs?.delete(ref);
    if (refs?.size === 0) this.#refsByNode.delete(ref.node);
    this.#index.release(ref.node);
  }

  /** Adds an object, or replaces the one of the same key. */
  set(key: string, labels: Labels, peers: readonly ConcretePeer[]): PeerTurn[] {
    const old = this.#items.get(key);
    const id = old?.id ?? this.#next++;
    if (old !== undefined) this.#index.remove(id);
    const wanted = new Map(peers.map((peer) => [peerText(peer), peer]));
    const item: Item = { id, nodes: this.#index.add(id, labels), peers: wanted };
    this.#items.set(key, item);
    this.#byId.set(id, item);
    return this.#turns(old, item);
  }

  /** Removes an object. */
  delete(key: string): PeerTurn[] {
    const old = this.#items.get(key);
    if (old === undefined) return [];
    this.#items.delete(key);
    this.#byId.delete(old.id);
    this.#index.remove(old.id);
    return this.#turns(old, undefined);
  }

  #turns(old: Item | undefined, now: Item | undefined): PeerTurn[] {
    const gained = missingIn(now?.peers, old?.peers);
    const lost = missingIn(old?.peers, now?.peers);
    const turns: PeerTurn[] = [];
    const turn = (node: SelectorNode, plus: readonly Entry[], minus: readonly Entry[]): void => {
      for (const ref of this.#refsByNode.get(node) ?? []) {
        const added = plus.flatMap(([key, peer]) => count(ref, key, peer, 1));
        const removed = minus.flatMap(([key, peer]) => count(ref, key, peer, -1));
        if (added.length + removed.length > 0) turns.push({ ref, added, removed });
      }
    };
    for (const node of now?.nodes ?? []) {
      if (old?.nodes.has(node)) turn(node, gained, lost);
      else turn(node, [...(now?.peers ?? [])], []);
    }
    for (const node of old?.nodes ?? []) if (!now?.nodes.has(node)) turn(node, [], [...(old?.peers ?? [])]);
    return turns;
  }
}

type Entry = readonly [key: string, peer: ConcretePeer];

/** Counts an object that stands for a peer; yields the peer when it came (1) or went (-1) by that. */
function count(ref: PeerRef, key: string, peer: ConcretePeer, by: 1 | -1): ConcretePeer[] {
  const entry = ref.peers.get(key) ?? { peer: without(peer, ref.except), users: 0 };
  entry.users += by;
  if (entry.users > 0) ref.peers.set(key, entry);
  else ref.peers.delete(key);
  return entry.users === (by === 1 ? 1 : 0) ? [entry.peer] : [];
}

/** A peer less those exceptions that concern it. */
function without(peer: ConcretePeer, except: readonly Prefix[]): ConcretePeer {
  if (peer.kind !== "cidr" || except.length === 0) return peer;
  const { prefix } = peer;
  return { ...peer, except: except.filter((e) => prefixCovers(prefix, e) || prefixCovers(e, prefix)) };
}

function missingIn(
  from: ReadonlyMap<string, ConcretePeer> | undefined,
  other: ReadonlyMap<string, ConcretePeer> | undefined,
): Entry[] {
  return [...(from ?? [])].filter(([key]) => !other?.has(key));
}

function peerText(peer: ConcretePeer): string {
  return peer.kind === "cidr" ? formatPrefix(peer.prefix) : selectorText(peer.selector);
}
