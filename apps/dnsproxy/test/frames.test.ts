import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { FrameReader, frame } from "../src/frames.ts";

describe("messages over TCP", { timeout: 60_000 }, () => {
  it("come out whole, however the stream is cut", () => {
    const messages = fc.array(fc.uint8Array({ maxLength: 700 }), { maxLength: 8 });
    fc.assert(
      fc.property(messages, fc.array(fc.integer({ min: 1, max: 900 }), { minLength: 1 }), (sent, cuts) => {
        const stream = Buffer.concat(sent.map(frame));
        const reader = new FrameReader();
        const read: Uint8Array[] = [];
        for (let at = 0, i = 0; at < stream.length; i++) {
          const next = at + (cuts[i % cuts.length] ?? 1);
          read.push(...reader.push(new Uint8Array(stream.subarray(at, next))));
          at = next;
        }
        expect(read).toEqual(sent.map((message) => new Uint8Array(message)));
      }),
      { numRuns: 500 },
    );
  });

  it("of 65,535 bytes, byte by byte at the ends", () => {
    const big = new Uint8Array(0xffff).fill(7);
    const stream = frame(big);
    const reader = new FrameReader();
    const parts = [
      stream.subarray(0, 1),
      stream.subarray(1, 2),
      stream.subarray(2, 60_000),
      stream.subarray(60_000),
    ];
    expect(parts.flatMap((part) => reader.push(part))).toEqual([big]);
  });
});
