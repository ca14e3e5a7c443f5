import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { at, eventType, RawStore, recordSize } from "../src/index.ts";
import { encodeRecord } from "./record.ts";

const second = 1_000_000_000n;

function batch(times: readonly bigint[], stride = recordSize): Uint8Array {
  const bytes = new Uint8Array(times.length * stride);
  for (const [i, timeNs] of times.entries()) bytes.set(encodeRecord({ timeNs, type: 4, len: i }), i * stride);
  return bytes;
}

describe("RawStore", () => {
  it("keeps records with wall time and gives them back by number", () => {
    const store = new RawStore({ capacity: 16 });
    const offset = 0x1234_5678_9abc_def0n;
    store.append(batch([1n, 0xffff_ffffn, 0x1_0000_0000n]), 3, offset);
    expect(store.nextSeq).toBe(3);
    expect([0, 1, 2].map((seq) => store.timeNs(seq))).toEqual([
      offset + 1n,
      offset + 0xffff_ffffn,
      offset + 0x1_0000_0000n,
    ]);
  });

  it("copies: the source may be used again", () => {
    const store = new RawStore({ capacity: 16 });
    const source = batch([5n]);
    store.append(source, 1, 0n);
    source.fill(0xff);
    expect(store.timeNs(0)).toBe(5n);
  });

  it("takes records that stand apart", () => {
    const store = new RawStore({ capacity: 16 });
    store.append(batch([0n, 1n, 2n], 128), 2, 0n, 128, 128);
    expect([store.timeNs(0), store.timeNs(1)]).toEqual([1n, 2n]);
  });

  it("overwrites the oldest, and says what is gone", () => {
    const store = new RawStore({ capacity: 16 });
    for (let i = 0; i < 20; i++) store.append(batch([BigInt(i)]), 1, 0n);
    expect([store.oldestSeq, store.nextSeq, store.size]).toEqual([4, 20, 16]);
    expect(store.at(3)).toBeUndefined();
    expect(store.at(20)).toBeUndefined();
    expect(store.timeNs(4)).toBe(4n);
    expect(store.timeNs(19)).toBe(19n);
  });

  it("of a batch larger than itself keeps the end", () => {
    const store = new RawStore({ capacity: 16 });
    store.append(batch(Array.from({ length: 40 }, (_, i) => BigInt(i))), 40, 0n);
    expect([store.oldestSeq, store.nextSeq]).toEqual([24, 40]);
    expect([store.timeNs(24), store.timeNs(39)]).toEqual([24n, 39n]);
  });

  it("holds the last records whatever the batches were", () => {
    const counts = fc.array(fc.integer({ min: 1, max: 25 }), { minLength: 1, maxLength: 20 });
    fc.assert(
      fc.property(counts, (sizes) => {
        const store = new RawStore({ capacity: 16 });
        let time = 0n;
        for (const size of sizes) {
          store.append(batch(Array.from({ length: size }, () => time++)), size, 0n);
        }
        for (let seq = store.oldestSeq; seq < store.nextSeq; seq++)
          expect(store.timeNs(seq)).toBe(BigInt(seq));
        expect(store.nextSeq).toBe(Number(time));
      }),
    );
  });

  it("finds where to begin for a time, never too late and at most one second's records too early", () => {
    const steps = fc.array(fc.integer({ min: 0, max: 3_000 }), { minLength: 1, maxLength: 200 });
    fc.assert(
      fc.property(steps, fc.integer({ min: 0, max: 600 }), (gaps, wanted) => {
        const store = new RawStore({ capacity: 64 });
        let ms = 10_000;
        for (const gap of gaps) {
          ms += gap;
          store.append(batch([BigInt(ms) * 1_000_000n]), 1, 0n);
        }
        const since = BigInt(wanted) * second;
        const start = store.seqSince(since);
        for (let seq = store.oldestSeq; seq < start; seq++) expect(store.timeNs(seq)).toBeLessThan(since);
        // What is early all belongs to one second: nothing is scanned in vain.
        const early = new Set<bigint>();
        for (let seq = start; seq < store.nextSeq; seq++) {
          if (store.timeNs(seq) < since - 2n * second) early.add(store.timeNs(seq) / second);
        }
        expect(early.size).toBeLessThanOrEqual(1);
      }),
    );
  });

  it("finds where to end for a time, never too early and at most two seconds' records too late", () => {
    const steps = fc.array(fc.integer({ min: -900, max: 3_000 }), { minLength: 1, maxLength: 200 });
    fc.assert(
      fc.property(steps, fc.integer({ min: 0, max: 300 }), (gaps, wanted) => {
        const store = new RawStore({ capacity: 64 });
        // Out of order by less than a second, as records of different CPUs are.
        let ms = 10_000;
        for (const gap of gaps) {
          if (gap > 0) ms += gap;
          store.append(batch([BigInt(ms + Math.min(0, gap)) * 1_000_000n]), 1, 0n);
        }
        const until = BigInt(wanted) * second;
        const end = store.seqAfter(until);
        for (let seq = end; seq < store.nextSeq; seq++) expect(store.timeNs(seq)).toBeGreaterThan(until);
        for (let seq = store.oldestSeq; seq < end; seq++)
          expect(store.timeNs(seq)).toBeLessThan(until + 3n * second);
      }),
    );
  });

  it("a clock that is set back costs time, not records", () => {
    const store = new RawStore({ capacity: 64 });
    for (const at of [100n, 101n, 102n, 50n, 51n, 103n]) store.append(batch([at * second]), 1, 0n);
    expect(store.seqAfter(60n * second)).toBe(6);
    expect(store.seqSince(50n * second)).toBe(0);
    expect(store.seqSince(103n * second)).toBeLessThanOrEqual(5);
    for (let i = 0; i < 64; i++) store.append(batch([BigInt(104 + i) * second]), 1, 0n);
    expect(store.seqAfter(110n * second)).toBe(6 + 8);
  });

  it("a clock that was a year ahead for a while is forgotten with its records", () => {
    const store = new RawStore({ capacity: 64 });
    store.append(batch([31_000_000n * second]), 1, 0n);
    for (let i = 0; i < 200; i++) store.append(batch([BigInt(i) * second]), 1, 0n);
    expect(store.seqSince(180n * second)).toBe(180);
    expect(store.seqAfter(180n * second)).toBe(183);
  });

  it("is as exact after weeks as on the first day", () => {
    const store = new RawStore({ capacity: 1024 });
    const days = 14;
    const hour = batch(Array.from({ length: 900 }, (_, i) => BigInt(i * 4) * second));
    for (let i = 0; i < days * 24; i++) store.append(hour, 900, BigInt(i * 3600) * second);
    const newest = days * 24 * 3600 - 4;
    for (let ago = 0; ago < 4000; ago += 100) {
      const since = newest - ago;
      expect(store.nextSeq - store.seqSince(BigInt(since) * second)).toBeLessThanOrEqual(ago / 4 + 3);
    }
  });

  it("keeps its index small, and finds the beginning all the same", () => {
    const store = new RawStore({ capacity: 262_144 });
    const times = Array.from({ length: 200_000 }, (_, i) => BigInt(i) * second);
    store.append(batch(times), times.length, 0n);
    for (const wanted of [0, 1000, 50_000, 123_456, 199_990]) {
      const start = store.seqSince(BigInt(wanted) * second);
      expect(start).toBeLessThanOrEqual(wanted);
      expect(start).toBeGreaterThanOrEqual(Math.max(0, wanted - 16));
      const end = store.seqAfter(BigInt(wanted) * second);
      expect(end).toBeGreaterThan(wanted);
      expect(end).toBeLessThanOrEqual(wanted + 16);
    }
  });

  it("turns losses into a record at most once a second, and counts all", () => {
    const store = new RawStore({ capacity: 16 });
    store.recordLoss(3, 10n * second);
    store.recordLoss(4, 10n * second + 1n);
    expect(store.nextSeq).toBe(1);
    store.append(batch([12n * second]), 1, 0n);
    expect(store.nextSeq).toBe(3);
    const kinds = [0, 1, 2].map((seq) => store.view.getUint8(store.offsetOf(seq) + at.type));
    expect(kinds).toEqual([eventType.lost, eventType.trace, eventType.lost]);
    expect(store.view.getUint32(store.offsetOf(2) + at.len, true)).toBe(4);
    expect(store.lost).toBe(7n);
  });

  it("wakes listeners with the next number", () => {
    const store = new RawStore({ capacity: 16 });
    const seen: number[] = [];
    const off = store.onAppend.on((seq) => seen.push(seq));
    store.append(batch([1n, 2n]), 2, 0n);
    off();
    store.append(batch([3n]), 1, 0n);
    expect(seen).toEqual([2]);
  });

  it("holds a million records in 160 MB", () => {
    const store = new RawStore({ capacity: 1_000_000 });
    expect(store.capacity).toBeGreaterThanOrEqual(1_000_000);
    expect(store.bytes.byteLength).toBeLessThan(160 * 1024 * 1024);
  });
});
