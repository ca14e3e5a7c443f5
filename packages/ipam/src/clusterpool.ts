import {
  AxonError,
  formatPrefix,
  ipFromBigInt,
  ipToBigInt,
  isV4Prefix,
  Lpm,
  type Prefix,
  prefixEqual,
  prefixOverlaps,
} from "@axoneme/base";
import { capacityOf } from "./addresspool.ts";

/** A block that is cut into node CIDRs of one size. */
export interface ClusterCidr {
  cidr: Prefix;
  /** Length of a node's piece in the family's own counting: 24 for IPv4 /24, 64 for IPv6 /64. */
  maskSize: number;
}

interface Block {
  cidr: Prefix;
  /** Length of a piece in mapped counting. */
  pieceLength: number;
  pieces: bigint;
  /** No piece below this index is free. */
  lowest: bigint;
}

/**
 * Cuts node CIDRs out of the cluster's blocks: one piece of each family a node, the lowest free one, without
 * overlap. The same nodes in the same order always get the same pieces.
 */
export class ClusterPool {
  readonly #blocks: Block[] = [];
  readonly #taken = new Lpm<string>();
  readonly #nodes = new Map<string, Prefix[]>();

  constructor(cidrs: readonly ClusterCidr[]) {
    for (const { cidr, maskSize } of cidrs) this.#addBlock(cidr, maskSize);
  }

