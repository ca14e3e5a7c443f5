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

interface Place {
  readonly identity: number;
  readonly cidr: number;
}

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
  readonly #slots = new Map<string, Place>();
  readonly #counts = new Map<string, number>();
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
      this.#assign(`at ${prefixKey(prefix)}`, identity, this.numberAround(prefix));
      for (const { prefix: inner, value } of this.#numbers.inside(prefix)) this.#assignNamed(inner, value);
    }
    this.#deps.commitRows();
  }

  /** The row of an endpoint is about to be written: before the ipcache hears of it. */
  beforeEndpoint(ips: readonly Ip[], identity: number): void {
    for (const ip of ips) {
      const place = { identity, cidr: this.cidrOf(ip, identity) };
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
      if (this.numberAround(inner) === now) this.#assign(`at ${prefixKey(inner)}`, identity, now);
    if (number === undefined) this.#assign(`in ${prefixKey(prefix)}`, undefined, 0);
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
    this.#assign(`in ${prefixKey(prefix)}`, this.#deps.ipcache.cover(prefix)?.identity, number);
  }

  #assign(slot: string, identity: number | undefined, cidr: number): void {
    const before = this.#slots.get(slot);
    const isPlace = identity !== undefined && cidr !== 0 && isMatchedByCidr(this.#deps.match, identity);
    if (isPlace && before?.identity === identity && before.cidr === cidr) return;
    if (before !== undefined) this.#stale.push(before);
    this.#slots.delete(slot);
    if (!isPlace) return;
    const place = { identity, cidr };
    this.#acquire(place);
    this.#slots.set(slot, place);
  }

  #acquire(place: Place): void {
    const key = keyOf(place);
    const count = this.#counts.get(key) ?? 0;
    this.#counts.set(key, count + 1);
    if (count === 0 && place.cidr !== 0) this.#deps.engine.addPlacement(place.identity, place.cidr);
  }

  #release(place: Place): void {
    const key = keyOf(place);
    const count = (this.#counts.get(key) ?? 0) - 1;
    if (count > 0) {
      this.#counts.set(key, count);
      return;
    }
    this.#counts.delete(key);
    if (place.cidr !== 0) this.#deps.engine.deletePlacement(place.identity, place.cidr);
  }
}

function keyOf({ identity, cidr }: Place): string {
  return `${identity} ${cidr}`;
}
