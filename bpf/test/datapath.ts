import * as abi from "@axoneme/abi";
import {
  type Config,
  ConfigFlags,
  type Ct,
  type CtKey,
  configSize,
  ctKeySize,
  decodeCt,
  decodeCtKey,
  decodeEvent,
  decodeMetric,
  decodeNat,
  decodeNatKey,
  type Endpoint,
  type Event,
  encodeBackend,
  encodeConfig,
  encodeCt,
  encodeCtKey,
  encodeEndpoint,
  encodeIpcacheEntry,
  encodeIpcacheKey,
  encodePolicyHead,
  encodePolicyKey,
  encodePolicyRow,
  encodeSvc,
  encodeSvcKey,
  endpointSize,
  eventSize,
  type Nat,
  type NatKey,
} from "@axoneme/abi";
import { formatIp, type Ip, parseMac, parsePrefix } from "@axoneme/base";
import { type BpfMap, BpfObject, type LoadedObject, possibleCpus, RingBuffer } from "@axoneme/bpf";
import { GrowingMap, type GrowingShape, writeSlots } from "@axoneme/datapath";
import { builtFile } from "@axoneme/netlink";
import { mapped } from "./dissect.ts";
import { hostMac, podMac } from "./packet.ts";

/** Small, so that loading is quick. */
const SIZES: Record<string, number> = {
  ax_ct: 4096,
  ax_endpoints: 256,
  ax_sock_rev: 256,
  ax_svc_flows: 1024,
  ax_frags: 256,
  ax_events: 1 << 20,
};

/** Small first inner maps. */
const growing: Record<string, GrowingShape> = {
  ax_services: {
    type: "hash",
    keySize: abi.svcKeySize,
    valueSize: abi.svcSize,
    initial: 64,
    limit: 1 << 20,
  },
  ax_backends: { type: "hash", keySize: 4, valueSize: abi.backendSize, initial: 64, limit: 1 << 20 },
  ax_slots: { type: "array", keySize: 4, valueSize: abi.slotSize, initial: 1024, limit: 1 << 22 },
};

/** Verdicts of a tc program. */
export const Verdict = { PASS: 0, DROP: 2, REDIRECT: 7 } as const;

export function encoded<T>(
  size: number,
  encode: (v: T, view: DataView, off: number) => void,
  value: T,
): Uint8Array {
  const bytes = new Uint8Array(size);
  encode(value, new DataView(bytes.buffer), 0);
  return bytes;
}

export function decoded<T>(decode: (view: DataView, off: number) => T, bytes: Uint8Array): T {
  return decode(new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), 0);
}

export function key32(value: number): Uint8Array {
  return new Uint8Array(new Uint32Array([value]).buffer);
}

export const defaultConfig: Config = {
  epoch: 1,
  flags: ConfigFlags.IPV4 | ConfigFlags.IPV6,
  deviceIfindex: 0,
  tunnelIfindex: 0,
  nodeIp4: mapped("172.30.0.11"),
  nodeIp6: mapped("fd00:172:30::11"),
  natPortMin: 32768,
  natPortMax: 65535,
  mtu: 1500,
  aggregation: 3,
  reportIntervalS: 5,
  ctTimeoutTcpS: 8000,
  ctTimeoutTcpSynS: 60,
  ctTimeoutTcpFinS: 10,
  ctTimeoutAnyS: 60,
  ctTimeoutSvcS: 8000,
  tunnelPort: 0,
  natCpus: possibleCpus(),
  hashSeed: 0,
  deviceMac: new Uint8Array(6),
  proxyPort: 0,
  proxyIp4: new Uint8Array(16),
  proxyIp6: new Uint8Array(16),
  hostPolicyId: 0,
};

const noShapes = { both: 0, exact: 0, cidr: 0, any: 0, flags: 0 };

export interface PolicyRowSpec {
  policy: number;
  dir: "ingress" | "egress";
  peer?: number;
  /** Number of a prefix, see `cidr`. */
  cidr?: number;
  proto?: number;
  port?: number;
  /** Length of the port prefix, default 16 when a port is given. */
  bits?: number;
  verdict?: number;
  precedence?: number;
  rule: number;
  proxyPort?: number;
}