  #addBlock(cidr: Prefix, maskSize: number): void {
    const pieceLength = isV4Prefix(cidr) ? maskSize + 96 : maskSize;
    if (!Number.isInteger(maskSize) || pieceLength < cidr.length || pieceLength > 128) {
      throw new AxonError("ipam.pool", `cannot cut /${maskSize} pieces out of ${formatPrefix(cidr)}`);
    }
    const clash = this.#blocks.find((block) => prefixOverlaps(block.cidr, cidr));
    if (clash !== undefined) {
      throw new AxonError("ipam.pool", `${formatPrefix(cidr)} and ${formatPrefix(clash.cidr)} overlap`);
    }
    this.#blocks.push({ cidr, pieceLength, pieces: 1n << BigInt(pieceLength - cidr.length), lowest: 0n });
  }

  /** The node's CIDRs: those it has, completed to one of each family of the pool. Throws `ipam.exhausted`. */
  allocate(node: string): Prefix[] {
    const got: Prefix[] = [];
    try {
      for (const v4 of [true, false]) {
        const blocks = this.#blocks.filter((block) => isV4Prefix(block.cidr) === v4);
        if (blocks.length === 0 || this.cidrsOf(node).some((cidr) => isV4Prefix(cidr) === v4)) continue;
        const piece = this.#carve(blocks);
        if (piece === undefined) throw exhausted(node, blocks);
        this.#take(node, piece);
        got.push(piece);
      }
    } catch (error) {
      for (const piece of got) this.#give(node, piece);
      throw error;
    }
    return [...this.cidrsOf(node)];
  }

  /** One more CIDR of a family for a node. Throws `ipam.exhausted`. */
  extend(node: string, family: 4 | 6): Prefix {
    const blocks = this.#blocks.filter((block) => isV4Prefix(block.cidr) === (family === 4));
    const piece = this.#carve(blocks);
    if (piece === undefined) throw exhausted(node, blocks);
    this.#take(node, piece);
    return piece;
  }

  /**
   * CIDRs for a node until it has so many addresses of a family, those it has counted. What it gets of an exhausted pool
   * stays its own; throws `ipam.exhausted`.
   */
  fill(node: string, family: 4 | 6, addresses: number): void {
    if (!this.#blocks.some((block) => isV4Prefix(block.cidr) === (family === 4))) return;
    const has = () =>
      this.cidrsOf(node)
        .filter((cidr) => isV4Prefix(cidr) === (family === 4))
        .reduce((sum, cidr) => sum + capacityOf(cidr), 0n);
    while (has() < BigInt(addresses)) this.extend(node, family);
  }

  /**
   * Notes what an existing node has, also outside the blocks (a pool that was changed). Throws
   * `ipam.overlap` when another node has a part of it: that needs a person.
   */
  reserve(node: string, cidr: Prefix): void {
    if (this.cidrsOf(node).some((own) => prefixEqual(own, cidr))) return;
    const other = this.#overlapping(cidr);
    if (other !== undefined) {
      const holder = `${formatPrefix(other.prefix)} of node ${other.value}`;
      throw new AxonError("ipam.overlap", `${formatPrefix(cidr)} of node ${node} overlaps ${holder}`);
    }
    this.#take(node, cidr);
  }

  /** Takes existing nodes over; returns those that clash, which are left out. Order of names decides. */
  restore(nodes: Iterable<{ node: string; cidrs: readonly Prefix[] }>): { node: string; error: AxonError }[] {
    const clashes: { node: string; error: AxonError }[] = [];
    for (const { node, cidrs } of [...nodes].sort((a, b) =>
      a.node < b.node ? -1 : a.node > b.node ? 1 : 0,
    )) {
      for (const cidr of cidrs) {
        try {
          this.reserve(node, cidr);
        } catch (error) {
          if (!(error instanceof AxonError)) throw error;
          clashes.push({ node, error });
        }
      }
    }
    return clashes;
  }

  /** Frees a node's CIDRs and returns them. */
  release(node: string): Prefix[] {
    const cidrs = [...this.cidrsOf(node)];
    for (const cidr of cidrs) this.#give(node, cidr);
    return cidrs;
  }

  cidrsOf(node: string): readonly Prefix[] {
    return this.#nodes.get(node) ?? [];
  }

  /** Per block: pieces in all and free. */
  usage(): { cidr: string; pieces: bigint; free: bigint }[] {
    return this.#blocks.map((block) => {
      let used = 0n;
      for (const { prefix } of this.#taken.inside(block.cidr)) {
        used += prefix.length >= block.pieceLength ? 1n : 1n << BigInt(block.pieceLength - prefix.length);
      }
      return { cidr: formatPrefix(block.cidr), pieces: block.pieces, free: block.pieces - used };
    });
  }

  #carve(blocks: readonly Block[]): Prefix | undefined {
    for (const block of blocks) {
      const step = 1n << BigInt(128 - block.pieceLength);
      const base = ipToBigInt(block.cidr.ip);
      for (; block.lowest < block.pieces; block.lowest++) {
        const piece = { ip: ipFromBigInt(base + block.lowest * step), length: block.pieceLength };
        if (this.#overlapping(piece) === undefined) return piece;
      }
    }
    return undefined;
  }

  #overlapping(cidr: Prefix): { prefix: Prefix; value: string } | undefined {
    for (const entry of this.#taken.covering(cidr)) if (prefixOverlaps(entry.prefix, cidr)) return entry;
    for (const entry of this.#taken.inside(cidr)) if (prefixOverlaps(entry.prefix, cidr)) return entry;
    return undefined;
  }

  #take(node: string, cidr: Prefix): void {
    this.#taken.set(cidr, node);
    this.#nodes.set(node, [...this.cidrsOf(node), cidr]);
  }

  #give(node: string, cidr: Prefix): void {
    this.#taken.delete(cidr);
    const rest = this.cidrsOf(node).filter((own) => !prefixEqual(own, cidr));
    if (rest.length === 0) this.#nodes.delete(node);
    else this.#nodes.set(node, rest);
    for (const block of this.#blocks) if (prefixOverlaps(block.cidr, cidr)) block.lowest = 0n;
  }
}

function exhausted(node: string, blocks: readonly Block[]): AxonError {
  const pools = blocks.map(({ cidr, pieces }) => `${formatPrefix(cidr)} (${pieces} pieces)`).join(", ");
  return new AxonError(
    "ipam.exhausted",
    `no CIDR is left for node ${node}: all of ${pools} is given out; add a CIDR to the cluster pool`,
  );
}
