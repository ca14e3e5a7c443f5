import type { Ip } from "./ip.ts";
import type { Prefix } from "./prefix.ts";

/** No node: the first slot is never used. */
const none = 0;
const firstCapacity = 8;

type Side = 0 | 1;

/**
 * Longest-prefix-match table: a path-compressed binary trie on the 128 bits, as the kernel's LPM map. Like it, it knows
 * no families: `::/0` matches an IPv4 address unless something longer does. Its nodes are rows of typed arrays, 29 bytes
 * each besides the value: an agent of a large cluster has two for each pod's address. It must not be changed while it
 * is iterated over.
 */
export class Lpm<V> {
  /** Of a node: four words of its prefix. */
  #words = new Uint32Array(4 * firstCapacity);
  #lengths = new Uint8Array(firstCapacity);
  /** Of a node: below it, where the next bit is 0, and 1. */
  #children = new Uint32Array(2 * firstCapacity);
  /** 1 where a node is a prefix that was stored, and not only a fork. */
  #stored = new Uint8Array(firstCapacity);
  #values: (V | undefined)[] = [undefined];
  #used = 1;
  /** The first of the nodes that are free again, chained by their first child. */
  #free = none;
  #root = none;
  #size = 0;
  /** The address asked about, in words. */
  readonly #asked = new Uint32Array(4);

  get size(): number {
    return this.#size;
  }

