import {
  type Backend,
  backendSize,
  ConfigFlags,
  decodeNat,
  decodeSvcFlow,
  encodeBackend,
  encodeFlowKey,
  encodeNat,
  encodeNatKey,
  encodeSvcFlow,
  FlowFlags,
  type FlowKey,
  FlowKind,
  flowKeySize,
  type Nat,
  type NatKey,
  natKeySize,
  natSize,
  type SvcFlow,
  svcFlowSize,
} from "@axoneme/abi";
import { type Datapath, decoded, encoded, key32 } from "./datapath.ts";
import { mapped } from "./dissect.ts";
import type { Family } from "./scene.ts";

/** The rows of a forwarded flow of a Service, as the tc programs make them: client -> frontend, node -> backend. */
export interface Forwarded {
  f: Family;
  proto: number;
  client: string;
  clientPort: number;
  frontend: string;
  frontendPort: number;
  backend: string;
  backendPort: number;
  natPort: number;
  backendId: number;
}

/** A client in the world, a NodePort of this node, the pod c of the other node. */
export function forwardedOf(f: Family, proto: number): Forwarded {
  return {
    f,
    proto,
    client: f.world,
    clientPort: 40000,
    frontend: f.node,
    frontendPort: 30080,
    backend: f.c,
    backendPort: 8080,
    natPort: 50123,
    backendId: 700,
  };
}

const base = { saddr: new Uint8Array(16), daddr: new Uint8Array(16), sport: 0, dport: 0 };

export function flowKeyOf(flow: Forwarded): FlowKey {
  const { client, frontend, clientPort, frontendPort, proto } = flow;
  return {
    ...base,
    saddr: mapped(client),
    daddr: mapped(frontend),
    sport: clientPort,
    dport: frontendPort,
    proto,
  };
}

export function reverseKeyOf(flow: Forwarded): NatKey {
  const { backend, backendPort, natPort, proto, f } = flow;
  const ends = { saddr: mapped(backend), daddr: mapped(f.node), sport: backendPort, dport: natPort };
  return { ...ends, proto, reverse: 1 };
}

/** Seconds of CLOCK_MONOTONIC, as the programs count them. */
export function monotonicS(): number {
  return Math.floor(Number(process.hrtime.bigint() / 1_000_000_000n));
}

export interface FlowChange {
  flow?: Partial<SvcFlow>;
  nat?: Partial<Nat>;
  backend?: Partial<Backend> | "none";
}

/** Writes both rows and the backend's, with some of it otherwise. */
export function putFlow(dp: Datapath, flow: Forwarded, change: FlowChange = {}): void {
  const expiresS = monotonicS() + 30;
  const row: SvcFlow = {
    backendId: flow.backendId,
    expiresS,
    natAddr: mapped(flow.f.node),
    natPort: flow.natPort,
    kind: FlowKind.SNAT,
    flags: FlowFlags.SEEN_REPLY,
    way: 0n,
    ...change.flow,
  };
  const nat: Nat = {
    addr: mapped(flow.client),
    port: flow.clientPort,
    frontend: mapped(flow.frontend),
    frontendPort: flow.frontendPort,
    expiresS,
    way: 0n,
    ...change.nat,
  };
  dp.map("ax_svc_flows").put(
    encoded(flowKeySize, encodeFlowKey, flowKeyOf(flow)),
    encoded(svcFlowSize, encodeSvcFlow, row),
  );
  dp.map("ax_nat").put(
    encoded(natKeySize, encodeNatKey, reverseKeyOf(flow)),
    encoded(natSize, encodeNat, nat),
  );
  if (change.backend === "none") return;
  const backend: Backend = {
    addr: mapped(flow.backend),
    port: flow.backendPort,
    proto: flow.proto,
    state: 0,
    serviceId: 7,
    flags: 0,
    ...change.backend,
  };
  dp.rows("ax_backends").put(key32(flow.backendId), encoded(backendSize, encodeBackend, backend));
}

export function readFlow(dp: Datapath, flow: Forwarded): SvcFlow | undefined {
  const bytes = dp.map("ax_svc_flows").get(encoded(flowKeySize, encodeFlowKey, flowKeyOf(flow)));
  return bytes && decoded(decodeSvcFlow, bytes);
}

export function readReverse(dp: Datapath, flow: Forwarded): Nat | undefined {
  const bytes = dp.map("ax_nat").get(encoded(natKeySize, encodeNatKey, reverseKeyOf(flow)));
  return bytes && decoded(decodeNat, bytes);
}

/** Packets from outside are served. */
export function serving(dp: Datapath): void {
  dp.configure({ flags: ConfigFlags.IPV4 | ConfigFlags.IPV6 | ConfigFlags.SERVICES });
}
