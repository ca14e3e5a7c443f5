import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { FrameBatch, FrameReader, framed } from "../src/index.ts";

const limit = 1000;
const messages = fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 20 });

/** The bytes cut at the given places. */
function cut(bytes: Uint8Array, places: readonly number[]): Uint8Array[] {
  const at = [...new Set(places.map((place) => place % (bytes.length + 1)))].sort((a, b) => a - b);
  return [0, ...at].map((from, i) => bytes.subarray(from, at[i] ?? bytes.length));
}

describe("frames", () => {
  it("come out as they went in, however the bytes are cut", () => {
    fc.assert(
      fc.property(messages, fc.array(fc.nat(), { maxLength: 30 }), (all, places) => {
        const batch = new FrameBatch();
        for (const message of all) batch.add(message);
        const reader = new FrameReader(limit);
        const found = cut(batch.take(), places).flatMap((chunk) => reader.push(chunk).map((m) => [...m]));
        expect(found).toEqual(all.map((message) => [...message]));
        expect(reader.isInside).toBe(false);
      }),
    );
  });

  it("arbitrary bytes are messages within the limit or an error", () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 50 })), (chunks) => {
        const reader = new FrameReader(limit);
        try {
          for (const chunk of chunks)
            for (const m of reader.push(chunk)) expect(m.length).toBeLessThanOrEqual(limit);
        } catch (error) {
          expect(error).toMatchObject({ code: "grpc.status" });
        }
      }),
    );
  });

  it("refuses what is compressed or too long, before it has come", () => {
    expect(() => new FrameReader(limit).push(Uint8Array.of(1, 0, 0, 0, 0))).toThrow("compressed");
    expect(() => new FrameReader(limit).push(Uint8Array.of(0, 0xff, 0xff, 0xff, 0xff))).toThrow(
      "over the limit",
    );
    expect([...framed(Uint8Array.of(7))]).toEqual([0, 0, 0, 0, 1, 7]);
  });

  it("a batch that was taken is nobody else's memory", () => {
    const batch = new FrameBatch();
    batch.add(Uint8Array.of(1));
    const first = batch.take();
    batch.add(Uint8Array.of(2));
    expect(first.at(-1)).toBe(1);
    expect(batch.length).toBe(6);
  });
});