  /** The value stored under exactly this prefix. */
  get(prefix: Prefix): V | undefined {
    this.#ask(prefix.ip, 128);
    for (let node = this.#root; node !== none; node = this.#towards(node)) {
      const length = this.#length(node);
      if (length > prefix.length || this.#common(node, length) < length) return undefined;
      if (length === prefix.length) return this.#values[node];
    }
    return undefined;
  }

  /** Stores or replaces the value of a prefix. */
  set(prefix: Prefix, value: V): void {
    const { length } = prefix;
    this.#ask(prefix.ip, length);
    let parent = none;
    let side: Side = 0;
    for (let node = this.#root; ; ) {
      if (node === none) {
        this.#link(parent, side, this.#leaf(length, value));
        return;
      }
      const own = this.#length(node);
      const common = this.#common(node, Math.min(own, length));
      if (common < own) {
        this.#link(parent, side, this.#fork(node, common, length, value));
        return;
      }
      if (own === length) {
        this.#store(node, value);
        return;
      }
      parent = node;
      side = bitOf(this.#asked, 0, own);
      node = this.#child(node, side);
    }
  }

  /** Removes a prefix; false when it was not there. */
  delete(prefix: Prefix): boolean {
    this.#ask(prefix.ip, 128);
    let [above, aboveSide]: [number, Side] = [none, 0];
    let [parent, side]: [number, Side] = [none, 0];
    let node = this.#root;
    for (; node !== none; node = this.#child(parent, side)) {
      const length = this.#length(node);
      if (length > prefix.length || this.#common(node, length) < length) return false;
      if (length === prefix.length) break;
      [above, aboveSide] = [parent, side];
      [parent, side] = [node, bitOf(this.#asked, 0, length)];
    }
    if (node === none || this.#stored[node] === 0) return false;
    this.#stored[node] = 0;
    this.#values[node] = undefined;
    this.#size--;
    if (this.#contract(parent, side, node) && parent !== none) this.#contract(above, aboveSide, parent);
    return true;
  }

  /** The longest prefix that contains the address, and its value. */
  lookup(ip: Ip): { prefix: Prefix; value: V } | undefined {
    let best = none;
    this.#ask(ip, 128);
    for (let node = this.#root; node !== none; node = this.#towards(node)) {
      const length = this.#length(node);
      if (this.#common(node, length) < length) break;
      if (this.#stored[node] === 1) best = node;
    }
    return best === none ? undefined : this.#entry(best);
  }

  /** Every stored prefix that contains `prefix` (itself included), shortest first. */
  *covering(prefix: Prefix): Generator<{ prefix: Prefix; value: V }> {
    const found: number[] = [];
    this.#ask(prefix.ip, 128);
    for (let node = this.#root; node !== none; node = this.#towards(node)) {
      const length = this.#length(node);
      if (length > prefix.length || this.#common(node, length) < length) break;
      if (this.#stored[node] === 1) found.push(node);
    }
    for (const node of found) yield this.#entry(node);
  }

  /** Every stored prefix inside `prefix` (itself included), in address order. */
  *inside(prefix: Prefix): Generator<{ prefix: Prefix; value: V }> {
    this.#ask(prefix.ip, 128);
    let node = this.#root;
    while (node !== none && this.#length(node) < prefix.length) {
      if (this.#common(node, this.#length(node)) < this.#length(node)) return;
      node = this.#towards(node);
    }
    if (node !== none && this.#common(node, prefix.length) === prefix.length) yield* this.#below(node);
  }

  /** All entries in address order, shorter prefixes first. */
  *entries(): Generator<{ prefix: Prefix; value: V }> {
    if (this.#root !== none) yield* this.#below(this.#root);
  }

  clear(): void {
    this.#root = none;
    this.#free = none;
    this.#used = 1;
    this.#values = [undefined];
    this.#size = 0;
  }

  *#below(top: number): Generator<{ prefix: Prefix; value: V }> {
    const stack = [top];
    for (let node = stack.pop(); node !== undefined; node = stack.pop()) {
      for (const child of [this.#child(node, 1), this.#child(node, 0)]) if (child !== none) stack.push(child);
      if (this.#stored[node] === 1) yield this.#entry(node);
    }
  }

  #entry(node: number): { prefix: Prefix; value: V } {
    const ip = new Uint8Array(16);
    for (let i = 0; i < 16; i++)
      ip[i] = ((this.#words[4 * node + (i >> 2)] ?? 0) >>> (24 - 8 * (i & 3))) & 0xff;
    return { prefix: { ip, length: this.#length(node) }, value: this.#values[node] as V };
  }

  #length(node: number): number {
    return this.#lengths[node] ?? 0;
  }

  #child(node: number, side: Side): number {
    return this.#children[2 * node + side] ?? none;
  }

  /** The next node on the way to the address asked about. */
  #towards(node: number): number {
    const length = this.#length(node);
    return length === 128 ? none : this.#child(node, bitOf(this.#asked, 0, length));
  }

  /** Sets the address asked about; its bits from `length` on are clear. */
  #ask(ip: Ip, length: number): void {
    for (let word = 0; word < 4; word++) {
      const at = 4 * word;
      const bits =
        ((ip[at] ?? 0) << 24) | ((ip[at + 1] ?? 0) << 16) | ((ip[at + 2] ?? 0) << 8) | (ip[at + 3] ?? 0);
      this.#asked[word] = bits & maskOf(length - 32 * word);
    }
  }

  /** Leading bits in which a node and the address asked about agree, at most `limit`. */
  #common(node: number, limit: number): number {
    for (let word = 0; 32 * word < limit; word++) {
      const differ = (this.#words[4 * node + word] ?? 0) ^ (this.#asked[word] ?? 0);
      if (differ !== 0) return Math.min(limit, 32 * word + Math.clz32(differ));
    }
    return limit;
  }

  /** A node between `node` and what is above it, where the address asked about parts from it. */
  #fork(node: number, common: number, length: number, value: V): number {
    const fork = this.#allocate(common);
    this.#link(fork, bitOf(this.#words, 4 * node, common), node);
    if (common === length) this.#store(fork, value);
    else this.#link(fork, bitOf(this.#asked, 0, common), this.#leaf(length, value));
    return fork;
  }

  #leaf(length: number, value: V): number {
    const leaf = this.#allocate(length);
    this.#store(leaf, value);
    return leaf;
  }

  #store(node: number, value: V): void {
    if (this.#stored[node] === 0) this.#size++;
    this.#stored[node] = 1;
    this.#values[node] = value;
  }

  #link(parent: number, side: Side, node: number): void {
    if (parent === none) this.#root = node;
    else this.#children[2 * parent + side] = node;
  }

  /** Takes a node out that is neither stored nor a fork; whether it was one. */
  #contract(parent: number, side: Side, node: number): boolean {
    const [left, right] = [this.#child(node, 0), this.#child(node, 1)];
    if (this.#stored[node] === 1 || (left !== none && right !== none)) return false;
    this.#link(parent, side, left === none ? right : left);
    this.#children[2 * node] = this.#free;
    this.#free = node;
    return true;
  }

  /** A node for the leading bits of the address asked about. */
  #allocate(length: number): number {
    let node = this.#free;
    if (node === none) {
      if (this.#used === this.#lengths.length) this.#grow();
      node = this.#used++;
      this.#values.push(undefined);
    } else this.#free = this.#child(node, 0);
    for (let word = 0; word < 4; word++)
      this.#words[4 * node + word] = (this.#asked[word] ?? 0) & maskOf(length - 32 * word);
    this.#lengths[node] = length;
    this.#stored[node] = 0;
    this.#children[2 * node] = none;
    this.#children[2 * node + 1] = none;
    return node;
  }

  #grow(): void {
    const capacity = Math.ceil(this.#lengths.length * 1.5);
    this.#words = copyOf(this.#words, new Uint32Array(4 * capacity));
    this.#lengths = copyOf(this.#lengths, new Uint8Array(capacity));
    this.#children = copyOf(this.#children, new Uint32Array(2 * capacity));
    this.#stored = copyOf(this.#stored, new Uint8Array(capacity));
  }
}

/** A word with its first `bits` bits set; none for less than one, all for 32 and more. */
function maskOf(bits: number): number {
  return bits >= 32 ? 0xffff_ffff : bits <= 0 ? 0 : (0xffff_ffff << (32 - bits)) >>> 0;
}

/** The bit at `index` of four words that begin at `from`. */
function bitOf(words: Uint32Array, from: number, index: number): Side {
  return (((words[from + (index >> 5)] ?? 0) >>> (31 - (index & 31))) & 1) as Side;
}

function copyOf<A extends Uint8Array | Uint32Array>(from: A, to: A): A {
  to.set(from);
  return to;
}
