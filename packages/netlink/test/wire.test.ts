import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { decodeAddress } from "../src/address.ts";
import { errnoName, isErrno, NetlinkError } from "../src/errors.ts";
import { decodeLink, encodeLinkAdd } from "../src/link.ts";
import { decodeNeighbour } from "../src/neighbour.ts";
import { sysctlFile } from "../src/netns.ts";
import { decodeRoute, encodeRoute, type RouteSpec } from "../src/route.ts";
import { decodeRule, encodeRule } from "../src/rule.ts";
import { endErrno, extendedText } from "../src/transactor.ts";
import { decodeEvent, watchGroups } from "../src/watch.ts";
import { Attributes, HEADER, MessageWriter, parseMessages } from "../src/wire.ts";

const body = (message: Uint8Array): Uint8Array => message.subarray(HEADER);

/** Runs a reader over hostile bytes: whatever it says, it says it as NetlinkError. */
function survives(read: () => unknown): void {
  try {
    read();
  } catch (error) {
    if (!isErrno(error, "EBADMSG")) throw error;
  }
}

const readers: Record<string, (bytes: Uint8Array) => unknown> = {
  decodeAddress,
  decodeLink,
  decodeNeighbour,
  decodeRoute,
  decodeRule,
  parseMessages,
  Attributes: (bytes) => new Attributes(bytes),
  answers: (bytes) =>
    parseMessages(bytes).map((message) => [endErrno(message), extendedText(message), decodeEvent(message)]),
};

describe("hostile bytes", () => {
  it.each(Object.entries(readers))("%s throws nothing but NetlinkError", (_name, read) => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => survives(() => read(bytes))),
      { numRuns: 2000 },
    );
  });

  it("every reader survives a true message with bytes changed or cut off", () => {
    const link = encodeLinkAdd(5, {
      kind: "veth",
      name: "abc",
      mtu: 1500,
      peer: { name: "def", mac: Uint8Array.from([2, 0, 0, 0, 0, 1]) },
    });
    const changes = fc.array(fc.tuple(fc.nat(link.length - 1), fc.nat(255)), { maxLength: 4 });
    fc.assert(
      fc.property(changes, fc.nat(link.length), (edits, length) => {
        const bytes = Uint8Array.from(link);
        for (const [at, value] of edits) bytes[at] = value;
        const cut = bytes.subarray(0, length);
        for (const read of Object.values(readers)) {
          survives(() => read(cut));
          survives(() => read(cut.subarray(HEADER)));
        }
      }),
      { numRuns: 3000 },
    );
  });

  it("reads attributes of nesting depth 1000 without recursion", () => {
    const message = new MessageWriter(16, 0);
    const nest = (depth: number): void => {
      if (depth > 0) message.nest(1, () => nest(depth - 1));
    };
    nest(1000);
    expect(new Attributes(body(message.finish())).nested(1)?.nested(1)?.has(1)).toBe(true);
  });
});

describe("messages", () => {
  it("reads back a link it wrote", () => {
    const mac = Uint8Array.from([2, 0, 0, 0, 0, 9]);
    const message = encodeLinkAdd(5, {
      kind: "vxlan",
      name: "vx0",
      port: 8472,
      external: true,
      mtu: 1450,
      mac,
      up: true,
    });
    const [parsed] = parseMessages(message);
    expect(parsed?.type).toBe(16);
    expect(decodeLink(body(message))).toMatchObject({
      name: "vx0",
      kind: "vxlan",
      mtu: 1450,
      mac,
      up: true,
      vxlan: { id: 0, port: 8472, external: true, learning: false },
    });
  });

  const v4 = fc
    .uint8Array({ minLength: 4, maxLength: 4 })
    .map((b) => Uint8Array.from([...new Uint8Array(10), 255, 255, ...b]));
  const v6 = fc.uint8Array({ minLength: 16, maxLength: 16 }).filter((b) => b[0] !== 0);

  it("reads back any route it wrote", () => {
    const route = fc.oneof(
      fc.record({ dst: v4, gateway: fc.oneof(v4, v6), length: fc.integer({ min: 97, max: 128 }) }),
      fc.record({ dst: v6, gateway: v6, length: fc.integer({ min: 1, max: 128 }) }),
    );
    const numbers = fc.record({
      table: fc.integer({ min: 1, max: 0x7fffffff }),
      oif: fc.nat(),
      mtu: fc.nat(),
      priority: fc.nat(),
    });
    fc.assert(
      fc.property(route, numbers, fc.boolean(), ({ dst, gateway, length }, rest, onlink) => {
        const spec: RouteSpec = { dst: { ip: dst, length }, gateway, onlink, ...rest };
        const read = decodeRoute(body(encodeRoute(24, 5, spec)));
        expect(read).toMatchObject({ ...spec, scope: 0, protocol: 4 });
      }),
    );
  });

  it("reads back a rule it wrote", () => {
    const spec = {
      family: 4,
      priority: 9,
      table: 70_000,
      mark: 1,
      mask: 0xff,
      iif: "lxc1",
      protocol: 4,
    } as const;
    expect(decodeRule(body(encodeRule(32, 5, spec)))).toMatchObject(spec);
  });

  it("asks for the groups of a filter", () => {
    expect([...watchGroups({ links: true, addrs: true, routes: false })].sort()).toEqual([1, 5, 9]);
  });
});

describe("errors", () => {
  it("reads the kernel's words after a capped and after an echoed request", () => {
    const text = (flags: number, echoed: number): string | undefined => {
      const tail = new MessageWriter(0, 0).text(1, "no room").finish().subarray(HEADER);
      const bytes = new Uint8Array(4 + echoed + tail.length);
      const view = new DataView(bytes.buffer);
      view.setInt32(0, -17, true);
      view.setUint32(4, echoed, true);
      bytes.set(tail, 4 + echoed);
      return extendedText({ type: 2, flags, sequence: 1, body: bytes });
    };
    expect(text(0x300, 16)).toBe("no room");
    expect(text(0x200, 64)).toBe("no room");
    expect(text(0x100, 16)).toBeUndefined();
  });

  it("names numbers", () => {
    expect([1, 2, 11, 16, 17, 95, 105].map(errnoName)).toEqual([
      "EPERM",
      "ENOENT",
      "EAGAIN",
      "EBUSY",
      "EEXIST",
      "EOPNOTSUPP",
      "ENOBUFS",
    ]);
    expect(errnoName(4000)).toBe("E4000");
    expect(new NetlinkError({ op: "x", object: "y", kind: "link" }, 4000).code).toBe("netlink.e4000");
  });

  it("refuses sysctl keys that lead elsewhere", () => {
    expect(sysctlFile("net.ipv4.ip_forward")).toBe("/proc/sys/net/ipv4/ip_forward");
    expect(sysctlFile("net/ipv4/conf/eth0.1/rp_filter")).toBe("/proc/sys/net/ipv4/conf/eth0.1/rp_filter");
    for (const key of ["net/../../x", "", "net//x", "./x"])
      expect(() => sysctlFile(key)).toThrow(NetlinkError);
  });
});
