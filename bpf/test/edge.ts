import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import * as abi from "@axoneme/abi";
import { ConfigFlags, type FlowKey, SvcFlags, type SvcFlow } from "@axoneme/abi";
import { type BackendSpec, Datapath, decoded, encoded } from "./datapath.ts";
import type { Devices } from "./devices.ts";
import { mapped } from "./dissect.ts";
import { Proto } from "./packet.ts";
import { type Family, families, peopled, v4 } from "./scene.ts";

/** The node's edge in the tables: its programs on shared maps, a client in the world, frontends of every kind. */

export const NODEPORT = 30080;
export const VIP: Record<string, string> = { IPv4: "198.51.100.7", IPv6: "2001:db8:99::7" };
export const bits = (f: Family) => (f.name === "IPv4" ? 32 : 128);
export const anyAddress = (f: Family) => (f.name === "IPv4" ? "0.0.0.0" : "::");

/** The way to the world. */
const router = (f: Family) => (f.name === "IPv4" ? "172.30.0.1" : "fd00:172:30::1");

const EP_HOST = 1;
const EP_NODEPORT = 8;
const PREFIX = "/sys/fs/bpf/axdp-edge";

export class Edge {
  readonly node: Datapath;
  readonly pod: Datapath;
  readonly overlay: Datapath;
  readonly gc: Datapath;
  readonly dev: Devices;
  readonly pinDir: string;

  constructor(dev: Devices, name: string) {
    this.dev = dev;
    this.pinDir = `${PREFIX}-${name}-${process.pid}`;
    mkdirSync(join(this.pinDir, "maps"), { recursive: true });
    this.node = new Datapath("node", this.pinDir);
    this.pod = new Datapath("pod", this.pinDir);
    this.overlay = new Datapath("overlay", this.pinDir);
    this.gc = new Datapath("gc", this.pinDir);
  }

  close(): void {
    for (const dp of [this.node, this.pod, this.overlay, this.gc]) dp.close();
    rmSync(this.pinDir, { recursive: true, force: true });
  }

  /** Everybody is there, the world is reached over the link, node addresses serve NodePorts. */
  reset(): void {
    const { node, dev } = this;
    node.reset();
    peopled(node, dev);
    node.configure({ flags: node.config.flags | ConfigFlags.SERVICES });
    for (const f of families) {
      node.endpoint(f.node, { identity: 1, flags: EP_HOST | EP_NODEPORT });
      node.ipcache(`${f.world}/${bits(f)}`, f.worldIdentity, router(f), abi.IpcacheFlags.DIRECT);
    }
  }

  /** From the wire. */
  arrives(data: Uint8Array, ifindex = this.dev.native) {
    return this.node.run("node_from", data, { ifindex });
  }

  /** What the host's stack sends out of the device. */
  leaves(data: Uint8Array, mark = 0) {
    return this.node.run("node_to", data, { ifindex: this.dev.native, mark });
  }

  fromPod(data: Uint8Array, ifindex = this.dev.b) {
    return this.pod.run("pod_from", data, { ifindex });
  }

  nodePort(
    f: Family,
    backends: BackendSpec[],
    proto: number = Proto.TCP,
    change: Partial<abi.Svc> = {},
  ): void {
    const at = { ip: anyAddress(f), port: NODEPORT, proto };
    this.node.service(proto === Proto.TCP ? 7 : 8, at, backends, { flags: SvcFlags.NODEPORT, ...change });
  }

  loadBalancer(
    f: Family,
    backends: BackendSpec[],
    proto: number = Proto.TCP,
    change: Partial<abi.Svc> = {},
  ): void {
    const at = { ip: VIP[f.name] ?? "", port: 80, proto };
    this.node.service(9, at, backends, { flags: SvcFlags.LOADBALANCER, ...change });
  }

  flows(): { key: FlowKey; row: SvcFlow }[] {
    return [...this.node.map("ax_svc_flows")].map(([key, value]) => ({
      key: decoded(abi.decodeFlowKey, key),
      row: decoded(abi.decodeSvcFlow, value),
    }));
  }

  /** Seconds until the only flow is forgotten. */
  timeLeft(): number {
    const [flow] = this.flows();
    return flow ? flow.row.expiresS - nowS() : Number.NaN;
  }

  /** As if the client had had this backend then. */
  keepAffinity(client: string, serviceId: number, backendId: number, lastS: number): void {
    const key = { client: mapped(client), serviceId };
    this.node
      .map("ax_affinity")
      .put(
        encoded(abi.affinityKeySize, abi.encodeAffinityKey, key),
        encoded(abi.affinitySize, abi.encodeAffinity, { backendId, lastS }),
      );
  }

  /** All flows end then, unless something is heard of them. */
  expireFlowsAt(seconds: number): void {
    for (const { key, row } of this.flows())
      this.node
        .map("ax_svc_flows")
        .put(
          encoded(abi.flowKeySize, abi.encodeFlowKey, key),
          encoded(abi.svcFlowSize, abi.encodeSvcFlow, { ...row, expiresS: seconds }),
        );
  }

  sweep(nowSeconds = nowS()): abi.GcCtx {
    const blank = decoded(abi.decodeGcCtx, new Uint8Array(abi.gcCtxSize));
    const ctx = encoded(abi.gcCtxSize, abi.encodeGcCtx, { ...blank, nowS: nowSeconds });
    return decoded(abi.decodeGcCtx, this.gc.object.program("ct_gc").testRun({ ctx }).ctxOut);
  }

  natStats(): abi.NatStat {
    const rows = this.node.map("ax_nat_stats").getPerCpu(new Uint8Array(4)) ?? [];
    const all = rows.map((bytes) => decoded(abi.decodeNatStat, bytes));
    const sum = { ...decoded(abi.decodeNatStat, new Uint8Array(abi.natStatSize)) };
    for (const one of all)
      for (const name of Object.keys(sum) as (keyof abi.NatStat)[]) sum[name] += one[name];
    return sum;
  }
}

export function nowS(): number {
  return Number(process.hrtime.bigint() / 1_000_000_000n);
}

/** Where the transport header begins in a plain packet. */
export const l4At = (f: Family) => (f.name === "IPv4" ? 34 : 54);
export const isV4 = (f: Family) => f === v4;
