import { formatIp, formatPrefix, hostPrefix, type Ip, isV4Prefix, type Prefix, parseIp } from "@axoneme/base";
import { Ipcache } from "@axoneme/identity";
import { beforeEach, expect, test } from "vitest";
import { addressFor } from "../src/node/local-node.ts";
import { peerOf } from "../src/node/peers.ts";
import { RemoteEndpoints, trimEndpoint } from "../src/remote-endpoints.ts";
import type { PeerPortClaim } from "../src/state/container-ports.ts";
import type { PolicyModule } from "../src/state/policy.ts";
import { asPublished } from "./pod-identities.ts";

const ownNode = parseIp("172.30.0.11");
const otherNode = { v4: parseIp("172.30.0.12"), v6: parseIp("fd00:172:30::12") };

let ipcache: Ipcache;
let remote: RemoteEndpoints;
let known: boolean;
let ports: Map<string, number>;

beforeEach(() => {
  ipcache = new Ipcache();
  known = true;
  ports = new Map();
  // Of the policy module only what it is told matters here.
  const policy = {
    setPeerPorts: (claims: readonly PeerPortClaim[]) => {
      for (const { pod, identity } of claims) ports.set(pod, identity);
    },
    deletePeerPorts: (pods: readonly string[]) => {
      for (const pod of pods) ports.delete(pod);
    },
  } as unknown as PolicyModule;
  const wayTo = (_node: Ip, prefix: Prefix) =>
    known ? { nodeIp: isV4Prefix(prefix) ? otherNode.v4 : otherNode.v6, direct: true } : {};
  remote = new RemoteEndpoints({
    ipcache,
    ipcacheWriter: { flush: () => undefined },
    policy,
    podIdentities: asPublished(),
    isOwn: (ip) => formatIp(ip) === formatIp(ownNode),
    wayTo,
    podWays: { place: () => undefined, forget: () => undefined },
  });
});

const handover = { carryAddress: () => undefined };

const pod = (over: { node?: string; ipv4?: string; ipv6?: string; id?: number; ports?: [] } = {}) =>
  trimEndpoint({
    metadata: { namespace: "shop", name: "web" },
    status: {
      identity: { id: over.id ?? 5000 },
      networking: {
        addressing: [{ ipv4: over.ipv4 ?? "10.0.1.7", ipv6: over.ipv6 ?? "fd10::1:7" }],
        node: over.node ?? "172.30.0.12",
      },
      "named-ports": over.ports ?? [{ name: "http", port: 80, protocol: "TCP" }],
    },
  });

const entry = (ip: string) => ipcache.get(hostPrefix(parseIp(ip)));
const nextHop = (ip: string) => {
  const node = entry(ip)?.nodeIp;
  return node && formatIp(node);
};

test("each address of a pod is reached by the node's address of its family", () => {
  remote.open(handover);
  remote.handlers().onAdd?.(pod());
  expect(nextHop("10.0.1.7")).toBe("172.30.0.12");
  expect(nextHop("fd10::1:7")).toBe("fd00:172:30::12");
  expect(entry("10.0.1.7")).toMatchObject({ identity: 5000, pod: { namespace: "shop", name: "web" } });
  expect(ports.get("cep/shop/web")).toBe(5000);
});

test("until everything is known pods are held back, and what the kernel has of them stays", () => {
  known = false;
  remote.handlers().onAdd?.(pod());
  expect(entry("fd10::1:7")).toBeUndefined();
  remote.open(handover);
  expect(entry("fd10::1:7")?.identity).toBe(5000);
  expect(nextHop("fd10::1:7")).toBeUndefined();
});

test("a pod that is known before its node gets its next hop when the node comes", () => {
  known = false;
  remote.open(handover);
  remote.handlers().onAdd?.(pod());
  expect(entry("fd10::1:7")?.identity).toBe(5000);
  expect(nextHop("fd10::1:7")).toBeUndefined();
  known = true;
  remote.nodeChanged([otherNode.v4, otherNode.v6]);
  expect(nextHop("fd10::1:7")).toBe("fd00:172:30::12");
  expect(nextHop("10.0.1.7")).toBe("172.30.0.12");
});

test("pods of this node, and identities of node scope from elsewhere, are not learnt", () => {
  remote.handlers().onAdd?.(pod({ node: "172.30.0.11" }));
  remote.handlers().onAdd?.(pod({ ipv4: "10.0.1.8", id: (1 << 24) | 1 }));
  remote.handlers().onAdd?.(pod({ ipv4: "10.0.1.9", id: 0 }));
  for (const ip of ["10.0.1.7", "10.0.1.8", "10.0.1.9"]) expect(entry(ip)).toBeUndefined();
});

test("an address that a pod no longer has is forgotten, and all of them with the pod", () => {
  remote.open(handover);
  const handlers = remote.handlers();
  handlers.onAdd?.(pod());
  handlers.onUpdate?.(pod({ ipv4: "10.0.1.70" }), pod());
  expect(entry("10.0.1.7")).toBeUndefined();
  expect(entry("10.0.1.70")?.identity).toBe(5000);
  handlers.onDelete?.(pod({ ipv4: "10.0.1.70" }));
  expect(entry("10.0.1.70")).toBeUndefined();
  expect(entry("fd10::1:7")).toBeUndefined();
  expect(ports.size).toBe(0);
});

test("a pod's named ports go with the last of them", () => {
  const handlers = remote.handlers();
  handlers.onAdd?.(pod());
  handlers.onUpdate?.(pod({ ports: [] }), pod());
  expect(ports.size).toBe(0);
  handlers.onUpdate?.(pod(), pod({ ports: [] }));
  expect(ports.get("cep/shop/web")).toBe(5000);
});

test("a CiliumNode is read with what can be read of it", () => {
  const peer = peerOf({
    metadata: { name: "node2" },
    spec: {
      addresses: [
        { type: "InternalIP", ip: "172.30.0.12" },
        { type: "InternalIP", ip: "fd00:172:30::12" },
        { type: "CiliumInternalIP", ip: "10.0.1.1" },
        { type: "InternalIP", ip: "nonsense" },
      ],
      ipam: { podCIDRs: ["10.0.1.0/24", "bad", "fd10:0:0:1::/64"] },
    },
  });
  expect(peer.addresses.map(formatIp)).toEqual(["172.30.0.12", "fd00:172:30::12"]);
  expect(peer.gateways.map(formatIp)).toEqual(["10.0.1.1"]);
  expect(peer.podCidrs.map(formatPrefix)).toEqual(["10.0.1.0/24", "fd10:0:0:1::/64"]);
  const hop = addressFor(peer.addresses, hostPrefix(parseIp("fd10::5")));
  expect(hop && formatIp(hop)).toBe("fd00:172:30::12");
});
