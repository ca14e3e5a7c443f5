import { formatIp } from "@axoneme/base";
import { at, endpointOf, type FlowResolver } from "@axoneme/flow";
import type { PeerFacts, Side } from "./context.ts";

/** Sides of flows remembered at a time. */
const places = 8192;
/** Places looked at before one is used anew. */
const window = 8;
/** Numbers of a key: four words of the address, identity, endpoint, endpoint of the other side. */
const words = 7;
/** Identities from here on stand for CIDRs, whose addresses have no pods, up to those of classes, which have. */
const localIdentity = 0x0100_0000;
const classIdentity = 0x0300_0000;

/** The world (of one family or both) and CIDRs. */
function isAnonymous(identity: number): boolean {
  const isLocal = identity >= localIdentity && identity < classIdentity;
  return isLocal || identity === 2 || identity === 9 || identity === 10;
}

const offsets = {
  source: { ip: at.saddr, identity: at.srcIdentity, endpoint: at.srcEp, other: at.dstEp },
  destination: { ip: at.daddr, identity: at.dstIdentity, endpoint: at.dstEp, other: at.srcEp },
} as const;

export interface PeerTableOptions {
  readonly resolver: FlowResolver;
  /** Whether values depend on the address (else the world is one peer), and on its names. */
  readonly needsIp: boolean;
  readonly needsNames: boolean;
}

/**
 * Who the two sides of recent records are. Found by the raw fields, without an allocation; asked of the resolver when
 * new and once an epoch, so that a pod which has taken over an address soon gets its own name.
 */
export class PeerTable {
  readonly #options: PeerTableOptions;
  readonly #keys = new Int32Array(places * words);
  readonly #epochs = new Int32Array(places).fill(-1);
  readonly #facts: (PeerFacts | undefined)[] = new Array<undefined>(places).fill(undefined);
  readonly #versions = new Int32Array(places);
  readonly #key = new Int32Array(words);
  readonly #withoutIp: FlowResolver;
  readonly #alwaysByIp: boolean;
  #keyHasIp = true;
  #epoch = 0;
  #victim = 0;

  constructor(options: PeerTableOptions) {
    this.#options = options;
    this.#alwaysByIp = options.needsIp || options.needsNames;
    this.#withoutIp = { ...options.resolver, byIp: () => undefined };
  }

  /** Places there are; the result of `find` is below. */
  get places(): number {
    return places;
  }

  /** What was known is asked anew. */
  nextEpoch(): void {
    this.#epoch = (this.#epoch + 1) & 0x7fff_ffff;
  }

  /** Changes when the facts of a place may have. */
  versionOf(place: number): number {
    return this.#versions[place] ?? 0;
  }

  /** Facts of a place that `find` gave. */
  factsOf(place: number): PeerFacts | undefined {
    return this.#facts[place];
  }

  /** Place of one side of the record at `o`; valid until the next call, which may be told to `keep` it. */
  find(view: DataView, o: number, side: Side, keep = -1): number {
    const of = offsets[side];
    const home = this.#readKey(view, o, side);
    for (let i = 0; i < window; i++) {
      const place = (home + i) & (places - 1);
      const epoch = this.#epochs[place];
      if (epoch === -1) return this.#learn(place, view, o + of.ip);
      if (!this.#holds(place)) continue;
      return epoch === this.#epoch ? place : this.#learn(place, view, o + of.ip);
    }
    this.#victim = (this.#victim + 1) % window;
    const place = (home + this.#victim) & (places - 1);
    return this.#learn(place === keep ? (place ^ 1) & (places - 1) : place, view, o + of.ip);
  }

  /** Reads what tells peers apart; the place where to begin. */
  #readKey(view: DataView, o: number, side: Side): number {
    const of = offsets[side];
    const key = this.#key;
    const identity = view.getUint32(o + of.identity, true);
    const endpoint = view.getUint16(o + of.endpoint, true);
    const byIp = this.#alwaysByIp || endpoint !== 0 || !isAnonymous(identity);
    this.#keyHasIp = byIp;
    const low = byIp ? view.getInt32(o + of.ip + 12, true) : 0;
    key[0] = byIp ? view.getInt32(o + of.ip, true) : 0;
    key[1] = byIp ? view.getInt32(o + of.ip + 4, true) : 0;
    key[2] = byIp ? view.getInt32(o + of.ip + 8, true) : 0;
    key[3] = low;
    key[4] = identity;
    key[5] = endpoint;
    key[6] = this.#options.needsNames ? view.getUint16(o + of.other, true) : 0;
    // The low words tell peers apart; the rest of the key is compared.
    let hash =
      Math.imul(low, 0x9e37_79b1) ^ Math.imul(identity, 0x85eb_ca6b) ^ Math.imul(endpoint, 0xc2b2_ae35);
    hash ^= Math.imul(key[2] ?? 0, 0x27d4_eb2f) ^ (key[6] ?? 0);
    hash = Math.imul(hash ^ (hash >>> 15), 0x9e37_79b1);
    return (hash ^ (hash >>> 13)) & (places - 1);
  }

  #holds(place: number): boolean {
    const keys = this.#keys;
    const key = this.#key;
    const start = place * words;
    return (
      keys[start + 3] === key[3] &&
      keys[start + 4] === key[4] &&
      keys[start + 5] === key[5] &&
      keys[start + 2] === key[2] &&
      keys[start + 1] === key[1] &&
      keys[start] === key[0] &&
      keys[start + 6] === key[6]
    );
  }

  #learn(place: number, view: DataView, ipAt: number): number {
    const { resolver, needsNames } = this.#options;
    const ip = new Uint8Array(view.buffer, view.byteOffset + ipAt, 16).slice();
    const identity = (this.#key[4] ?? 0) >>> 0;
    const other = this.#key[6] ?? 0;
    const names = needsNames && other !== 0 ? resolver.namesOf?.(ip, other) : undefined;
    this.#keys.set(this.#key, place * words);
    this.#epochs[place] = this.#epoch;
    this.#versions[place] = ((this.#versions[place] ?? 0) + 1) & 0x7fff_ffff;
    this.#facts[place] = {
      endpoint: endpointOf(this.#keyHasIp ? resolver : this.#withoutIp, ip, this.#key[5] ?? 0, identity),
      ip: formatIp(ip),
      names: names ?? [],
    };
    return place;
  }
}
