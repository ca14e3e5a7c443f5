import fc from "fast-check";
import ipaddr from "ipaddr.js";
import { describe, expect, it } from "vitest";
import {
  formatIp,
  ipAdd,
  ipCompare,
  ipEqual,
  ipFromBigInt,
  ipKey,
  ipToBigInt,
  isV4,
  parseIp,
  tryParseIp,
} from "../src/index.ts";

const bytes16 = fc.uint8Array({ minLength: 16, maxLength: 16 });
/** Addresses with runs of zero groups, where the canonical text is decided. */
const sparse = fc
  .array(fc.oneof(fc.constant(0), fc.constant(0), fc.integer({ min: 0, max: 0xffff })), {
    minLength: 8,
    maxLength: 8,
  })
  .map((groups) => Uint8Array.from(groups.flatMap((group) => [group >> 8, group & 0xff])));
const v4 = fc
  .uint8Array({ minLength: 4, maxLength: 4 })
  .map((four) => Uint8Array.from([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, ...four]));
const anyIp = fc.oneof(bytes16, sparse, v4);

function mapped(text: string): number[] {
  const parsed = ipaddr.parse(text);
  return parsed.kind() === "ipv4"
    ? [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, ...parsed.toByteArray()]
    : parsed.toByteArray();
}

describe("parseIp and formatIp", () => {
  it("agree with ipaddr.js on every address", () => {
    fc.assert(
      fc.property(anyIp, (ip) => {
        const oracle = ipaddr.fromByteArray([...ip]) as ipaddr.IPv6;
        const want = oracle.isIPv4MappedAddress()
          ? oracle.toIPv4Address().toString()
          : oracle.toRFC5952String();
        expect(formatIp(ip)).toBe(want);
        expect([...parseIp(want)]).toEqual([...ip]);
        expect([...parseIp(oracle.toNormalizedString())]).toEqual([...ip]);
        expect([...parseIp(oracle.toNormalizedString().toUpperCase())]).toEqual([...ip]);
      }),
      { numRuns: 2000 },
    );
  });

  it("agree with ipaddr.js on which texts are addresses", () => {
    const text = fc.string({ unit: fc.constantFrom(..."0123456789abcdefF:.:.:"), maxLength: 24 });
    fc.assert(
      fc.property(text, (candidate) => {
        const v6 = candidate.includes(":");
        // The oracle takes leading zeros and "::" for no group; ours refuses both.
        const strict = v6
          ? ipaddr.IPv6.isValid(candidate) && !/\b0\d+\./.test(candidate)
          : ipaddr.IPv4.isValidFourPartDecimal(candidate);
        const parsed = tryParseIp(candidate);
        if (parsed !== undefined) expect(strict).toBe(true);
        if (parsed !== undefined) expect([...parsed]).toEqual(mapped(candidate));
      }),
      { numRuns: 20_000 },
    );
  });

  it.each([
    ["1.2.3.4", "1.2.3.4"],
    ["::", "::"],
    ["::1", "::1"],
    ["1::", "1::"],
    ["::ffff:10.0.0.1", "10.0.0.1"],
    ["2001:DB8:0:0:1:0:0:1", "2001:db8::1:0:0:1"],
    ["2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"],
    ["64:ff9b::192.0.2.33", "64:ff9b::c000:221"],
    ["1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"],
  ])("reads %s as %s", (text, canonical) => expect(formatIp(parseIp(text))).toBe(canonical));

  it.each([
    "",
    " 1.2.3.4",
    "1.2.3",
    "1.2.3.4.5",
    "01.2.3.4",
    "1.2.3.04",
    "256.1.1.1",
    "1.2.3.",
    ".1.2.3",
    "0x7f.1.1.1",
    "1",
    ":",
    ":::",
    "1::2::3",
    "1:2:3:4:5:6:7:8::",
    "1:2:3:4::5:6:7:8",
    "12345::",
    "fe80::1%eth0",
    "1:2:3:4:5:6:7",
    "1:2:3:4:5:6:7:",
    ":1::2",
    "::1.2.3",
    "::1.2.3.4:5",
    "1:2:3:4:5:6:7:1.2.3.4",
  ])("refuses %j", (text) => {
    expect(tryParseIp(text)).toBeUndefined();
    expect(() => parseIp(text)).toThrowError(expect.objectContaining({ code: "ip.invalid" }));
  });
});

describe("arithmetic", () => {
  it("keeps order, equality, keys and numbers in step", () => {
    fc.assert(
      fc.property(anyIp, anyIp, (a, b) => {
        const [x, y] = [ipToBigInt(a), ipToBigInt(b)];
        expect(Math.sign(ipCompare(a, b))).toBe(x < y ? -1 : x > y ? 1 : 0);
        expect(ipEqual(a, b)).toBe(x === y);
        expect(ipKey(a) === ipKey(b)).toBe(x === y);
        expect([...ipFromBigInt(x)]).toEqual([...a]);
        expect(ipToBigInt(ipAdd(a, y))).toBe((x + y) % (1n << 128n));
        expect(isV4(a)).toBe(x >> 32n === 0xffffn);
      }),
    );
  });

  it("steps back over a borrow", () => expect(formatIp(ipAdd(parseIp("10.0.1.0"), -1n))).toBe("10.0.0.255"));
});
