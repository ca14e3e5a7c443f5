import { hostPrefix, type Ip, Lpm, type Prefix, prefixKey } from "@axoneme/base";
import type { Ipcache } from "@axoneme/identity";
import { type CidrMatch, isMatchedByCidr, type PolicyEngine } from "@axoneme/policy";

/** What this works with. */
export interface PlacesDeps {
  readonly engine: Pick<PolicyEngine, "addPlacement" | "deletePlacement">;
  readonly ipcache: Ipcache;
  /** Whom rules on prefixes match by address. */
  readonly match: CidrMatch;
  /** Writes the rows that the engine has by now. */
  readonly commitRows: () => void;
}

/** An identity and the number of a prefix in one number, for tables with a line for each address. */
type Place = number;

const identities = 0x400_0000;

/** A change of the ipcache that is about to be written; `identity` absent: the prefix goes. */
export interface PlaceChange {
  readonly prefix: Prefix;
  readonly identity: number | undefined;
}

/**
 * Tells the policy engine which identities are found at addresses of which prefixes: an address counts for its longest prefix in
 * the ipcache and for the longest prefix that rules name. A pair is told before the first address has it in the kernel, and
 * taken back after the last one had it. Of two nested prefixes one is inside of the other, so that all pairs there are come from a
 * prefix of the ipcache with what is named around it, and from a named prefix with what is in the ipcache around it.
 */
export class AddressPlaces {
  readonly #deps: PlacesDeps;
  /** Numbers of prefixes that rules name, as in the kernel or about to be. */
  readonly #numbers = new Lpm<number>();
  /** Of prefixes of the ipcache, and of those that rules name. */
  readonly #at = new Map<string, Place>();
  readonly #named = new Map<string, Place>();
  readonly #counts = new Map<Place, number>();
  #stale: Place[] = [];

  constructor(deps: PlacesDeps) {
    this.#deps = deps;
  }

  /** The number that rules on prefixes know an address by when it has this identity; 0: they pass over it. */
  cidrOf(ip: Ip, identity: number): number {
    return isMatchedByCidr(this.#deps.match, identity) ? this.numberAround(hostPrefix(ip)) : 0;
  }

  /** Rows of the ipcache are about to be written; `settle` when they are. */
  beforeRows(changes: readonly PlaceChange[]): void {
    for (const { prefix, identity } of changes) {
      this.#assign(this.#at, prefix, identity, this.numberAround(prefix));
      for (const { prefix: inner, value } of this.#numbers.inside(prefix)) this.#assignNamed(inner, value);
    }
    this.#deps.commitRows();
  }

  /** The row of an endpoint is about to be written: before the ipcache hears of it. */
  beforeEndpoint(ips: readonly Ip[], identity: number): void {
    for (const ip of ips) {
      const cidr = this.cidrOf(ip, identity);
      if (cidr === 0) continue;
      const place = cidr * identities + identity;
      this.#acquire(place);
      this.#stale.push(place);
    }
    this.#deps.commitRows();
  }

  /** A prefix is about to get a number in the kernel, or (undefined) to lose it; `settle` when it has. */
  beforePrefix(prefix: Prefix, number: number | undefined): void {
    if (number === undefined) this.#numbers.delete(prefix);
    else this.#numbers.set(prefix, number);
    const now = number ?? this.numberAround(prefix);
    for (const { prefix: inner, identity } of this.#deps.ipcache.inside(prefix))
      if (this.numberAround(inner) === now) this.#assign(this.#at, inner, identity, now);
    if (number === undefined) this.#assign(this.#named, prefix, undefined, 0);
    else this.#assignNamed(prefix, number);
    this.#deps.commitRows();
  }

  /** What was announced is in the kernel: what was before it is found nowhere any more. */
  settle(): void {
    if (this.#stale.length === 0) return;
    for (const place of this.#stale) this.#release(place);
    this.#stale = [];
    this.#deps.commitRows();
  }

  /** The number of the longest prefix that holds all of this one; 0: none does. */
  numberAround(prefix: Prefix): number {
    let number = 0;
    for (const { value } of this.#numbers.covering(prefix)) number = value; // the longest comes last
    return number;
  }

  #assignNamed(prefix: Prefix, number: number): void {
    this.#assign(this.#named, prefix, this.#deps.ipcache.cover(prefix)?.identity, number);
  }

  #assign(slots: Map<string, Place>, prefix: Prefix, identity: number | undefined, cidr: number): void {
    const slot = prefixKey(prefix);
    const before = slots.get(slot);
    const isPlace = identity !== undefined && cidr !== 0 && isMatchedByCidr(this.#deps.match, identity);
    const place = isPlace ? cidr * identities + identity : undefined;
    if (place === before) return;
    if (before !== undefined) this.#stale.push(before);
    if (place === undefined) slots.delete(slot);
    else {
      this.#acquire(place);
      slots.set(slot, place);
    }
  }

  #acquire(place: Place): void {
    const count = this.#counts.get(place) ?? 0;
    this.#counts.set(place, count + 1);
    if (count === 0) this.#deps.engine.addPlacement(place % identities, Math.floor(place / identities));
  }

  #release(place: Place): void {
    const count = (this.#counts.get(place) ?? 0) - 1;
    if (count > 0) {
      this.#counts.set(place, count);
      return;
    }
    this.#counts.delete(place);
    this.#deps.engine.deletePlacement(place % identities, Math.floor(place / identities));
  }
}
