import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { encodeLine, LineReader, MAX_LINE } from "../src/index.ts";

describe("lines", () => {
  it("come out whole, however the bytes are cut", () => {
    const text = fc.array(fc.string({ unit: "grapheme" }).map((line) => line.replaceAll(/[\n\r]/g, "")));
    fc.assert(
      fc.property(text, fc.array(fc.nat(9), { minLength: 1 }), (lines, cuts) => {
        const bytes = new TextEncoder().encode(lines.map((line) => `${line}\n`).join(""));
        const reader = new LineReader();
        const read: string[] = [];
        for (let at = 0, i = 0; at < bytes.length; i++) {
          const next = at + 1 + (cuts[i % cuts.length] ?? 0);
          read.push(...reader.push(bytes.subarray(at, next)));
          at = next;
        }
        expect(read).toEqual(lines.filter((line) => line !== ""));
      }),
    );
  });

  it("longer than the bound are refused, without keeping them", () => {
    const reader = new LineReader();
    reader.push(new Uint8Array(MAX_LINE).fill(97));
    expect(() => reader.push(new Uint8Array([97]))).toThrow(/longer than/);
  });

  it("are one message each", () => {
    expect(encodeLine({ t: "ack", seq: 3 })).toBe('{"t":"ack","seq":3}\n');
  });
});