/** What a client dials. The unspecified address stands for all addresses of the node. */
export interface FrontendSpec {
  ip: string;
  port: number;
  proto: number;
  scope?: number;
}

export interface BackendSpec {
  ip: string;
  port: number;
  state?: number;
  local?: boolean;
}

export interface RunOptions {
  ifindex?: number;
  mark?: number;
  /** The device it came through; absent: it was made here. */
  ingressIfindex?: number;
}

export interface RunResult {
  verdict: number;
  out: Uint8Array;
  mark: number;
}

/** One object with maps of its own, filled by hand; what the agent does, in miniature. */
export class Datapath {
  readonly object: LoadedObject;
  readonly #events: RingBuffer | undefined;
  readonly #growing = new Map<string, GrowingMap>();
  #config: Config = { ...defaultConfig };
  readonly #heads = new Map<number, typeof noShapes & { rule: number; verdict: number }>();

  /**
   * With `pinDir` the maps are shared with the node's other objects, and keep their default sizes. Not `first`: what
   * they hold stays.
   */
  constructor(name: string, pinDir?: string, first = true) {
    const object = BpfObject.open(builtFile(`bpf/${name}.bpf.o`));
    const names = new Set(object.spec.maps.map((map) => map.name));
    const maxEntries = Object.fromEntries(Object.entries(SIZES).filter(([map]) => names.has(map)));
    this.object = object.configure(pinDir ? { pinDir } : { maxEntries }).load();
    for (const [map, shape] of Object.entries(growing)) {
      if (names.has(map)) this.#growing.set(map, GrowingMap.open(this.object.map(map), shape));
    }
    if (names.has("ax_events")) this.#events = RingBuffer.open(this.object.map("ax_events"));
    if (first) this.configure({});
  }

  close(): void {
    this.#events?.close();
    this.object.close();
  }

  map(name: string): BpfMap {
    return this.object.map(name);
  }

  /** Empties every map a row may have filled, and goes back to the default configuration. */
  reset(): void {
    for (const map of this.object.maps.values()) {
      if (
        map.name.startsWith("ax_") &&
        ![
          "ax_config",
          "ax_metrics",
          "ax_events",
          "ax_scratch",
          "ax_sock",
          "ax_nat_pools",
          "ax_nat_stats",
          "ax_owner",
          "ax_process_seq",
        ].includes(map.name) &&
        !this.#growing.has(map.name)
      )
        map.clear();
    }
    for (const map of this.#growing.values()) if (map.name !== "ax_slots") clearRows(map);
    this.#clearMetrics();
    this.#heads.clear();
    this.#config = { ...defaultConfig };
    this.configure({});
    this.events();
  }

  #clearMetrics(): void {
    if (!this.object.maps.has("ax_metrics")) return;
    const metrics = this.map("ax_metrics");
    const keys = new Uint8Array(new Uint32Array(metrics.maxEntries).map((_, i) => i).buffer);
    metrics.putBatch(keys, new Uint8Array(metrics.entrySize * metrics.maxEntries), metrics.maxEntries);
  }

