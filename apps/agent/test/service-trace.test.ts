import { formatIp, type Ip, parseIp } from "@axoneme/base";
import {
  Algorithm,
  BackendFlag,
  type BackendRow,
  type FrontendKey,
  ServiceFlag,
  type ServiceRow,
} from "@axoneme/loadbalancer";
import { describe, expect, it } from "vitest";
import { ClientFrom, type DecisionRows, lookUp } from "../src/lb/kernel-rows.ts";
import { type TraceSources, trace } from "../src/lb/trace.ts";

const text = ({ addr, port, scope }: FrontendKey) => `${formatIp(addr)} ${port} ${scope}`;
const plain: ServiceRow = {
  serviceId: 7,
  slotsOff: 0,
  slots: 4,
  count: 2,
  affinityTimeoutS: 0,
  flags: ServiceFlag.clusterIp,
  algorithm: 0,
  forwarding: 0,
};

const backends = new Map<number, BackendRow>(
  [
    { addr: "10.0.0.1", flags: BackendFlag.local },
    { addr: "10.0.1.1", flags: 0 },
  ].map(({ addr, flags }, i) => [
    i + 1,
    { addr: parseIp(addr), port: 8080, proto: 6, state: 0, serviceId: 7, flags },
  ]),
);

function rowsOf(
  services: Record<string, Partial<ServiceRow>>,
  more: Partial<DecisionRows> = {},
): DecisionRows {
  return {
    service: (key) => {
      const row = services[text(key)];
      return row && { ...plain, ...row };
    },
    backend: (id) => backends.get(id),
    choices: () => Uint32Array.of(1, 2, 1, 1),
    isNodePortAddress: (ip) => formatIp(ip) === "172.30.0.11",
    inSourceRanges: () => false,
    isSkipped: () => false,
    affinity: () => undefined,
    ...more,
  };
}

const sources = (rows: DecisionRows, more: Partial<TraceSources> = {}): TraceSources => ({
  rows,
  socketLB: true,
  outside: { at: "tcx" },
  peers: (ip) => (formatIp(ip).startsWith("10.0.") ? { pod: `shop/pod-${formatIp(ip)}` } : {}),
  ownerOf: () => ({ namespace: "shop", name: "web", portName: "http", locality: "because" }),
  nodeIp: () => parseIp("172.30.0.11"),
  nowS: () => 1000,
  ...more,
});

const pod = { kind: "pod", name: "shop/cart", ip: parseIp("10.0.0.9") } as const;
const host = { kind: "host", name: "host", ip: parseIp("172.30.0.11") } as const;
const world = { kind: "world", name: "world", ip: parseIp("192.0.2.1") } as const;
const dial = (address: string, port: number) => ({ addr: parseIp(address), port, proto: 6 });

describe("the look-up", () => {
  const of = (rows: DecisionRows, address: string, port: number, client: Ip, from: ClientFrom) => {
    const result = lookUp(rows, dial(address, port), client, from);
    return "none" in result ? result.none : `${text(result.found.key)}${result.found.wildcard ? " any" : ""}`;
  };

  it.each([
    [ClientFrom.socket, "10.96.0.1", 80, "10.96.0.1 80 0"],
    [ClientFrom.outside, "10.96.0.1", 80, "a ClusterIP is not served to clients outside"],
    [ClientFrom.outside, "172.30.0.11", 30080, "0.0.0.0 30080 0 any"],
    [ClientFrom.socket, "172.30.0.11", 30080, "0.0.0.0 30080 1 any"],
    [ClientFrom.host, "127.0.0.1", 30080, "0.0.0.0 30080 1 any"],
    [ClientFrom.socket, "127.0.0.1", 30080, "no Service has this address"],
    [ClientFrom.host, "127.0.0.1", 9000, "127.0.0.1 9000 0"],
    [ClientFrom.inside, "127.0.0.1", 9000, "a host port on a loopback address"],
    [ClientFrom.outside, "172.30.0.99", 30080, "no Service has this address"],
  ])("from %s to %s:%s", (from, address, port, expected) => {
    const rows = rowsOf({
      "10.96.0.1 80 0": {},
      "0.0.0.0 30080 0": { flags: ServiceFlag.nodePort | ServiceFlag.twoScopes },
      "0.0.0.0 30080 1": { flags: ServiceFlag.nodePort },
      "127.0.0.1 9000 0": { flags: ServiceFlag.hostPort | ServiceFlag.loopbackOnly },
    });
    expect(of(rows, address, port, pod.ip, from)).toContain(expected);
  });
});

