import { ConfigFlags, DropReason, FlowKind, SvcAlgorithm, SvcFlags } from "@axoneme/abi";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { concat, u32 } from "./bytes.ts";
import { Verdict } from "./datapath.ts";
import { makeDevices } from "./devices.ts";
import { dissect, mapped } from "./dissect.ts";
import { anyAddress, bits, Edge, isV4, l4At, NODEPORT, nowS, VIP } from "./edge.ts";
import { forwardedOf, putFlow } from "./flows.ts";
import { echo, other, Proto, Tcp, tcp, udp } from "./packet.ts";
import { families, guarded } from "./scene.ts";
import { Wire } from "./wire.ts";

/** The node's edge where things are not as usual: foreign backends, moved addresses, short frames, what nobody can read. */
const GRE = 47;

let edge: Edge;

beforeAll(async () => {
  edge = new Edge(await makeDevices(), "odd");
});
afterAll(async () => {
  edge.close();
  await edge.dev.remove();
});
beforeEach(() => edge.reset());

describe.each(families)("the edge, $name", (f) => {
  const dial = { src: f.world, dst: f.node, sport: 40000, dport: NODEPORT };
  const syn = tcp({ ...dial, flags: Tcp.SYN });

  test.each([
    ["a server outside of the cluster", isV4(f) ? "203.0.113.9" : "2001:db8:203::9", 0],
    ["a node that the API server runs on", isV4(f) ? "172.30.0.13" : "fd00:172:30::13", 7],
  ])("no direct return for %s: it would answer under its own address", (_, backend, identity) => {
    if (identity) edge.node.ipcache(`${backend}/${bits(f)}`, identity);
    edge.nodePort(f, [{ ip: backend, port: 443 }], Proto.TCP, { forwarding: 1 });
    edge.arrives(syn);
    expect(edge.flows()[0]?.row.kind).toBe(FlowKind.SNAT);
  });

  test("a backend whose address has come to this node is met anew, by its policy", () => {
    guarded(edge.node, edge.dev);
    edge.node.endpoint(f.node, { identity: 1, flags: 9 });
    edge.node.configure({ flags: edge.node.config.flags | ConfigFlags.SERVICES });
    edge.nodePort(f, [{ ip: f.b, port: 8080 }]);
    putFlow(edge.node, { ...forwardedOf(f, Proto.TCP), backend: f.b });
    const ack = tcp({ ...dial, flags: Tcp.ACK });
    expect(edge.arrives(ack).verdict).toBe(Verdict.DROP);
    expect(edge.node.events().at(-1)?.subtype).toBe(DropReason.STALE_OR_UNROUTABLE);
    expect(edge.arrives(ack).verdict).toBe(Verdict.DROP);
    expect(edge.node.events().at(-1)?.subtype).toBe(DropReason.POLICY);
  });

  test("a backend whose address has left this node is met anew", () => {
    edge.nodePort(f, [{ ip: f.b, port: 80 }], Proto.UDP);
    edge.arrives(udp(dial));
    edge.node.map("ax_endpoints").delete(mapped(f.b));
    edge.node.ipcache(`${f.b}/${bits(f)}`, 400, f.otherNode, 1);
    edge.node.nextEpoch();
    expect(edge.arrives(udp(dial)).verdict).toBe(Verdict.DROP);
    expect(dissect(edge.arrives(udp(dial)).out)).toMatchObject({ src: f.node, dst: f.b, wrong: [] });
  });

  test("an answer is no way round the policy of a pod that has its client's address now", () => {
    edge.nodePort(f, [{ ip: f.c, port: 80 }]);
    edge.arrives(syn);
    edge.node.endpoint(f.world, { ifindex: edge.dev.a, identity: 300, id: 9, policyId: 2 });
    const answer = tcp({ src: f.c, dst: f.node, sport: 80, dport: 40000 });
    expect(edge.arrives(answer).verdict).toBe(Verdict.DROP);
  });

  test("the padding of a short frame is no payload that a reset acknowledges", () => {
    edge.nodePort(f, []);
    const { verdict, out } = edge.arrives(concat(syn, new Uint8Array(12)));
    expect(verdict).toBe(Verdict.REDIRECT);
    expect(out.subarray(l4At(f) + 8, l4At(f) + 12)).toEqual(u32(2));
    expect(dissect(out).wrong).toEqual([]);
  });

  test("affinity holds when its row was written in a second that has not begun here", () => {
    const flags = SvcFlags.NODEPORT | SvcFlags.AFFINITY;
    const many = Array.from({ length: 64 }, (_, i) => ({ ip: f.c, port: 1000 + i }));
    edge.nodePort(f, many, Proto.TCP, { flags, affinityTimeoutS: 10 });
    const ports = Array.from({ length: 8 }, (_, i) => {
      edge.keepAffinity(f.world, 7, 742, nowS() + 1);
      return dissect(edge.arrives(tcp({ ...dial, sport: 40000 + i, flags: Tcp.SYN })).out).dport;
    });
    expect(new Set(ports)).toEqual(new Set([1042]));
  });

  test("every entry of a Maglev table leads to its backend, wherever in a slot it stands", () => {
    const many = Array.from({ length: 31 }, (_, i) => ({ ip: f.c, port: 1000 + i }));
    const maglev = { algorithm: SvcAlgorithm.MAGLEV, slotsOff: 300, slots: 31, count: 31 };
    edge.nodePort(f, many, Proto.TCP, maglev);
    const ids = many.map((_, i) => 700 + i);
    const reached = (table: Uint16Array) => {
      edge.node.slots(300, ids, table);
      edge.node.map("ax_svc_flows").clear();
      edge.node.map("ax_nat").clear();
      return Array.from({ length: 300 }, (_, i) => {
        const { out } = edge.arrives(tcp({ ...dial, sport: 41_000 + i, flags: Tcp.SYN }));
        return (dissect(out).dport ?? 0) - 1000;
      });
    };
    const there = reached(Uint16Array.from(ids, (_, entry) => entry));
    const back = reached(Uint16Array.from(ids, (_, entry) => 30 - entry));
    expect([...new Set(there)].sort((a, b) => a - b)).toEqual(ids.map((_, i) => i));
    expect(back).toEqual(there.map((entry) => 30 - entry));
  });

  test("a table is not taken for backends: the row was replaced under the reader", () => {
    edge.nodePort(f, [{ ip: f.c, port: 80 }], Proto.TCP, { slotsOff: 301 });
    edge.node.slots(300, [700], new Uint16Array(14).fill(7));
    expect(edge.arrives(syn).out[l4At(f) + 13]).toBe(Tcp.RST | Tcp.ACK);
  });

  test("a slot with another Service's backend is not used: the row was replaced under the reader", () => {
    edge.loadBalancer(f, [{ ip: f.c, port: 80 }]);
    edge.nodePort(f, [{ ip: f.c, port: 81 }], Proto.TCP, { slotsOff: 900 });
    expect(edge.arrives(syn).out[l4At(f) + 13]).toBe(Tcp.RST | Tcp.ACK);
    expect(edge.flows()).toEqual([]);
  });

  test("datagrams that only the server sends keep the flow at its backend", () => {
    edge.nodePort(f, [{ ip: f.b, port: 53 }], Proto.UDP);
    edge.arrives(udp(dial));
    edge.expireFlowsAt(nowS() + 5);
    edge.fromPod(udp({ src: f.b, dst: f.world, sport: 53, dport: 40000 }));
    expect(edge.timeLeft()).toBeGreaterThan(50);
  });

  test("an echo of a Service's address comes back from however far", () => {
    const vip = VIP[f.name] ?? "";
    edge.node.service(0, { ip: vip, port: 0, proto: 0 }, [], { flags: SvcFlags.LOADBALANCER });
    const { out } = edge.arrives(echo({ src: f.world, dst: vip, id: 5, ttl: 1 }));
    expect(dissect(out)).toMatchObject({ src: vip, dst: f.world, ttl: 64, wrong: [] });
  });

  test("what nobody can read ends at a Service's address instead of going round in circles", () => {
    const vip = VIP[f.name] ?? "";
    const stray = [
      other({ src: f.world, dst: vip }, GRE),
      udp({ ...dial, dst: vip, id: 99, fragOffset: 64 }),
    ];
    for (const packet of stray) expect(edge.arrives(packet).verdict).toBe(Verdict.PASS);
    edge.node.service(0, { ip: vip, port: 0, proto: 0 }, [], { flags: SvcFlags.LOADBALANCER });
    for (const packet of stray) expect(edge.arrives(packet).verdict).toBe(Verdict.DROP);
    expect(edge.arrives(other({ src: f.world, dst: f.node }, GRE)).verdict).toBe(Verdict.PASS);
  });

  test("where there is a tunnel, only what goes through it has to fit into it", async () => {
    const wire = await Wire.create();
    try {
      edge.node.configure({ flags: edge.node.config.flags | ConfigFlags.TUNNEL, mtu: 1400 });
      const client = { ...dial, src: isV4(f) ? "192.0.2.9" : "2001:db8::9" };
      const large = tcp({ ...client, payload: new Uint8Array(1400) });
      if (isV4(f)) large[20] = 0x40;
      edge.nodePort(f, [{ ip: f.otherNode, port: 80 }]);
      const native = wire.tc(edge.node, "node_from", large);
      expect(native.verdict).toBe(Verdict.REDIRECT);
      expect(dissect(native.out)).toMatchObject({ src: f.node, dst: f.otherNode, dport: 80 });
      edge.node.map("ax_svc_flows").clear();
      edge.nodePort(f, [{ ip: f.c, port: 80 }]);
      const tunnelled = dissect(wire.tc(edge.node, "node_from", large).out);
      expect(tunnelled).toMatchObject({ dst: client.src, ...(isV4(f) ? { type: 3, code: 4 } : { type: 2 }) });
    } finally {
      await wire.remove();
    }
  });

  test("the tunnel's packets are the tunnel's, whatever else has its port", () => {
    edge.node.configure({ flags: edge.node.config.flags | ConfigFlags.TUNNEL });
    const at = { ip: anyAddress(f), port: 8472, proto: Proto.UDP };
    edge.node.service(8, at, [{ ip: f.b, port: 53 }], { flags: SvcFlags.HOSTPORT });
    const outer = udp({ src: f.otherNode, dst: f.node, sport: 50000, dport: 8472 });
    expect(edge.arrives(outer)).toMatchObject({ verdict: Verdict.PASS, out: outer });
    expect(edge.flows()).toEqual([]);
  });
});
