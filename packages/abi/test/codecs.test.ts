import fc from "fast-check";
import { describe, expect, it } from "vitest";
import * as abi from "../src/index.ts";

type Codec = {
  encode: (v: object, view: DataView, off: number) => void;
  decode: (view: DataView, off: number) => object;
};

const exported = abi as unknown as Record<string, unknown>;

function codecOf(name: string): Codec {
  return { encode: exported[`encode${name}`], decode: exported[`decode${name}`] } as Codec;
}

/** Offset and size of the fields that C calls padding. */
function paddingOf(layout: abi.StructLayout): (readonly [number, number])[] {
  const fields = Object.entries(layout.fields);
  return fields.filter(([name]) => /^pad\d*$|_pad$/.test(name)).map(([, place]) => place);
}

const structs = Object.entries(abi.layouts) as [string, abi.StructLayout][];

describe.each(structs)("%s", (name, layout) => {
  const { encode, decode } = codecOf(name);
  const offset = 24;

  it("writes what it read, at any offset, and zero as padding", () => {
    const bytes = fc.uint8Array({ minLength: layout.size, maxLength: layout.size });
    fc.assert(
      fc.property(bytes, (body) => {
        const from = new Uint8Array(offset + layout.size + 8);
        from.set(body, offset);
        const into = new Uint8Array(from.length).fill(0xaa);
        encode(decode(new DataView(from.buffer), offset), new DataView(into.buffer), offset);
        for (const [at, size] of paddingOf(layout)) body.fill(0, at, at + size);
        for (const [at, size] of nestedPadding(layout)) body.fill(0, at, at + size);
        expect(into.subarray(offset, offset + layout.size)).toEqual(body);
        expect(into[offset - 1]).toBe(0xaa);
        expect(into[offset + layout.size]).toBe(0xaa);
      }),
    );
  });

  it("has its size as a constant", () => {
    expect(exported[`${name.charAt(0).toLowerCase()}${name.slice(1)}Size`]).toBe(layout.size);
  });
});

/** Padding inside the two sides of a conntrack entry, the only nested struct. */
function nestedPadding(layout: abi.StructLayout): (readonly [number, number])[] {
  const side = layout.fields["side"];
  if (!side) return [];
  const { size } = abi.layouts.CtSide;
  return [0, 1].flatMap((i) =>
    paddingOf(abi.layouts.CtSide).map(([at, length]) => [side[0] + i * size + at, length] as const),
  );
}

describe("byte order", () => {
  const key = { policyId: 1, identity: 0x01020304, cidr: 7, port: 0x1234, proto: 6, shape: 24 };

  it("is the network's for __be16, the machine's for the rest", () => {
    const bytes = new Uint8Array(abi.policyKeySize);
    abi.encodePolicyKey(key, new DataView(bytes.buffer), 0);
    expect([...bytes]).toEqual([1, 0, 0, 0, 4, 3, 2, 1, 7, 0, 0, 0, 0x12, 0x34, 6, 24]);
    expect(abi.decodePolicyKey(new DataView(bytes.buffer), 0)).toEqual(key);
  });

  it("gives 64-bit numbers as bigint", () => {
    const view = new DataView(new ArrayBuffer(abi.metricSize));
    abi.encodeMetric({ packets: 2n ** 63n + 1n, bytes: 5n }, view, 0);
    expect(abi.decodeMetric(view, 0)).toEqual({ packets: 2n ** 63n + 1n, bytes: 5n });
  });
});

describe("byte arrays", () => {
  it("are views of the buffer", () => {
    const bytes = new Uint8Array(abi.ipcacheKeySize);
    const key = abi.decodeIpcacheKey(new DataView(bytes.buffer), 0);
    bytes[4] = 9;
    expect(key.addr[0]).toBe(9);
  });

  it("of the wrong length are refused", () => {
    const view = new DataView(new ArrayBuffer(abi.ipcacheKeySize));
    expect(() => abi.encodeIpcacheKey({ prefixlen: 1, addr: new Uint8Array(4) }, view, 0)).toThrow(
      /field of 16 bytes was given 4/,
    );
  });
});

describe("constants", () => {
  it("carry the field's numbers", () => {
    expect([abi.DropReason.POLICY, abi.DropReason.POLICY_DENY]).toEqual([133, 181]);
    expect([abi.ReservedIdentity.HOST, abi.ReservedIdentity.WORLD]).toEqual([1, 2]);
    expect([abi.Dir.INGRESS, abi.Dir.EGRESS]).toEqual([0, 1]);
    expect(abi.EventType).toEqual({ DROP: 1, TRACE: 4, POLICY_VERDICT: 5, TRACE_SOCK: 7 });
    expect(abi.eventSize).toBe(120);
  });

  it("describe the maps", () => {
    expect(abi.maps.ax_ct).toMatchObject({
      type: 1,
      keySize: abi.ctKeySize,
      valueSize: abi.ctSize,
      key: "CtKey",
    });
    expect(abi.maps.ax_endpoints).toMatchObject({ keySize: 16, value: "Endpoint" });
    expect(abi.maps.ax_events).toMatchObject({ type: 27, keySize: 0, valueSize: 0 });
  });
});
