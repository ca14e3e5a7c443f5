import {
  AxonError,
  type Clock,
  formatIp,
  formatPrefix,
  type Ip,
  ipFromBigInt,
  ipKey,
  ipToBigInt,
  isV4,
  isV4Prefix,
  type Prefix,
  prefixContains,
} from "@axoneme/base";

/** Counts of one family's addresses. */
export interface PoolUsage {
  family: 4 | 6;
  cidrs: string[];
  /** Addresses that can be given out at all. */
  capacity: bigint;
  /** Of those, the ones in use. */
  used: number;
  /** Freed lately, not given out again before their cool-down ends unless nothing else is left. */
  cooling: number;
  /** Given out and taken back since the pool was made. */
  allocated: number;
  released: number;
}

/** First and last address as numbers. */
export interface Range {
  first: bigint;
  last: bigint;
}

/** Usable addresses of a prefix: without network and broadcast (IPv4), subnet-router anycast (IPv6). */
export function usable(prefix: Prefix): Range {
  const first = ipToBigInt(prefix.ip);
  const last = first + (1n << BigInt(128 - prefix.length)) - 1n;
  if (prefix.length >= 127) return { first, last };
  return { first: first + 1n, last: isV4Prefix(prefix) ? last - 1n : last };
}

/** Addresses of a prefix that can be given out at all. */
export function capacityOf(prefix: Prefix): bigint {
  const { first, last } = usable(prefix);
  return last - first + 1n;
}

export interface AddressPoolOptions {
  /** Names the pool in errors, for example the node. */
  name: string;
  family: 4 | 6;
  cidrs: readonly Prefix[];
  clock: Clock;
  /** How long a freed address rests, in milliseconds. */
  cooldownMs: number;
}

/**
 * The addresses of one family of one node. A cursor goes round the ranges, so that a freed address comes up
 * again as late as can be.
 */
export class AddressPool {
  readonly #options: AddressPoolOptions;
  #cidrs: readonly Prefix[] = [];
  #ranges: Range[] = [];
  readonly #used = new Map<string, { ip: Ip; owner: string }>();
  /** Freed addresses by end of rest; insertion order is order of freeing. */
  readonly #cooling = new Map<string, { ip: Ip; until: number }>();
  #cursor: bigint;
  #allocated = 0;
  #released = 0;

  constructor(options: AddressPoolOptions) {
    this.#options = options;
    this.#cursor = 0n;
    this.setCidrs(options.cidrs);
  }

  /** Changes the ranges. Addresses in use outside of them stay in use until released. */
  setCidrs(cidrs: readonly Prefix[]): void {
    this.#cidrs = cidrs;
    this.#ranges = cidrs.map(usable);
  }

  get cidrs(): readonly Prefix[] {
    return this.#cidrs;
  }

  /** Where the next search starts. */
  get cursor(): Ip {
    return ipFromBigInt(this.#cursor);
  }

  set cursor(ip: Ip) {
    this.#cursor = ipToBigInt(ip);
  }

  ownerOf(ip: Ip): string | undefined {
    return this.#used.get(ipKey(ip))?.owner;
  }

  get used(): IterableIterator<{ ip: Ip; owner: string }> {
    return this.#used.values();
  }

  get cooling(): IterableIterator<{ ip: Ip; until: number }> {
    return this.#cooling.values();
  }

  /** Whether the address lies in one of the CIDRs. */
  contains(ip: Ip): boolean {
    return this.#cidrs.some((cidr) => prefixContains(cidr, ip));
  }

  /** Gives out the next free address. Throws `ipam.exhausted`. */
  allocate(owner: string): Ip {
    const ip = this.#next() ?? this.#longestRested();
    if (ip === undefined) throw this.#exhausted();
    this.#take(ip, owner);
    this.#cursor = ipToBigInt(ip) + 1n;
    return ip;
  }

  /** Marks an address as used, wherever it lies. Throws `ipam.taken` when another owner has it. */
  reserve(owner: string, ip: Ip): void {
    const holder = this.ownerOf(ip);
    if (holder === owner) return;
    if (holder !== undefined) {
      throw new AxonError("ipam.taken", `${formatIp(ip)} of pool ${this.#options.name} belongs to ${holder}`);
    }
    this.#take(ip, owner);
  }

  #take(ip: Ip, owner: string): void {
    const key = ipKey(ip);
    this.#cooling.delete(key);
    this.#used.set(key, { ip, owner });
    this.#allocated++;
  }

  /** Frees an address; false when it was free. */
  release(ip: Ip): boolean {
    const key = ipKey(ip);
    if (!this.#used.delete(key)) return false;
    this.#released++;
    this.rest(ip, this.#options.clock.now() + this.#options.cooldownMs);
    return true;
  }

  /** Keeps a free address from being given out before `until` (ms since the epoch). */
  rest(ip: Ip, until: number): void {
    if (this.contains(ip)) this.#cooling.set(ipKey(ip), { ip, until });
  }

  usage(): PoolUsage {
    this.#warm();
    const { family } = this.#options;
    const capacity = this.#ranges.reduce((sum, range) => sum + range.last - range.first + 1n, 0n);
    const cidrs = this.#cidrs.map(formatPrefix);
    return {
      family,
      cidrs,
      capacity,
      used: this.#usedInside(),
      cooling: this.#cooling.size,
      allocated: this.#allocated,
      released: this.#released,
    };
  }

  /** Without restored and fixed ones that lie elsewhere. */
  #usedInside(): number {
    let count = 0;
    for (const { ip } of this.#used.values()) if (this.contains(ip)) count++;
    return count;
  }

  /** First address from the cursor on, going round once, that is neither used nor resting. */
  #next(): Ip | undefined {
    this.#warm();
    const start = this.#ranges.findIndex(
      (range) => this.#cursor >= range.first && this.#cursor <= range.last,
    );
    if (start < 0) return this.#firstFree(this.#ranges);
    const { first, last } = this.#ranges[start] as Range;
    return this.#firstFree([
      { first: this.#cursor, last },
      ...this.#ranges.slice(start + 1),
      ...this.#ranges.slice(0, start),
      { first, last: this.#cursor - 1n },
    ]);
  }

  #firstFree(ranges: readonly Range[]): Ip | undefined {
    for (const { first, last } of ranges) {
      for (let at = first; at <= last; at++) {
        const ip = ipFromBigInt(at);
        const key = ipKey(ip);
        if (!this.#used.has(key) && !this.#cooling.has(key)) return ip;
      }
    }
    return undefined;
  }

  #longestRested(): Ip | undefined {
    for (const { ip } of this.#cooling.values()) {
      const at = ipToBigInt(ip);
      if (this.#ranges.some((range) => at >= range.first && at <= range.last)) return ip;
    }
    return undefined;
  }

  #warm(): void {
    const now = this.#options.clock.now();
    for (const [key, { until }] of this.#cooling) {
      if (until > now) return; // freed in this order: the rest rests still
      this.#cooling.delete(key);
    }
  }

  #exhausted(): AxonError {
    const { capacity, used, cidrs, family } = this.usage();
    const where = cidrs.length === 0 ? "it has no CIDR" : cidrs.join(", ");
    return new AxonError(
      "ipam.exhausted",
      `pool ${this.#options.name} has no free IPv${family} address (${where}: ${used} in use of ${capacity}); ` +
        "remove pods from the node or give it another pod CIDR",
    );
  }
}

/** 4 or 6. */
export function familyOf(ip: Ip): 4 | 6 {
  return isV4(ip) ? 4 : 6;
}