describe("a trace", () => {
  it("from a pod to a ClusterIP: at connect, by share, sources kept", () => {
    const view = trace(sources(rowsOf({ "10.96.0.1 80 0": {} })), pod, dial("10.96.0.1", 80));
    expect(view).toMatchObject({
      verdict: "translated",
      path: { at: "socket" },
      service: { namespace: "shop", name: "web", id: 7 },
      frontend: { type: "ClusterIP", wildcard: false, scope: "external" },
      policy: { name: "all", reason: "because" },
      selection: { algorithm: "random", slots: 4 },
      backends: [
        { address: "10.0.0.1", share: 0.75, local: true, sees: "10.0.0.9" },
        { address: "10.0.1.1", share: 0.25, local: false, sees: "10.0.0.9" },
      ],
    });
    expect(view.affinity).toBeUndefined();
  });

  it("from outside: sources are kept here, translated or kept by DSR elsewhere", () => {
    const at = (row: Partial<ServiceRow>) =>
      trace(
        sources(rowsOf({ "0.0.0.0 30080 0": { flags: ServiceFlag.nodePort, ...row } })),
        world,
        dial("172.30.0.11", 30080),
      ).backends.map(({ sees }) => sees);
    expect(at({})).toEqual(["192.0.2.1", "172.30.0.11"]);
    expect(at({ forwarding: 1 })).toEqual(["192.0.2.1", "192.0.2.1"]);
  });

  it("source ranges refuse, but never the node", () => {
    const rows = rowsOf({
      "203.0.113.1 80 0": { flags: ServiceFlag.loadBalancer | ServiceFlag.sourceRanges },
    });
    const refused = trace(sources(rows), world, dial("203.0.113.1", 80));
    expect(refused).toMatchObject({ verdict: "refused", sourceRanges: { allowed: false } });
    expect(refused.reason).toContain("the packet is dropped");
    expect(trace(sources(rows), host, dial("203.0.113.1", 80)).verdict).toBe("translated");
  });

  it("no usable backend is a refusal, as the layer tells it", () => {
    const rows = rowsOf({ "10.96.0.1 80 0": { slots: 0, count: 0 } });
    expect(trace(sources(rows), pod, dial("10.96.0.1", 80)).reason).toContain("ECONNREFUSED");
    const perPacket = trace(sources(rows, { socketLB: false }), pod, dial("10.96.0.1", 80));
    expect([perPacket.path.at, perPacket.verdict]).toEqual(["tcx", "refused"]);
    const nobody = trace(sources(rows, { socketLB: false }), host, dial("10.96.0.1", 80));
    expect([nobody.path.at, nobody.verdict]).toEqual(["none", "not-a-service"]);
  });

  it.each([
    [{ backendId: 1, lastS: 990 }, true, "used 10 s ago"],
    [{ backendId: 1, lastS: 100 }, false, "timed out"],
    [{ backendId: 9, lastS: 990 }, false, "gone"],
    [{ backendId: 2, lastS: 990 }, false, "on another node"],
  ])("affinity %j", (row, honoured, reason) => {
    const flags = ServiceFlag.clusterIp | ServiceFlag.affinity | ServiceFlag.localOnly;
    const rows = rowsOf({ "10.96.0.1 80 0": { flags, affinityTimeoutS: 60 } }, { affinity: () => row });
    const { affinity } = trace(sources(rows), pod, dial("10.96.0.1", 80));
    expect(affinity?.honoured).toBe(honoured);
    expect(affinity?.reason).toContain(reason);
  });

  it("Maglev says what it hashes", () => {
    const rows = rowsOf({ "10.96.0.1 80 0": { algorithm: Algorithm.maglev } });
    expect(trace(sources(rows), pod, dial("10.96.0.1", 80)).selection).toMatchObject({
      algorithm: "maglev",
      reason: "hash of the client's address and ports in a table of 4",
    });
  });
});