  configure(change: Partial<Config>): void {
    this.#config = { ...this.#config, ...change };
    this.map("ax_config").put(key32(0), encoded(configSize, encodeConfig, this.#config));
  }

  get config(): Readonly<Config> {
    return this.#config;
  }

  /** After a change of endpoints, policy or ipcache, as the agent does. */
  nextEpoch(): void {
    this.configure({ epoch: this.#config.epoch + 1 });
  }

  endpoint(ip: string, e: Partial<Endpoint>): void {
    const row: Endpoint = {
      ifindex: 0,
      identity: 0,
      policyId: 0,
      id: 0,
      flags: 0,
      mac: parseMac(podMac),
      hostMac: parseMac(hostMac),
      ...e,
    };
    this.map("ax_endpoints").put(mapped(ip), encoded(endpointSize, encodeEndpoint, row));
  }

  ipcache(prefix: string, identity: number, nodeIp?: string, flags = 0): void {
    const row = { identity, flags, nodeIp: nodeIp ? mapped(nodeIp) : new Uint8Array(16) };
    this.map("ax_ipcache").put(lpmKey(prefix), encoded(abi.ipcacheEntrySize, encodeIpcacheEntry, row));
  }

  /** A prefix that rules name, and its number. */
  cidr(prefix: string, number: number): void {
    this.map("ax_cidrs").put(lpmKey(prefix), key32(number));
  }

  /** A source that is dropped at the edge. */
  deny(prefix: string): void {
    this.map("ax_deny").put(lpmKey(prefix), key32(1));
  }

  noMasquerade(prefix: string): void {
    this.map("ax_nomasq").put(lpmKey(prefix), key32(1));
  }

  /** A policy's default for a direction: `deny` unless said otherwise. */
  policyHead(
    policy: number,
    dir: "ingress" | "egress",
    rule: number,
    verdict: number = abi.PolicyVerdict.DEFAULT_DENY,
  ): void {
    const key = headKey(policy, dir);
    const head = this.#heads.get(key) ?? { ...noShapes, rule, verdict };
    this.#heads.set(key, { ...head, rule, verdict });
    this.#writeHead(key);
  }

  /** Rows of a policy are final answers from now on. */
  layered(policy: number, dir: "ingress" | "egress"): void {
    const key = headKey(policy, dir);
    const head = this.#heads.get(key);
    if (head) this.#heads.set(key, { ...head, flags: abi.PolicyFlags.LAYERED });
    this.#writeHead(key);
  }

  policyRow(r: PolicyRowSpec): void {
    const shape = r.proto === undefined ? 0 : r.port === undefined ? 8 : 8 + (r.bits ?? 16);
    const keep = shape <= 8 ? 0 : (0xffff << (24 - shape)) & 0xffff;
    const key = encoded(abi.policyKeySize, encodePolicyKey, {
      policyId: r.policy,
      identity: r.peer ?? 0,
      cidr: r.cidr ?? 0,
      port: (r.port ?? 0) & keep,
      proto: r.proto ?? 0,
      shape: shape | (r.dir === "egress" ? 0x80 : 0),
    });
    const row = encoded(abi.policyRowSize, encodePolicyRow, {
      precedence: r.precedence ?? 1,
      ruleId: r.rule,
      proxyPort: r.proxyPort ?? 0,
      verdict: r.verdict ?? abi.PolicyVerdict.ALLOW,
    });
    this.map("ax_policy").put(key, row);
    const at = headKey(r.policy, r.dir);
    const head = this.#heads.get(at) ?? {
      ...noShapes,
      rule: 0,
      verdict: abi.PolicyVerdict.DEFAULT_DENY,
    };
    if (r.peer) head[r.cidr ? "both" : "exact"] |= 1 << shape;
    else head[r.cidr ? "cidr" : "any"] |= 1 << shape;
    this.#heads.set(at, head);
    this.#writeHead(at);
  }

  #writeHead(key: number): void {
    const head = this.#heads.get(key);
    if (!head) return;
    const row = {
      shapesBoth: head.both,
      shapesExact: head.exact,
      shapesCidr: head.cidr,
      shapesAny: head.any,
      defaultRule: head.rule,
      defaultVerdict: head.verdict,
      flags: head.flags,
    };
    this.map("ax_policy_heads").put(key32(key), encoded(abi.policyHeadSize, encodePolicyHead, row));
  }

  /** Rows of a map that grows. */
  rows(name: "ax_services" | "ax_backends" | "ax_slots"): GrowingMap {
    const map = this.#growing.get(name);
    if (!map) throw new Error(`the object has no map ${name}`);
    return map;
  }

  /**
   * A service and its backends. Its service id is `id`, its slots stand at `id * 100`, its backends have the ids
   * `id * 100` and up.
   */
  service(id: number, frontend: FrontendSpec, backends: BackendSpec[], change: Partial<abi.Svc> = {}): void {
    const { ip, port, proto, scope = 0 } = frontend;
    backends.forEach((b, slot) => {
      const backend = id * 100 + slot;
      const row: abi.Backend = {
        addr: mapped(b.ip),
        port: b.port,
        proto,
        state: b.state ?? 0,
        serviceId: change.serviceId ?? id,
        flags: b.local ? abi.BackendFlags.LOCAL : 0,
      };
      this.rows("ax_backends").put(key32(backend), encoded(abi.backendSize, encodeBackend, row));
      this.slots(backend, [backend]);
    });
    const svc: abi.Svc = {
      serviceId: id,
      slotsOff: id * 100,
      slots: backends.length,
      count: backends.length,
      affinityTimeoutS: 0,
      flags: abi.SvcFlags.CLUSTERIP,
      algorithm: 0,
      forwarding: 0,
      ...change,
    };
    const key = encoded(abi.svcKeySize, encodeSvcKey, { addr: mapped(ip), port, proto, scope });
    this.rows("ax_services").put(key, encoded(abi.svcSize, encodeSvc, svc));
  }

  /**
   * A range of slots: the backends of these ids as their rows say, and behind them the Maglev table, if any. A backend
   * without a row is of no Service.
   */
  slots(offset: number, ids: readonly number[], table?: Uint16Array): void {
    const rows = ids.map((id) => {
      const bytes = this.rows("ax_backends").get(key32(id));
      return { id, row: bytes && decoded(abi.decodeBackend, bytes) };
    });
    writeSlots(this.rows("ax_slots"), [
      {
        op: "put-slots",
        offset,
        serviceId: rows[0]?.row?.serviceId ?? 0,
        backends: rows.map(({ id, row }) => ({
          id,
          address: row ? formatIp(row.addr) : "::",
          port: row?.port ?? 0,
        })),
        table,
      },
    ]);
  }

  run(program: string, data: Uint8Array, options: RunOptions = {}): RunResult {
    const ctx = new Uint8Array(192);
    const view = new DataView(ctx.buffer);
    view.setUint32(8, options.mark ?? 0, true);
    view.setUint32(36, options.ingressIfindex ?? 0, true);
    view.setUint32(40, options.ifindex ?? 1, true);
    const result = this.object.program(program).testRun({ data, ctx });
    const mark = new DataView(result.ctxOut.buffer).getUint32(8, true);
    return { verdict: result.retval, out: result.dataOut, mark };
  }

  events(): Event[] {
    const out: Event[] = [];
    const bytes = new Uint8Array(eventSize * 4096);
    const count = this.#events?.drainPacked(bytes, eventSize) ?? 0;
    for (let i = 0; i < count; i++) out.push(decodeEvent(new DataView(bytes.buffer), i * eventSize));
    return out;
  }

  /** Calls back when the programs wake their reader, once. */
  onWakeup(call: () => void): void {
    this.#events?.watch(call);
  }

  connections(): (CtKey & Ct)[] {
    return [...this.map("ax_ct")].map(([key, value]) => ({
      ...decoded(decodeCtKey, key),
      ...decoded(decodeCt, value),
    }));
  }

  putConnection(ct: CtKey & Ct): void {
    this.map("ax_ct").put(encoded(ctKeySize, encodeCtKey, ct), encoded(abi.ctSize, encodeCt, ct));
  }

  mappings(): { key: NatKey; row: Nat }[] {
    return [...this.map("ax_nat")].map(([key, value]) => ({
      key: decoded(decodeNatKey, key),
      row: decoded(decodeNat, value),
    }));
  }

  /** Packets counted under a drop reason (0: forwarded) and direction. */
  counted(reason: number, dir: 0 | 1 | 2): bigint {
    const values = this.map("ax_metrics").getPerCpu(key32((reason << 2) | dir)) ?? [];
    return values.reduce((sum, bytes) => sum + decoded(decodeMetric, bytes).packets, 0n);
  }
}

function clearRows(map: GrowingMap): void {
  const { keys, count } = map.dump();
  map.deleteBatch(keys, count);
}

function headKey(policy: number, dir: "ingress" | "egress"): number {
  return (policy << 1) | (dir === "egress" ? 1 : 0);
}

function lpmKey(prefix: string): Uint8Array {
  const { ip, length } = parsePrefix(prefix);
  return encoded(abi.ipcacheKeySize, encodeIpcacheKey, { prefixlen: length, addr: Uint8Array.from(ip) });
}

export function text(addr: Uint8Array): string {
  return formatIp(addr as Ip);
}
