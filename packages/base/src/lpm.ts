import type { Ip } from "./ip.ts";
import { commonBits, maskIp, type Prefix } from "./prefix.ts";

interface Node<V> {
  ip: Ip;
  length: number;
  entry: { prefix: Prefix; value: V } | undefined;
  children: [Node<V> | undefined, Node<V> | undefined];
}

function bitAt(ip: Ip, index: number): 0 | 1 {
  return (((ip[index >> 3] ?? 0) >> (7 - (index & 7))) & 1) as 0 | 1;
}

/**
 * Longest-prefix-match table: a path-compressed binary trie on the 128 bits, as the kernel's LPM map. Like it,
 * it knows no families: `::/0` matches an IPv4 address unless something longer does.
 */
export class Lpm<V> {
  #root: Node<V> | undefined;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** The value stored under exactly this prefix. */
  get(prefix: Prefix): V | undefined {
    let node = this.#root;
    while (node !== undefined && node.length <= prefix.length) {
      if (commonBits(node.ip, prefix.ip, node.length) < node.length) return undefined;
      if (node.length === prefix.length) return node.entry?.value;
      node = node.children[bitAt(prefix.ip, node.length)];
    }
    return undefined;
  }

  /** Stores or replaces the value of a prefix. */
  set(prefix: Prefix, value: V): void {
    const entry = { prefix: { ip: maskIp(prefix.ip, prefix.length), length: prefix.length }, value };
    this.#root = this.#insert(this.#root, entry);
  }

  #insert(node: Node<V> | undefined, entry: { prefix: Prefix; value: V }): Node<V> {
    const { ip, length } = entry.prefix;
    if (node === undefined) {
      this.#size++;
      return { ip, length, entry, children: [undefined, undefined] };
    }
    const common = commonBits(node.ip, ip, Math.min(node.length, length));
    if (common === node.length) {
      if (length === node.length) {
        if (node.entry === undefined) this.#size++;
        node.entry = entry;
        return node;
      }
      const side = bitAt(ip, node.length);
      node.children[side] = this.#insert(node.children[side], entry);
      return node;
    }
    const parent: Node<V> = {
      ip: maskIp(ip, common),
      length: common,
      entry: undefined,
      children: [undefined, undefined],
    };
    parent.children[bitAt(node.ip, common)] = node;
    if (common === length) {
      parent.entry = entry;
      this.#size++;
    } else parent.children[bitAt(ip, common)] = this.#insert(undefined, entry);
    return parent;
  }

  /** Removes a prefix; false when it was not there. */
  delete(prefix: Prefix): boolean {
    const before = this.#size;
    this.#root = this.#remove(this.#root, prefix);
    return this.#size < before;
  }

  #remove(node: Node<V> | undefined, prefix: Prefix): Node<V> | undefined {
    if (node === undefined || node.length > prefix.length) return node;
    if (commonBits(node.ip, prefix.ip, node.length) < node.length) return node;
    if (node.length === prefix.length) {
      if (node.entry !== undefined) this.#size--;
      node.entry = undefined;
    } else {
      const side = bitAt(prefix.ip, node.length);
      node.children[side] = this.#remove(node.children[side], prefix);
    }
    if (node.entry !== undefined || (node.children[0] !== undefined && node.children[1] !== undefined))
      return node;
    return node.children[0] ?? node.children[1];
  }

  /** The longest prefix that contains the address, and its value. */
  lookup(ip: Ip): { prefix: Prefix; value: V } | undefined {
    let best: { prefix: Prefix; value: V } | undefined;
    for (const entry of this.covering({ ip, length: 128 })) best = entry;
    return best;
  }

  /** Every stored prefix that contains `prefix` (itself included), shortest first. */
  *covering(prefix: Prefix): Generator<{ prefix: Prefix; value: V }> {
    let node = this.#root;
    while (node !== undefined && node.length <= prefix.length) {
      if (commonBits(node.ip, prefix.ip, node.length) < node.length) return;
      if (node.entry !== undefined) yield node.entry;
      if (node.length === 128) return;
      node = node.children[bitAt(prefix.ip, node.length)];
    }
  }

  /** Every stored prefix inside `prefix` (itself included), in address order. */
  *inside(prefix: Prefix): Generator<{ prefix: Prefix; value: V }> {
    let node = this.#root;
    while (node !== undefined && node.length < prefix.length) {
      if (commonBits(node.ip, prefix.ip, node.length) < node.length) return;
      node = node.children[bitAt(prefix.ip, node.length)];
    }
    if (node === undefined || commonBits(node.ip, prefix.ip, prefix.length) < prefix.length) return;
    yield* walk(node);
  }

  /** All entries in address order, shorter prefixes first. */
  *entries(): Generator<{ prefix: Prefix; value: V }> {
    if (this.#root !== undefined) yield* walk(this.#root);
  }

  clear(): void {
    this.#root = undefined;
    this.#size = 0;
  }
}

function* walk<V>(node: Node<V>): Generator<{ prefix: Prefix; value: V }> {
  if (node.entry !== undefined) yield node.entry;
  for (const child of node.children) if (child !== undefined) yield* walk(child);
}
