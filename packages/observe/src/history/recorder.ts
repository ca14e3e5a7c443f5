import { at, endpointOf, eventFlag, eventType, type FlowResolver, recordSize } from "@axoneme/flow";
import { type NameKey, nameKey, resolverOf, sameAnswer } from "./names.ts";

/** Places of the table of what was asked lately. */
const places = 32_768;
/** Places looked at before one is used anew. */
const window = 4;
/** Names that one segment holds at most. */
export const namesLimit = 200_000;

/** An answer that a segment does not have yet; null: what was known under the key is no more. */
export type NameEntry = readonly [NameKey, unknown];

/**
 * Finds out what is needed to show records later, while it is still known. A question is asked once an epoch: those that
 * were are in a table of hashes, so that a record whose sides are known costs no allocation.
 */
export class NameRecorder {
  readonly #asking: ReturnType<typeof resolverOf>;
  readonly #table = new Int32Array(places * 3);
  readonly #hash = new Int32Array(2);
  readonly #seed: Int32Array;
  #epoch = 1;
  #victim = 0;
  #known = new Map<NameKey, unknown>();
  #entries: NameEntry[] = [];

  /** @param resolver of the living; it answers from memory. */
  constructor(resolver: FlowResolver) {
    this.#seed = new Int32Array(crypto.getRandomValues(new Uint8Array(8)).buffer);
    this.#asking = resolverOf(resolver.nodeName, (name, args) => {
      const answer = resolver[name] as ((...args: unknown[]) => unknown) | undefined;
      const value = answer?.(...args);
      this.#note((nameKey[name] as (...args: unknown[]) => NameKey)(...args), value);
      return value as never;
    });
  }

  /** Names in the segment that is being written. */
  get size(): number {
    return this.#known.size;
  }

  /** A segment begins: it knows nothing. */
  beginSegment(): void {
    this.#known = new Map();
    this.#entries = [];
    this.beginEpoch();
  }

  /** What was asked is asked again: it may have changed. */
  beginEpoch(): void {
    this.#epoch = (this.#epoch + 1) & 0x7fff_ffff;
  }

  /** The answers about `count` records that the segment lacks. */
  take(view: DataView, bytes: Uint8Array, count: number): readonly NameEntry[] {
    for (let i = 0; i < count; i++) this.#record(view, bytes, i * recordSize);
    const entries = this.#entries;
    this.#entries = [];
    return entries;
  }

  #record(view: DataView, bytes: Uint8Array, o: number): void {
    const type = view.getUint8(o + at.type);
    if (type === eventType.lost) return;
    const srcEp = view.getUint16(o + at.srcEp, true);
    const dstEp = view.getUint16(o + at.dstEp, true);
    this.#side(view, bytes, o + at.saddr, srcEp, view.getUint32(o + at.srcIdentity, true));
    this.#side(view, bytes, o + at.daddr, dstEp, view.getUint32(o + at.dstIdentity, true));
    if (dstEp !== 0) this.#names(view, bytes, o + at.saddr, dstEp);
    if (srcEp !== 0) this.#names(view, bytes, o + at.daddr, srcEp);
    const proto = view.getUint8(o + at.proto);
    this.#service(view, bytes, o + at.saddr, view.getUint16(o + at.sport), proto);
    this.#service(view, bytes, o + at.daddr, view.getUint16(o + at.dport), proto);
    if ((view.getUint8(o + at.flags) & eventFlag.translated) !== 0)
      this.#service(view, bytes, o + at.origDaddr, view.getUint16(o + at.origDport), proto);
    const egress = view.getUint32(o + at.ruleEgress, true);
    const ingress = view.getUint32(o + at.ruleIngress, true);
    if (this.#isNew(4, egress)) this.#asking.ruleById(egress);
    if (this.#isNew(4, ingress)) this.#asking.ruleById(ingress);
    const device = view.getUint32(o + at.ifindex, true);
    if (device !== 0 && this.#isNew(5, device)) this.#asking.interfaceName(device);
    this.#process(view.getUint32(o + at.srcProcess, true), view, o);
    this.#process(view.getUint32(o + at.dstProcess, true), view, o);
    if (type === eventType.l7) this.#asking.layer7(view.getUint32(o + at.len, true));
  }

  #side(view: DataView, bytes: Uint8Array, ip: number, endpoint: number, identity: number): void {
    if (this.#isNew(1, identity, endpoint, view, ip))
      endpointOf(this.#asking, bytes.subarray(ip, ip + 16), endpoint, identity);
  }

  #names(view: DataView, bytes: Uint8Array, ip: number, endpoint: number): void {
    if (this.#isNew(2, endpoint, 0, view, ip)) this.#asking.namesOf(bytes.subarray(ip, ip + 16), endpoint);
  }

  #service(view: DataView, bytes: Uint8Array, ip: number, port: number, proto: number): void {
    if (port !== 0 && this.#isNew(3, port, proto, view, ip))
      this.#asking.serviceByAddr(bytes.subarray(ip, ip + 16), port, proto);
  }

  #process(id: number, view: DataView, o: number): void {
    if (id !== 0 && this.#isNew(6, id)) this.#asking.processById(id, view.getBigUint64(o + at.timeNs, true));
  }

  /** Whether a question was not asked in this epoch; by two hashes of 32 bits with a secret of this process. */
  #isNew(kind: number, first: number, second = 0, view?: DataView, ip = 0): boolean {
    const hash = this.#hash;
    hash[0] = (this.#seed[0] ?? 0) ^ kind;
    hash[1] = (this.#seed[1] ?? 0) ^ kind;
    this.#mix(first);
    this.#mix(second);
    if (view !== undefined) for (let i = 0; i < 16; i += 4) this.#mix(view.getInt32(ip + i, true));
    const table = this.#table;
    const a = hash[0] ?? 0;
    const b = hash[1] ?? 0;
    for (let i = 0; i < window; i++) {
      const place = ((a + i) & (places - 1)) * 3;
      if (table[place] === a && table[place + 1] === b && table[place + 2] === this.#epoch) return false;
      if (table[place + 2] === this.#epoch) continue;
      this.#put(place, a, b);
      return true;
    }
    this.#victim = (this.#victim + 1) % window;
    this.#put(((a + this.#victim) & (places - 1)) * 3, a, b);
    return true;
  }

  #put(place: number, a: number, b: number): void {
    this.#table[place] = a;
    this.#table[place + 1] = b;
    this.#table[place + 2] = this.#epoch;
  }

  #mix(word: number): void {
    const hash = this.#hash;
    const a = Math.imul((hash[0] ?? 0) ^ word, 0x9e37_79b1);
    const b = Math.imul((hash[1] ?? 0) ^ word, 0x85eb_ca6b);
    hash[0] = a ^ (a >>> 15);
    hash[1] = b ^ (b >>> 13);
  }

  #note(key: NameKey, value: unknown): void {
    const before = this.#known.get(key);
    if (value === undefined) {
      if (before === undefined) return;
      this.#known.delete(key);
      this.#entries.push([key, null]);
      return;
    }
    if (before !== undefined && sameAnswer(before, value)) return;
    this.#known.set(key, value);
    this.#entries.push([key, value]);
  }
}
