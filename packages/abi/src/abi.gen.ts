// Generated from the BTF of bpf/abi.bpf.c by scripts/gen-abi.mjs. Do not edit.
import { bytesIn, type MapLayout, putBytes, type StructLayout } from "./layout.ts";

/** enum ax_aggregation. */
export const Aggregation = {
  NONE: 0,
  LOWEST: 1,
  LOW: 2,
  MEDIUM: 3,
  MAX: 4,
} as const;
export type Aggregation = (typeof Aggregation)[keyof typeof Aggregation];

/** enum ax_backend_flags. */
export const BackendFlags = {
  LOCAL: 1,
} as const;
export type BackendFlags = (typeof BackendFlags)[keyof typeof BackendFlags];

/** enum ax_config_flags. */
export const ConfigFlags = {
  IPV4: 1,
  IPV6: 2,
  TUNNEL: 4,
  MASQUERADE4: 8,
  MASQUERADE6: 16,
  POLICY_AUDIT: 32,
  SERVICES: 64,
  DSR_IPIP: 128,
  XDP: 256,
  XDP_REDIRECT: 512,
  PROCESSES: 1024,
  CIDR_NOT_PODS: 2048,
  CIDR_NOT_NODES: 4096,
} as const;
export type ConfigFlags = (typeof ConfigFlags)[keyof typeof ConfigFlags];

/** enum ax_ct_flags. */
export const CtFlags = {
  INITIATOR_B: 1,
  SEEN_REPLY: 2,
  FIN_A: 4,
  FIN_B: 8,
  CLOSED: 16,
  AUDITED: 32,
  REFUSED: 64,
  MASQUERADE: 128,
  LOOPBACK: 256,
  DSR: 512,
  PROXIED: 1024,
} as const;
export type CtFlags = (typeof CtFlags)[keyof typeof CtFlags];

/** enum ax_ct_path. */
export const CtPath = {
  UNKNOWN: 0,
  PEER: 1,
  STACK: 2,
  NEIGH: 3,
  TUNNEL: 4,
  DIRECT: 5,
  PROXY: 6,
} as const;
export type CtPath = (typeof CtPath)[keyof typeof CtPath];

/** enum ax_dir. */
export const Dir = {
  INGRESS: 0,
  EGRESS: 1,
} as const;
export type Dir = (typeof Dir)[keyof typeof Dir];

/** enum ax_drop. */
export const DropReason = {
  INVALID_SOURCE_IP: 132,
  POLICY: 133,
  INVALID: 134,
  CT_INVALID_HDR: 135,
  CT_UNKNOWN_PROTO: 137,
  UNKNOWN_L3: 139,
  WRITE: 141,
  STALE_OR_UNROUTABLE: 151,
  CT_CREATE_FAILED: 155,
  INVALID_EXTHDR: 156,
  NO_SERVICE: 158,
  NO_TUNNEL_ENDPOINT: 160,
  NO_CONFIG: 165,
  NAT_NO_MAPPING: 167,
  NAT_UNSUPPORTED: 168,
  FIB: 169,
  ENCAP_PROHIBITED: 170,
  FRAG_NOT_FOUND: 175,
  NOT_IN_SRC_RANGE: 177,
  POLICY_DENY: 181,
  TTL_EXCEEDED: 196,
  EP_NOT_READY: 203,
} as const;
export type DropReason = (typeof DropReason)[keyof typeof DropReason];

/** enum ax_ep_flags. */
export const EpFlags = {
  HOST: 1,
  NO_MASQ: 2,
  AUDIT: 4,
  NODEPORT: 8,
} as const;
export type EpFlags = (typeof EpFlags)[keyof typeof EpFlags];

/** enum ax_event_flags. */
export const EventFlags = {
  EGRESS: 1,
  INGRESS: 2,
  IPV6: 4,
  AUDIT_EGRESS: 8,
  AUDIT_INGRESS: 16,
  DENIED_EGRESS: 32,
  DENIED_INGRESS: 64,
  TRANSLATED: 128,
} as const;
export type EventFlags = (typeof EventFlags)[keyof typeof EventFlags];

/** enum ax_event_type. */
export const EventType = {
  DROP: 1,
  TRACE: 4,
  POLICY_VERDICT: 5,
  TRACE_SOCK: 7,
} as const;
export type EventType = (typeof EventType)[keyof typeof EventType];

/** enum ax_flow_flags. */
export const FlowFlags = {
  SEEN_REPLY: 1,
  FIN_CLIENT: 2,
  FIN_BACKEND: 4,
  CLOSED: 8,
} as const;
export type FlowFlags = (typeof FlowFlags)[keyof typeof FlowFlags];

/** enum ax_flow_kind. */
export const FlowKind = {
  LOCAL: 0,
  SNAT: 1,
  DSR: 2,
  HOST: 3,
} as const;
export type FlowKind = (typeof FlowKind)[keyof typeof FlowKind];

/** enum ax_ipcache_flags. */
export const IpcacheFlags = {
  DIRECT: 1,
} as const;
export type IpcacheFlags = (typeof IpcacheFlags)[keyof typeof IpcacheFlags];

/** enum ax_metric_index. */
export const MetricIndex = {
  EVENTS_LOST: 1023,
} as const;
export type MetricIndex = (typeof MetricIndex)[keyof typeof MetricIndex];

/** enum ax_policy_flags. */
export const PolicyFlags = {
  LAYERED: 1,
} as const;
export type PolicyFlags = (typeof PolicyFlags)[keyof typeof PolicyFlags];

/** enum ax_policy_verdict. */
export const PolicyVerdict = {
  ALLOW: 0,
  DENY: 1,
  DEFAULT_DENY: 2,
  AUDIT: 3,
} as const;
export type PolicyVerdict = (typeof PolicyVerdict)[keyof typeof PolicyVerdict];

/** enum ax_process_flags. */
export const ProcessFlags = {
  PATH_CUT: 1,
  MOUNTED: 2,
  ARGS_CUT: 4,
} as const;
export type ProcessFlags = (typeof ProcessFlags)[keyof typeof ProcessFlags];

/** enum ax_identity. */
export const ReservedIdentity = {
  UNKNOWN: 0,
  HOST: 1,
  WORLD: 2,
  UNMANAGED: 3,
  HEALTH: 4,
  INIT: 5,
  REMOTE_NODE: 6,
  KUBE_APISERVER: 7,
  INGRESS: 8,
  WORLD_IPV4: 9,
  WORLD_IPV6: 10,
  FIRST_POD: 256,
} as const;
export type ReservedIdentity = (typeof ReservedIdentity)[keyof typeof ReservedIdentity];

/** enum ax_svc_algorithm. */
export const SvcAlgorithm = {
  RANDOM: 0,
  MAGLEV: 1,
} as const;
export type SvcAlgorithm = (typeof SvcAlgorithm)[keyof typeof SvcAlgorithm];

/** enum ax_svc_flags. */
export const SvcFlags = {
  CLUSTERIP: 1,
  NODEPORT: 2,
  LOADBALANCER: 4,
  EXTERNALIP: 8,
  HOSTPORT: 16,
  AFFINITY: 32,
  TWO_SCOPES: 64,
  SOURCE_RANGES: 128,
  LOCAL_ONLY: 256,
  LOCAL_REDIRECT: 512,
  SKIP: 1024,
  LOOPBACK_ONLY: 2048,
  TOPOLOGY: 4096,
} as const;
export type SvcFlags = (typeof SvcFlags)[keyof typeof SvcFlags];

/** enum ax_svc_forwarding. */
export const SvcForwarding = {
  SNAT: 0,
  DSR: 1,
} as const;
export type SvcForwarding = (typeof SvcForwarding)[keyof typeof SvcForwarding];

/** enum ax_svc_scope. */
export const SvcScope = {
  EXTERNAL: 0,
  INTERNAL: 1,
  ORIGINAL: 2,
} as const;
export type SvcScope = (typeof SvcScope)[keyof typeof SvcScope];

/** enum ax_trace_point. */
export const TracePoint = {
  TO_ENDPOINT: 0,
  TO_PROXY: 1,
  TO_HOST: 2,
  TO_STACK: 3,
  TO_OVERLAY: 4,
  FROM_ENDPOINT: 5,
  FROM_PROXY: 6,
  FROM_HOST: 7,
  FROM_STACK: 8,
  FROM_OVERLAY: 9,
  FROM_NETWORK: 10,
  TO_NETWORK: 11,
} as const;
export type TracePoint = (typeof TracePoint)[keyof typeof TracePoint];

/** enum ax_trace_reason. */
export const TraceReason = {
  NEW: 0,
  ESTABLISHED: 1,
  REPLY: 2,
  RELATED: 3,
  UNKNOWN: 5,
} as const;
export type TraceReason = (typeof TraceReason)[keyof typeof TraceReason];

/** struct ax_affinity, 8 bytes. */
export interface Affinity {
  backendId: number;
  lastS: number;
}

export const affinitySize = 8;

export function encodeAffinity(v: Affinity, view: DataView, off: number): void {
  view.setUint32(off, v.backendId, true);
  view.setUint32(off + 4, v.lastS, true);
}

export function decodeAffinity(view: DataView, off: number): Affinity {
  return {
    backendId: view.getUint32(off, true),
    lastS: view.getUint32(off + 4, true),
  };
}

/** struct ax_affinity_key, 20 bytes. */
export interface AffinityKey {
  client: Uint8Array;
  serviceId: number;
}

export const affinityKeySize = 20;

export function encodeAffinityKey(v: AffinityKey, view: DataView, off: number): void {
  putBytes(view, off, v.client, 16);
  view.setUint32(off + 16, v.serviceId, true);
}

export function decodeAffinityKey(view: DataView, off: number): AffinityKey {
  return {
    client: bytesIn(view, off, 16),
    serviceId: view.getUint32(off + 16, true),
  };
}

/** struct ax_backend, 28 bytes. */
export interface Backend {
  addr: Uint8Array;
  port: number;
  proto: number;
  state: number;
  serviceId: number;
  flags: number;
}

export const backendSize = 28;

export function encodeBackend(v: Backend, view: DataView, off: number): void {
  putBytes(view, off, v.addr, 16);
  view.setUint16(off + 16, v.port, false);
  view.setUint8(off + 18, v.proto);
  view.setUint8(off + 19, v.state);
  view.setUint32(off + 20, v.serviceId, true);
  view.setUint8(off + 24, v.flags);
  view.setUint8(off + 25, 0);
  view.setUint16(off + 26, 0, true);
}

export function decodeBackend(view: DataView, off: number): Backend {
  return {
    addr: bytesIn(view, off, 16),
    port: view.getUint16(off + 16, false),
    proto: view.getUint8(off + 18),
    state: view.getUint8(off + 19),
    serviceId: view.getUint32(off + 20, true),
    flags: view.getUint8(off + 24),
  };
}

/** struct ax_config, 132 bytes. */
export interface Config {
  epoch: number;
  flags: number;
  deviceIfindex: number;
  tunnelIfindex: number;
  nodeIp4: Uint8Array;
  nodeIp6: Uint8Array;
  natPortMin: number;
  natPortMax: number;
  mtu: number;
  aggregation: number;
  reportIntervalS: number;
  ctTimeoutTcpS: number;
  ctTimeoutTcpSynS: number;
  ctTimeoutTcpFinS: number;
  ctTimeoutAnyS: number;
  ctTimeoutSvcS: number;
  tunnelPort: number;
  natCpus: number;
  hashSeed: number;
  deviceMac: Uint8Array;
  proxyPort: number;
  proxyIp4: Uint8Array;
  proxyIp6: Uint8Array;
  hostPolicyId: number;
}

export const configSize = 132;

export function encodeConfig(v: Config, view: DataView, off: number): void {
  view.setUint32(off, v.epoch, true);
  view.setUint32(off + 4, v.flags, true);
  view.setUint32(off + 8, v.deviceIfindex, true);
  view.setUint32(off + 12, v.tunnelIfindex, true);
  putBytes(view, off + 16, v.nodeIp4, 16);
  putBytes(view, off + 32, v.nodeIp6, 16);
  view.setUint16(off + 48, v.natPortMin, true);
  view.setUint16(off + 50, v.natPortMax, true);
  view.setUint16(off + 52, v.mtu, true);
  view.setUint8(off + 54, v.aggregation);
  view.setUint8(off + 55, 0);
  view.setUint32(off + 56, v.reportIntervalS, true);
  view.setUint32(off + 60, v.ctTimeoutTcpS, true);
  view.setUint32(off + 64, v.ctTimeoutTcpSynS, true);
  view.setUint32(off + 68, v.ctTimeoutTcpFinS, true);
  view.setUint32(off + 72, v.ctTimeoutAnyS, true);
  view.setUint32(off + 76, v.ctTimeoutSvcS, true);
  view.setUint16(off + 80, v.tunnelPort, true);
  view.setUint16(off + 82, v.natCpus, true);
  view.setUint32(off + 84, v.hashSeed, true);
  putBytes(view, off + 88, v.deviceMac, 6);
  view.setUint16(off + 94, v.proxyPort, true);
  putBytes(view, off + 96, v.proxyIp4, 16);
  putBytes(view, off + 112, v.proxyIp6, 16);
  view.setUint32(off + 128, v.hostPolicyId, true);
}

export function decodeConfig(view: DataView, off: number): Config {
  return {
    epoch: view.getUint32(off, true),
    flags: view.getUint32(off + 4, true),
    deviceIfindex: view.getUint32(off + 8, true),
    tunnelIfindex: view.getUint32(off + 12, true),
    nodeIp4: bytesIn(view, off + 16, 16),
    nodeIp6: bytesIn(view, off + 32, 16),
    natPortMin: view.getUint16(off + 48, true),
    natPortMax: view.getUint16(off + 50, true),
    mtu: view.getUint16(off + 52, true),
    aggregation: view.getUint8(off + 54),
    reportIntervalS: view.getUint32(off + 56, true),
    ctTimeoutTcpS: view.getUint32(off + 60, true),
    ctTimeoutTcpSynS: view.getUint32(off + 64, true),
    ctTimeoutTcpFinS: view.getUint32(off + 68, true),
    ctTimeoutAnyS: view.getUint32(off + 72, true),
    ctTimeoutSvcS: view.getUint32(off + 76, true),
    tunnelPort: view.getUint16(off + 80, true),
    natCpus: view.getUint16(off + 82, true),
    hashSeed: view.getUint32(off + 84, true),
    deviceMac: bytesIn(view, off + 88, 6),
    proxyPort: view.getUint16(off + 94, true),
    proxyIp4: bytesIn(view, off + 96, 16),
    proxyIp6: bytesIn(view, off + 112, 16),
    hostPolicyId: view.getUint32(off + 128, true),
  };
}

/** struct ax_ct, 124 bytes. */
export interface Ct {
  epoch: number;
  expiresS: number;
  flags: number;
  createdS: number;
  frontend: Uint8Array;
  frontendPort: number;
  side: [CtSide, CtSide];
}

export const ctSize = 124;

export function encodeCt(v: Ct, view: DataView, off: number): void {
  view.setUint32(off, v.epoch, true);
  view.setUint32(off + 4, v.expiresS, true);
  view.setUint32(off + 8, v.flags, true);
  view.setUint32(off + 12, v.createdS, true);
  putBytes(view, off + 16, v.frontend, 16);
  view.setUint16(off + 32, v.frontendPort, false);
  view.setUint16(off + 34, 0, true);
  encodeCtSide(v.side[0], view, off + 36);
  encodeCtSide(v.side[1], view, off + 80);
}

export function decodeCt(view: DataView, off: number): Ct {
  return {
    epoch: view.getUint32(off, true),
    expiresS: view.getUint32(off + 4, true),
    flags: view.getUint32(off + 8, true),
    createdS: view.getUint32(off + 12, true),
    frontend: bytesIn(view, off + 16, 16),
    frontendPort: view.getUint16(off + 32, false),
    side: [decodeCtSide(view, off + 36), decodeCtSide(view, off + 80)],
  };
}

/** struct ax_ct_key, 40 bytes. */
export interface CtKey {
  a: Uint8Array;
  b: Uint8Array;
  aport: number;
  bport: number;
  proto: number;
}

export const ctKeySize = 40;

export function encodeCtKey(v: CtKey, view: DataView, off: number): void {
  putBytes(view, off, v.a, 16);
  putBytes(view, off + 16, v.b, 16);
  view.setUint16(off + 32, v.aport, false);
  view.setUint16(off + 34, v.bport, false);
  view.setUint8(off + 36, v.proto);
  view.setUint8(off + 37, 0);
  view.setUint16(off + 38, 0, true);
}

export function decodeCtKey(view: DataView, off: number): CtKey {
  return {
    a: bytesIn(view, off, 16),
    b: bytesIn(view, off + 16, 16),
    aport: view.getUint16(off + 32, false),
    bport: view.getUint16(off + 34, false),
    proto: view.getUint8(off + 36),
  };
}

/** struct ax_ct_side, 44 bytes. */
export interface CtSide {
  ifindex: number;
  identity: number;
  ruleId: number;
  lastReportS: number;
  nexthop: Uint8Array;
  epId: number;
  path: number;
  tcpFlags: number;
  nexthopPort: number;
  proxyRules: number;
  process: number;
}

export const ctSideSize = 44;

export function encodeCtSide(v: CtSide, view: DataView, off: number): void {
  view.setUint32(off, v.ifindex, true);
  view.setUint32(off + 4, v.identity, true);
  view.setUint32(off + 8, v.ruleId, true);
  view.setUint32(off + 12, v.lastReportS, true);
  putBytes(view, off + 16, v.nexthop, 16);
  view.setUint16(off + 32, v.epId, true);
  view.setUint8(off + 34, v.path);
  view.setUint8(off + 35, v.tcpFlags);
  view.setUint16(off + 36, v.nexthopPort, false);
  view.setUint16(off + 38, v.proxyRules, true);
  view.setUint32(off + 40, v.process, true);
}

export function decodeCtSide(view: DataView, off: number): CtSide {
  return {
    ifindex: view.getUint32(off, true),
    identity: view.getUint32(off + 4, true),
    ruleId: view.getUint32(off + 8, true),
    lastReportS: view.getUint32(off + 12, true),
    nexthop: bytesIn(view, off + 16, 16),
    epId: view.getUint16(off + 32, true),
    path: view.getUint8(off + 34),
    tcpFlags: view.getUint8(off + 35),
    nexthopPort: view.getUint16(off + 36, false),
    proxyRules: view.getUint16(off + 38, true),
    process: view.getUint32(off + 40, true),
  };
}

/** struct ax_endpoint, 32 bytes. */
export interface Endpoint {
  ifindex: number;
  identity: number;
  policyId: number;
  id: number;
  flags: number;
  mac: Uint8Array;
  hostMac: Uint8Array;
}

export const endpointSize = 32;

export function encodeEndpoint(v: Endpoint, view: DataView, off: number): void {
  view.setUint32(off, v.ifindex, true);
  view.setUint32(off + 4, v.identity, true);
  view.setUint32(off + 8, v.policyId, true);
  view.setUint16(off + 12, v.id, true);
  view.setUint16(off + 14, v.flags, true);
  putBytes(view, off + 16, v.mac, 6);
  putBytes(view, off + 22, v.hostMac, 6);
  view.setUint32(off + 28, 0, true);
}

export function decodeEndpoint(view: DataView, off: number): Endpoint {
  return {
    ifindex: view.getUint32(off, true),
    identity: view.getUint32(off + 4, true),
    policyId: view.getUint32(off + 8, true),
    id: view.getUint16(off + 12, true),
    flags: view.getUint16(off + 14, true),
    mac: bytesIn(view, off + 16, 6),
    hostMac: bytesIn(view, off + 22, 6),
  };
}

/** struct ax_event, 120 bytes. */
export interface Event {
  timeNs: bigint;
  type: number;
  subtype: number;
  reason: number;
  flags: number;
  proto: number;
  tcpFlags: number;
  icmpType: number;
  icmpCode: number;
  len: number;
  ifindex: number;
  srcIdentity: number;
  dstIdentity: number;
  srcEp: number;
  dstEp: number;
  sport: number;
  dport: number;
  saddr: Uint8Array;
  daddr: Uint8Array;
  ruleEgress: number;
  ruleIngress: number;
  origDaddr: Uint8Array;
  origDport: number;
  cpu: number;
  smac: Uint8Array;
  dmac: Uint8Array;
  srcProcess: number;
  dstProcess: number;
}

export const eventSize = 120;

export function encodeEvent(v: Event, view: DataView, off: number): void {
  view.setBigUint64(off, v.timeNs, true);
  view.setUint8(off + 8, v.type);
  view.setUint8(off + 9, v.subtype);
  view.setUint8(off + 10, v.reason);
  view.setUint8(off + 11, v.flags);
  view.setUint8(off + 12, v.proto);
  view.setUint8(off + 13, v.tcpFlags);
  view.setUint8(off + 14, v.icmpType);
  view.setUint8(off + 15, v.icmpCode);
  view.setUint32(off + 16, v.len, true);
  view.setUint32(off + 20, v.ifindex, true);
  view.setUint32(off + 24, v.srcIdentity, true);
  view.setUint32(off + 28, v.dstIdentity, true);
  view.setUint16(off + 32, v.srcEp, true);
  view.setUint16(off + 34, v.dstEp, true);
  view.setUint16(off + 36, v.sport, false);
  view.setUint16(off + 38, v.dport, false);
  putBytes(view, off + 40, v.saddr, 16);
  putBytes(view, off + 56, v.daddr, 16);
  view.setUint32(off + 72, v.ruleEgress, true);
  view.setUint32(off + 76, v.ruleIngress, true);
  putBytes(view, off + 80, v.origDaddr, 16);
  view.setUint16(off + 96, v.origDport, false);
  view.setUint16(off + 98, v.cpu, true);
  putBytes(view, off + 100, v.smac, 6);
  putBytes(view, off + 106, v.dmac, 6);
  view.setUint32(off + 112, v.srcProcess, true);
  view.setUint32(off + 116, v.dstProcess, true);
}

export function decodeEvent(view: DataView, off: number): Event {
  return {
    timeNs: view.getBigUint64(off, true),
    type: view.getUint8(off + 8),
    subtype: view.getUint8(off + 9),
    reason: view.getUint8(off + 10),
    flags: view.getUint8(off + 11),
    proto: view.getUint8(off + 12),
    tcpFlags: view.getUint8(off + 13),
    icmpType: view.getUint8(off + 14),
    icmpCode: view.getUint8(off + 15),
    len: view.getUint32(off + 16, true),
    ifindex: view.getUint32(off + 20, true),
    srcIdentity: view.getUint32(off + 24, true),
    dstIdentity: view.getUint32(off + 28, true),
    srcEp: view.getUint16(off + 32, true),
    dstEp: view.getUint16(off + 34, true),
    sport: view.getUint16(off + 36, false),
    dport: view.getUint16(off + 38, false),
    saddr: bytesIn(view, off + 40, 16),
    daddr: bytesIn(view, off + 56, 16),
    ruleEgress: view.getUint32(off + 72, true),
    ruleIngress: view.getUint32(off + 76, true),
    origDaddr: bytesIn(view, off + 80, 16),
    origDport: view.getUint16(off + 96, false),
    cpu: view.getUint16(off + 98, true),
    smac: bytesIn(view, off + 100, 6),
    dmac: bytesIn(view, off + 106, 6),
    srcProcess: view.getUint32(off + 112, true),
    dstProcess: view.getUint32(off + 116, true),
  };
}

/** struct ax_flow_key, 40 bytes. */
export interface FlowKey {
  saddr: Uint8Array;
  daddr: Uint8Array;
  sport: number;
  dport: number;
  proto: number;
}

export const flowKeySize = 40;

export function encodeFlowKey(v: FlowKey, view: DataView, off: number): void {
  putBytes(view, off, v.saddr, 16);
  putBytes(view, off + 16, v.daddr, 16);
  view.setUint16(off + 32, v.sport, false);
  view.setUint16(off + 34, v.dport, false);
  view.setUint8(off + 36, v.proto);
  view.setUint8(off + 37, 0);
  view.setUint16(off + 38, 0, true);
}

export function decodeFlowKey(view: DataView, off: number): FlowKey {
  return {
    saddr: bytesIn(view, off, 16),
    daddr: bytesIn(view, off + 16, 16),
    sport: view.getUint16(off + 32, false),
    dport: view.getUint16(off + 34, false),
    proto: view.getUint8(off + 36),
  };
}

/** struct ax_frag_key, 40 bytes. */
export interface FragKey {
  saddr: Uint8Array;
  daddr: Uint8Array;
  id: number;
  proto: number;
}

export const fragKeySize = 40;

export function encodeFragKey(v: FragKey, view: DataView, off: number): void {
  putBytes(view, off, v.saddr, 16);
  putBytes(view, off + 16, v.daddr, 16);
  view.setUint32(off + 32, v.id, true);
  view.setUint8(off + 36, v.proto);
  view.setUint8(off + 37, 0);
  view.setUint16(off + 38, 0, true);
}

export function decodeFragKey(view: DataView, off: number): FragKey {
  return {
    saddr: bytesIn(view, off, 16),
    daddr: bytesIn(view, off + 16, 16),
    id: view.getUint32(off + 32, true),
    proto: view.getUint8(off + 36),
  };
}

/** struct ax_frag_ports, 4 bytes. */
export interface FragPorts {
  sport: number;
  dport: number;
}

export const fragPortsSize = 4;

export function encodeFragPorts(v: FragPorts, view: DataView, off: number): void {
  view.setUint16(off, v.sport, false);
  view.setUint16(off + 2, v.dport, false);
}

export function decodeFragPorts(view: DataView, off: number): FragPorts {
  return {
    sport: view.getUint16(off, false),
    dport: view.getUint16(off + 2, false),
  };
}

/** struct ax_gc_ctx, 48 bytes. */
export interface GcCtx {
  flush: Uint8Array;
  nowS: number;
  ctSeen: number;
  ctDeleted: number;
  natSeen: number;
  natDeleted: number;
  flowSeen: number;
  flowDeleted: number;
}

export const gcCtxSize = 48;

export function encodeGcCtx(v: GcCtx, view: DataView, off: number): void {
  putBytes(view, off, v.flush, 16);
  view.setUint32(off + 16, v.nowS, true);
  view.setUint32(off + 20, v.ctSeen, true);
  view.setUint32(off + 24, v.ctDeleted, true);
  view.setUint32(off + 28, v.natSeen, true);
  view.setUint32(off + 32, v.natDeleted, true);
  view.setUint32(off + 36, v.flowSeen, true);
  view.setUint32(off + 40, v.flowDeleted, true);
  view.setUint32(off + 44, 0, true);
}

export function decodeGcCtx(view: DataView, off: number): GcCtx {
  return {
    flush: bytesIn(view, off, 16),
    nowS: view.getUint32(off + 16, true),
    ctSeen: view.getUint32(off + 20, true),
    ctDeleted: view.getUint32(off + 24, true),
    natSeen: view.getUint32(off + 28, true),
    natDeleted: view.getUint32(off + 32, true),
    flowSeen: view.getUint32(off + 36, true),
    flowDeleted: view.getUint32(off + 40, true),
  };
}

/** struct ax_ipcache_entry, 24 bytes. */
export interface IpcacheEntry {
  identity: number;
  flags: number;
  nodeIp: Uint8Array;
}

export const ipcacheEntrySize = 24;

export function encodeIpcacheEntry(v: IpcacheEntry, view: DataView, off: number): void {
  view.setUint32(off, v.identity, true);
  view.setUint32(off + 4, v.flags, true);
  putBytes(view, off + 8, v.nodeIp, 16);
}

export function decodeIpcacheEntry(view: DataView, off: number): IpcacheEntry {
  return {
    identity: view.getUint32(off, true),
    flags: view.getUint32(off + 4, true),
    nodeIp: bytesIn(view, off + 8, 16),
  };
}

/** struct ax_ipcache_key, 20 bytes. */
export interface IpcacheKey {
  prefixlen: number;
  addr: Uint8Array;
}

export const ipcacheKeySize = 20;

export function encodeIpcacheKey(v: IpcacheKey, view: DataView, off: number): void {
  view.setUint32(off, v.prefixlen, true);
  putBytes(view, off + 4, v.addr, 16);
}

export function decodeIpcacheKey(view: DataView, off: number): IpcacheKey {
  return {
    prefixlen: view.getUint32(off, true),
    addr: bytesIn(view, off + 4, 16),
  };
}

/** struct ax_l2, 16 bytes. */
export interface L2 {
  answered: bigint;
  mac: Uint8Array;
}

export const l2Size = 16;

export function encodeL2(v: L2, view: DataView, off: number): void {
  view.setBigUint64(off, v.answered, true);
  putBytes(view, off + 8, v.mac, 6);
  view.setUint16(off + 14, 0, true);
}

export function decodeL2(view: DataView, off: number): L2 {
  return {
    answered: view.getBigUint64(off, true),
    mac: bytesIn(view, off + 8, 6),
  };
}

/** struct ax_l2_key, 20 bytes. */
export interface L2Key {
  addr: Uint8Array;
  ifindex: number;
}

export const l2KeySize = 20;

export function encodeL2Key(v: L2Key, view: DataView, off: number): void {
  putBytes(view, off, v.addr, 16);
  view.setUint32(off + 16, v.ifindex, true);
}

export function decodeL2Key(view: DataView, off: number): L2Key {
  return {
    addr: bytesIn(view, off, 16),
    ifindex: view.getUint32(off + 16, true),
  };
}

/** struct ax_metric, 16 bytes. */
export interface Metric {
  packets: bigint;
  bytes: bigint;
}

export const metricSize = 16;

export function encodeMetric(v: Metric, view: DataView, off: number): void {
  view.setBigUint64(off, v.packets, true);
  view.setBigUint64(off + 8, v.bytes, true);
}

export function decodeMetric(view: DataView, off: number): Metric {
  return {
    packets: view.getBigUint64(off, true),
    bytes: view.getBigUint64(off + 8, true),
  };
}

/** struct ax_nat, 48 bytes. */
export interface Nat {
  addr: Uint8Array;
  frontend: Uint8Array;
  port: number;
  frontendPort: number;
  expiresS: number;
  way: bigint;
}

export const natSize = 48;

export function encodeNat(v: Nat, view: DataView, off: number): void {
  putBytes(view, off, v.addr, 16);
  putBytes(view, off + 16, v.frontend, 16);
  view.setUint16(off + 32, v.port, false);
  view.setUint16(off + 34, v.frontendPort, false);
  view.setUint32(off + 36, v.expiresS, true);
  view.setBigUint64(off + 40, v.way, true);
}

export function decodeNat(view: DataView, off: number): Nat {
  return {
    addr: bytesIn(view, off, 16),
    frontend: bytesIn(view, off + 16, 16),
    port: view.getUint16(off + 32, false),
    frontendPort: view.getUint16(off + 34, false),
    expiresS: view.getUint32(off + 36, true),
    way: view.getBigUint64(off + 40, true),
  };
}

/** struct ax_nat_key, 40 bytes. */
export interface NatKey {
  saddr: Uint8Array;
  daddr: Uint8Array;
  sport: number;
  dport: number;
  proto: number;
  reverse: number;
}

export const natKeySize = 40;

export function encodeNatKey(v: NatKey, view: DataView, off: number): void {
  putBytes(view, off, v.saddr, 16);
  putBytes(view, off + 16, v.daddr, 16);
  view.setUint16(off + 32, v.sport, false);
  view.setUint16(off + 34, v.dport, false);
  view.setUint8(off + 36, v.proto);
  view.setUint8(off + 37, v.reverse);
  view.setUint16(off + 38, 0, true);
}

export function decodeNatKey(view: DataView, off: number): NatKey {
  return {
    saddr: bytesIn(view, off, 16),
    daddr: bytesIn(view, off + 16, 16),
    sport: view.getUint16(off + 32, false),
    dport: view.getUint16(off + 34, false),
    proto: view.getUint8(off + 36),
    reverse: view.getUint8(off + 37),
  };
}

/** struct ax_nat_stat, 64 bytes. */
export interface NatStat {
  allocated: bigint;
  own: bigint;
  listed: bigint;
  stolen: bigint;
  steps: bigint;
  inUse: bigint;
  noPort: bigint;
  tableFull: bigint;
}

export const natStatSize = 64;

export function encodeNatStat(v: NatStat, view: DataView, off: number): void {
  view.setBigUint64(off, v.allocated, true);
  view.setBigUint64(off + 8, v.own, true);
  view.setBigUint64(off + 16, v.listed, true);
  view.setBigUint64(off + 24, v.stolen, true);
  view.setBigUint64(off + 32, v.steps, true);
  view.setBigUint64(off + 40, v.inUse, true);
  view.setBigUint64(off + 48, v.noPort, true);
  view.setBigUint64(off + 56, v.tableFull, true);
}

export function decodeNatStat(view: DataView, off: number): NatStat {
  return {
    allocated: view.getBigUint64(off, true),
    own: view.getBigUint64(off + 8, true),
    listed: view.getBigUint64(off + 16, true),
    stolen: view.getBigUint64(off + 24, true),
    steps: view.getBigUint64(off + 32, true),
    inUse: view.getBigUint64(off + 40, true),
    noPort: view.getBigUint64(off + 48, true),
    tableFull: view.getBigUint64(off + 56, true),
  };
}

/** struct ax_netns, 32 bytes. */
export interface Netns {
  ip4: Uint8Array;
  ip6: Uint8Array;
}

export const netnsSize = 32;

export function encodeNetns(v: Netns, view: DataView, off: number): void {
  putBytes(view, off, v.ip4, 16);
  putBytes(view, off + 16, v.ip6, 16);
}

export function decodeNetns(view: DataView, off: number): Netns {
  return {
    ip4: bytesIn(view, off, 16),
    ip6: bytesIn(view, off + 16, 16),
  };
}

/** struct ax_policy_head, 24 bytes. */
export interface PolicyHead {
  shapesBoth: number;
  shapesExact: number;
  shapesCidr: number;
  shapesAny: number;
  defaultRule: number;
  defaultVerdict: number;
  flags: number;
}

export const policyHeadSize = 24;

export function encodePolicyHead(v: PolicyHead, view: DataView, off: number): void {
  view.setUint32(off, v.shapesBoth, true);
  view.setUint32(off + 4, v.shapesExact, true);
  view.setUint32(off + 8, v.shapesCidr, true);
  view.setUint32(off + 12, v.shapesAny, true);
  view.setUint32(off + 16, v.defaultRule, true);
  view.setUint8(off + 20, v.defaultVerdict);
  view.setUint8(off + 21, v.flags);
  view.setUint16(off + 22, 0, true);
}

export function decodePolicyHead(view: DataView, off: number): PolicyHead {
  return {
    shapesBoth: view.getUint32(off, true),
    shapesExact: view.getUint32(off + 4, true),
    shapesCidr: view.getUint32(off + 8, true),
    shapesAny: view.getUint32(off + 12, true),
    defaultRule: view.getUint32(off + 16, true),
    defaultVerdict: view.getUint8(off + 20),
    flags: view.getUint8(off + 21),
  };
}

/** struct ax_policy_key, 16 bytes. */
export interface PolicyKey {
  policyId: number;
  identity: number;
  cidr: number;
  port: number;
  proto: number;
  shape: number;
}

export const policyKeySize = 16;

export function encodePolicyKey(v: PolicyKey, view: DataView, off: number): void {
  view.setUint32(off, v.policyId, true);
  view.setUint32(off + 4, v.identity, true);
  view.setUint32(off + 8, v.cidr, true);
  view.setUint16(off + 12, v.port, false);
  view.setUint8(off + 14, v.proto);
  view.setUint8(off + 15, v.shape);
}

export function decodePolicyKey(view: DataView, off: number): PolicyKey {
  return {
    policyId: view.getUint32(off, true),
    identity: view.getUint32(off + 4, true),
    cidr: view.getUint32(off + 8, true),
    port: view.getUint16(off + 12, false),
    proto: view.getUint8(off + 14),
    shape: view.getUint8(off + 15),
  };
}

/** struct ax_policy_row, 12 bytes. */
export interface PolicyRow {
  precedence: number;
  ruleId: number;
  proxyPort: number;
  verdict: number;
}

export const policyRowSize = 12;

export function encodePolicyRow(v: PolicyRow, view: DataView, off: number): void {
  view.setUint32(off, v.precedence, true);
  view.setUint32(off + 4, v.ruleId, true);
  view.setUint16(off + 8, v.proxyPort, true);
  view.setUint8(off + 10, v.verdict);
  view.setUint8(off + 11, 0);
}

export function decodePolicyRow(view: DataView, off: number): PolicyRow {
  return {
    precedence: view.getUint32(off, true),
    ruleId: view.getUint32(off + 4, true),
    proxyPort: view.getUint16(off + 8, true),
    verdict: view.getUint8(off + 10),
  };
}

/** struct ax_process, 576 bytes. */
export interface Process {
  notedNs: bigint;
  startNs: bigint;
  netns: bigint;
  pid: number;
  uid: number;
  flags: number;
  pathLen: number;
  argsLen: number;
  cgroupLen: number;
  comm: Uint8Array;
  path: Uint8Array;
  args: Uint8Array;
  cgroup: Uint8Array;
}

export const processSize = 576;

export function encodeProcess(v: Process, view: DataView, off: number): void {
  view.setBigUint64(off, v.notedNs, true);
  view.setBigUint64(off + 8, v.startNs, true);
  view.setBigUint64(off + 16, v.netns, true);
  view.setUint32(off + 24, v.pid, true);
  view.setUint32(off + 28, v.uid, true);
  view.setUint32(off + 32, v.flags, true);
  view.setUint32(off + 36, v.pathLen, true);
  view.setUint32(off + 40, v.argsLen, true);
  view.setUint32(off + 44, v.cgroupLen, true);
  putBytes(view, off + 48, v.comm, 16);
  putBytes(view, off + 64, v.path, 160);
  putBytes(view, off + 224, v.args, 256);
  putBytes(view, off + 480, v.cgroup, 96);
}

export function decodeProcess(view: DataView, off: number): Process {
  return {
    notedNs: view.getBigUint64(off, true),
    startNs: view.getBigUint64(off + 8, true),
    netns: view.getBigUint64(off + 16, true),
    pid: view.getUint32(off + 24, true),
    uid: view.getUint32(off + 28, true),
    flags: view.getUint32(off + 32, true),
    pathLen: view.getUint32(off + 36, true),
    argsLen: view.getUint32(off + 40, true),
    cgroupLen: view.getUint32(off + 44, true),
    comm: bytesIn(view, off + 48, 16),
    path: bytesIn(view, off + 64, 160),
    args: bytesIn(view, off + 224, 256),
    cgroup: bytesIn(view, off + 480, 96),
  };
}

/** struct ax_process_id, 16 bytes. */
export interface ProcessId {
  startNs: bigint;
  execId: number;
  id: number;
}

export const processIdSize = 16;

export function encodeProcessId(v: ProcessId, view: DataView, off: number): void {
  view.setBigUint64(off, v.startNs, true);
  view.setUint32(off + 8, v.execId, true);
  view.setUint32(off + 12, v.id, true);
}

export function decodeProcessId(view: DataView, off: number): ProcessId {
  return {
    startNs: view.getBigUint64(off, true),
    execId: view.getUint32(off + 8, true),
    id: view.getUint32(off + 12, true),
  };
}

/** struct ax_process_seq, 8 bytes. */
export interface ProcessSeq {
  last: number;
  unnoted: number;
}

export const processSeqSize = 8;

export function encodeProcessSeq(v: ProcessSeq, view: DataView, off: number): void {
  view.setUint32(off, v.last, true);
  view.setUint32(off + 4, v.unnoted, true);
}

export function decodeProcessSeq(view: DataView, off: number): ProcessSeq {
  return {
    last: view.getUint32(off, true),
    unnoted: view.getUint32(off + 4, true),
  };
}

/** struct ax_proxy_pod_key, 8 bytes. */
export interface ProxyPodKey {
  epId: number;
  family: number;
}

export const proxyPodKeySize = 8;

export function encodeProxyPodKey(v: ProxyPodKey, view: DataView, off: number): void {
  view.setUint32(off, v.epId, true);
  view.setUint32(off + 4, v.family, true);
}

export function decodeProxyPodKey(view: DataView, off: number): ProxyPodKey {
  return {
    epId: view.getUint32(off, true),
    family: view.getUint32(off + 4, true),
  };
}

/** struct ax_skip_key, 20 bytes. */
export interface SkipKey {
  client: Uint8Array;
  serviceId: number;
}

export const skipKeySize = 20;

export function encodeSkipKey(v: SkipKey, view: DataView, off: number): void {
  putBytes(view, off, v.client, 16);
  view.setUint32(off + 16, v.serviceId, true);
}

export function decodeSkipKey(view: DataView, off: number): SkipKey {
  return {
    client: bytesIn(view, off, 16),
    serviceId: view.getUint32(off + 16, true),
  };
}

/** struct ax_slot, 32 bytes. */
export interface Slot {
  addr: Uint8Array;
  port: number;
  id: number;
  serviceId: number;
}

export const slotSize = 32;

export function encodeSlot(v: Slot, view: DataView, off: number): void {
  putBytes(view, off, v.addr, 16);
  view.setUint16(off + 16, v.port, false);
  view.setUint16(off + 18, 0, true);
  view.setUint32(off + 20, v.id, true);
  view.setUint32(off + 24, 0, true);
  view.setUint32(off + 28, v.serviceId, true);
}

export function decodeSlot(view: DataView, off: number): Slot {
  return {
    addr: bytesIn(view, off, 16),
    port: view.getUint16(off + 16, false),
    id: view.getUint32(off + 20, true),
    serviceId: view.getUint32(off + 28, true),
  };
}

/** struct ax_sock, 48 bytes. */
export interface Sock {
  frontend: Uint8Array;
  backend: Uint8Array;
  frontendPort: number;
  backendPort: number;
  backendId: number;
  serviceId: number;
  proto: number;
  scope: number;
}

export const sockSize = 48;

export function encodeSock(v: Sock, view: DataView, off: number): void {
  putBytes(view, off, v.frontend, 16);
  putBytes(view, off + 16, v.backend, 16);
  view.setUint16(off + 32, v.frontendPort, false);
  view.setUint16(off + 34, v.backendPort, false);
  view.setUint32(off + 36, v.backendId, true);
  view.setUint32(off + 40, v.serviceId, true);
  view.setUint8(off + 44, v.proto);
  view.setUint8(off + 45, v.scope);
  view.setUint16(off + 46, 0, true);
}

export function decodeSock(view: DataView, off: number): Sock {
  return {
    frontend: bytesIn(view, off, 16),
    backend: bytesIn(view, off + 16, 16),
    frontendPort: view.getUint16(off + 32, false),
    backendPort: view.getUint16(off + 34, false),
    backendId: view.getUint32(off + 36, true),
    serviceId: view.getUint32(off + 40, true),
    proto: view.getUint8(off + 44),
    scope: view.getUint8(off + 45),
  };
}

/** struct ax_sock_rev, 24 bytes. */
export interface SockRev {
  addr: Uint8Array;
  port: number;
  backendId: number;
}

export const sockRevSize = 24;

export function encodeSockRev(v: SockRev, view: DataView, off: number): void {
  putBytes(view, off, v.addr, 16);
  view.setUint16(off + 16, v.port, false);
  view.setUint16(off + 18, 0, true);
  view.setUint32(off + 20, v.backendId, true);
}

export function decodeSockRev(view: DataView, off: number): SockRev {
  return {
    addr: bytesIn(view, off, 16),
    port: view.getUint16(off + 16, false),
    backendId: view.getUint32(off + 20, true),
  };
}

/** struct ax_sock_rev_key, 32 bytes. */
export interface SockRevKey {
  cookie: bigint;
  addr: Uint8Array;
  port: number;
}

export const sockRevKeySize = 32;

export function encodeSockRevKey(v: SockRevKey, view: DataView, off: number): void {
  view.setBigUint64(off, v.cookie, true);
  putBytes(view, off + 8, v.addr, 16);
  view.setUint16(off + 24, v.port, false);
  view.setUint16(off + 26, 0, true);
  view.setUint32(off + 28, 0, true);
}

export function decodeSockRevKey(view: DataView, off: number): SockRevKey {
  return {
    cookie: view.getBigUint64(off, true),
    addr: bytesIn(view, off + 8, 16),
    port: view.getUint16(off + 24, false),
  };
}

/** struct ax_src_range_key, 24 bytes. */
export interface SrcRangeKey {
  prefixlen: number;
  serviceId: number;
  addr: Uint8Array;
}

export const srcRangeKeySize = 24;

export function encodeSrcRangeKey(v: SrcRangeKey, view: DataView, off: number): void {
  view.setUint32(off, v.prefixlen, true);
  view.setUint32(off + 4, v.serviceId, true);
  putBytes(view, off + 8, v.addr, 16);
}

export function decodeSrcRangeKey(view: DataView, off: number): SrcRangeKey {
  return {
    prefixlen: view.getUint32(off, true),
    serviceId: view.getUint32(off + 4, true),
    addr: bytesIn(view, off + 8, 16),
  };
}

/** struct ax_svc, 24 bytes. */
export interface Svc {
  serviceId: number;
  slotsOff: number;
  slots: number;
  count: number;
  affinityTimeoutS: number;
  flags: number;
  algorithm: number;
  forwarding: number;
}

export const svcSize = 24;

export function encodeSvc(v: Svc, view: DataView, off: number): void {
  view.setUint32(off, v.serviceId, true);
  view.setUint32(off + 4, v.slotsOff, true);
  view.setUint32(off + 8, v.slots, true);
  view.setUint32(off + 12, v.count, true);
  view.setUint32(off + 16, v.affinityTimeoutS, true);
  view.setUint16(off + 20, v.flags, true);
  view.setUint8(off + 22, v.algorithm);
  view.setUint8(off + 23, v.forwarding);
}

export function decodeSvc(view: DataView, off: number): Svc {
  return {
    serviceId: view.getUint32(off, true),
    slotsOff: view.getUint32(off + 4, true),
    slots: view.getUint32(off + 8, true),
    count: view.getUint32(off + 12, true),
    affinityTimeoutS: view.getUint32(off + 16, true),
    flags: view.getUint16(off + 20, true),
    algorithm: view.getUint8(off + 22),
    forwarding: view.getUint8(off + 23),
  };
}

/** struct ax_svc_flow, 40 bytes. */
export interface SvcFlow {
  backendId: number;
  expiresS: number;
  natAddr: Uint8Array;
  natPort: number;
  kind: number;
  flags: number;
  way: bigint;
}

export const svcFlowSize = 40;

export function encodeSvcFlow(v: SvcFlow, view: DataView, off: number): void {
  view.setUint32(off, v.backendId, true);
  view.setUint32(off + 4, v.expiresS, true);
  putBytes(view, off + 8, v.natAddr, 16);
  view.setUint16(off + 24, v.natPort, false);
  view.setUint8(off + 26, v.kind);
  view.setUint8(off + 27, 0);
  view.setUint32(off + 28, v.flags, true);
  view.setBigUint64(off + 32, v.way, true);
}

export function decodeSvcFlow(view: DataView, off: number): SvcFlow {
  return {
    backendId: view.getUint32(off, true),
    expiresS: view.getUint32(off + 4, true),
    natAddr: bytesIn(view, off + 8, 16),
    natPort: view.getUint16(off + 24, false),
    kind: view.getUint8(off + 26),
    flags: view.getUint32(off + 28, true),
    way: view.getBigUint64(off + 32, true),
  };
}

/** struct ax_svc_key, 20 bytes. */
export interface SvcKey {
  addr: Uint8Array;
  port: number;
  proto: number;
  scope: number;
}

export const svcKeySize = 20;

export function encodeSvcKey(v: SvcKey, view: DataView, off: number): void {
  putBytes(view, off, v.addr, 16);
  view.setUint16(off + 16, v.port, false);
  view.setUint8(off + 18, v.proto);
  view.setUint8(off + 19, v.scope);
}

export function decodeSvcKey(view: DataView, off: number): SvcKey {
  return {
    addr: bytesIn(view, off, 16),
    port: view.getUint16(off + 16, false),
    proto: view.getUint8(off + 18),
    scope: view.getUint8(off + 19),
  };
}

/** Every map of the datapath by its kernel name; sizes are the defaults of the objects. */
export const maps = {
  ax_affinity: { type: 9, keySize: 20, valueSize: 8, maxEntries: 65536, flags: 0, key: "AffinityKey", value: "Affinity" },
  ax_backends: { type: 12, keySize: 4, valueSize: 0, maxEntries: 1, flags: 0, key: "u32", value: "" },
  ax_backends_row: { type: 1, keySize: 4, valueSize: 28, maxEntries: 1, flags: 1, key: "u32", value: "Backend" },
  ax_cidrs: { type: 11, keySize: 20, valueSize: 4, maxEntries: 131072, flags: 1, key: "IpcacheKey", value: "u32" },
  ax_config: { type: 2, keySize: 4, valueSize: 132, maxEntries: 1, flags: 0, key: "u32", value: "Config" },
  ax_ct: { type: 1, keySize: 40, valueSize: 124, maxEntries: 131072, flags: 0, key: "CtKey", value: "Ct" },
  ax_deny: { type: 11, keySize: 20, valueSize: 4, maxEntries: 65536, flags: 1, key: "IpcacheKey", value: "u32" },
  ax_endpoints: { type: 1, keySize: 16, valueSize: 32, maxEntries: 16384, flags: 0, key: "Addr", value: "Endpoint" },
  ax_events: { type: 27, keySize: 0, valueSize: 0, maxEntries: 8388608, flags: 0, key: "", value: "" },
  ax_frags: { type: 9, keySize: 40, valueSize: 4, maxEntries: 8192, flags: 0, key: "FragKey", value: "FragPorts" },
  ax_ipcache: { type: 11, keySize: 20, valueSize: 24, maxEntries: 512000, flags: 1, key: "IpcacheKey", value: "IpcacheEntry" },
  ax_l2: { type: 1, keySize: 20, valueSize: 16, maxEntries: 16384, flags: 1, key: "L2Key", value: "L2" },
  ax_lrp_skip: { type: 1, keySize: 20, valueSize: 4, maxEntries: 65536, flags: 1, key: "SkipKey", value: "u32" },
  ax_metrics: { type: 6, keySize: 4, valueSize: 16, maxEntries: 1024, flags: 0, key: "u32", value: "Metric" },
  ax_nat: { type: 1, keySize: 40, valueSize: 48, maxEntries: 131072, flags: 1, key: "NatKey", value: "Nat" },
  ax_nat_pools: { type: 6, keySize: 0, valueSize: 0, maxEntries: 3, flags: 0, key: "", value: "" },
  ax_nat_stats: { type: 6, keySize: 4, valueSize: 64, maxEntries: 1, flags: 0, key: "u32", value: "NatStat" },
  ax_netns: { type: 1, keySize: 8, valueSize: 32, maxEntries: 16384, flags: 1, key: "u64", value: "Netns" },
  ax_nomasq: { type: 11, keySize: 20, valueSize: 4, maxEntries: 16384, flags: 1, key: "IpcacheKey", value: "u32" },
  ax_owner: { type: 24, keySize: 4, valueSize: 4, maxEntries: 0, flags: 1, key: "i32", value: "u32" },
  ax_policy: { type: 1, keySize: 16, valueSize: 12, maxEntries: 1048576, flags: 1, key: "PolicyKey", value: "PolicyRow" },
  ax_policy_heads: { type: 1, keySize: 4, valueSize: 24, maxEntries: 65536, flags: 1, key: "u32", value: "PolicyHead" },
  ax_process_ids: { type: 9, keySize: 4, valueSize: 16, maxEntries: 16384, flags: 0, key: "u32", value: "ProcessId" },
  ax_process_seq: { type: 2, keySize: 4, valueSize: 8, maxEntries: 1, flags: 0, key: "u32", value: "ProcessSeq" },
  ax_processes: { type: 1, keySize: 4, valueSize: 576, maxEntries: 32768, flags: 1, key: "u32", value: "Process" },
  ax_proxy_pods: { type: 1, keySize: 8, valueSize: 16, maxEntries: 131072, flags: 1, key: "ProxyPodKey", value: "Addr" },
  ax_services: { type: 12, keySize: 4, valueSize: 0, maxEntries: 1, flags: 0, key: "u32", value: "" },
  ax_services_row: { type: 1, keySize: 20, valueSize: 24, maxEntries: 1, flags: 1, key: "SvcKey", value: "Svc" },
  ax_slots: { type: 12, keySize: 4, valueSize: 0, maxEntries: 1, flags: 0, key: "u32", value: "" },
  ax_slots_row: { type: 1, keySize: 4, valueSize: 32, maxEntries: 1, flags: 1, key: "u32", value: "Slot" },
  ax_sock: { type: 24, keySize: 4, valueSize: 48, maxEntries: 0, flags: 1, key: "i32", value: "Sock" },
  ax_sock_fwd: { type: 9, keySize: 32, valueSize: 4, maxEntries: 65536, flags: 0, key: "SockRevKey", value: "u32" },
  ax_sock_rev: { type: 9, keySize: 32, valueSize: 24, maxEntries: 65536, flags: 0, key: "SockRevKey", value: "SockRev" },
  ax_src_ranges: { type: 11, keySize: 24, valueSize: 4, maxEntries: 262144, flags: 1, key: "SrcRangeKey", value: "u32" },
  ax_svc_flows: { type: 1, keySize: 40, valueSize: 40, maxEntries: 131072, flags: 1, key: "FlowKey", value: "SvcFlow" },
} as const satisfies Record<string, MapLayout>;
export type MapName = keyof typeof maps;

/** Where each field of the C structs lies: offset and size in bytes. */
export const layouts = {
  Affinity: { c: "ax_affinity", size: 8, fields: { backend_id: [0, 4], last_s: [4, 4] } },
  AffinityKey: { c: "ax_affinity_key", size: 20, fields: { client: [0, 16], service_id: [16, 4] } },
  Backend: { c: "ax_backend", size: 28, fields: { addr: [0, 16], port: [16, 2], proto: [18, 1], state: [19, 1], service_id: [20, 4], flags: [24, 1], pad: [25, 3] } },
  Config: { c: "ax_config", size: 132, fields: { epoch: [0, 4], flags: [4, 4], device_ifindex: [8, 4], tunnel_ifindex: [12, 4], node_ip4: [16, 16], node_ip6: [32, 16], nat_port_min: [48, 2], nat_port_max: [50, 2], mtu: [52, 2], aggregation: [54, 1], pad: [55, 1], report_interval_s: [56, 4], ct_timeout_tcp_s: [60, 4], ct_timeout_tcp_syn_s: [64, 4], ct_timeout_tcp_fin_s: [68, 4], ct_timeout_any_s: [72, 4], ct_timeout_svc_s: [76, 4], tunnel_port: [80, 2], nat_cpus: [82, 2], hash_seed: [84, 4], device_mac: [88, 6], proxy_port: [94, 2], proxy_ip4: [96, 16], proxy_ip6: [112, 16], host_policy_id: [128, 4] } },
  Ct: { c: "ax_ct", size: 124, fields: { epoch: [0, 4], expires_s: [4, 4], flags: [8, 4], created_s: [12, 4], frontend: [16, 16], frontend_port: [32, 2], pad: [34, 2], side: [36, 88] } },
  CtKey: { c: "ax_ct_key", size: 40, fields: { a: [0, 16], b: [16, 16], aport: [32, 2], bport: [34, 2], proto: [36, 1], pad: [37, 3] } },
  CtSide: { c: "ax_ct_side", size: 44, fields: { ifindex: [0, 4], identity: [4, 4], rule_id: [8, 4], last_report_s: [12, 4], nexthop: [16, 16], ep_id: [32, 2], path: [34, 1], tcp_flags: [35, 1], nexthop_port: [36, 2], proxy_rules: [38, 2], process: [40, 4] } },
  Endpoint: { c: "ax_endpoint", size: 32, fields: { ifindex: [0, 4], identity: [4, 4], policy_id: [8, 4], id: [12, 2], flags: [14, 2], mac: [16, 6], host_mac: [22, 6], pad: [28, 4] } },
  Event: { c: "ax_event", size: 120, fields: { time_ns: [0, 8], type: [8, 1], subtype: [9, 1], reason: [10, 1], flags: [11, 1], proto: [12, 1], tcp_flags: [13, 1], icmp_type: [14, 1], icmp_code: [15, 1], len: [16, 4], ifindex: [20, 4], src_identity: [24, 4], dst_identity: [28, 4], src_ep: [32, 2], dst_ep: [34, 2], sport: [36, 2], dport: [38, 2], saddr: [40, 16], daddr: [56, 16], rule_egress: [72, 4], rule_ingress: [76, 4], orig_daddr: [80, 16], orig_dport: [96, 2], cpu: [98, 2], smac: [100, 6], dmac: [106, 6], src_process: [112, 4], dst_process: [116, 4] } },
  FlowKey: { c: "ax_flow_key", size: 40, fields: { saddr: [0, 16], daddr: [16, 16], sport: [32, 2], dport: [34, 2], proto: [36, 1], pad: [37, 3] } },
  FragKey: { c: "ax_frag_key", size: 40, fields: { saddr: [0, 16], daddr: [16, 16], id: [32, 4], proto: [36, 1], pad: [37, 3] } },
  FragPorts: { c: "ax_frag_ports", size: 4, fields: { sport: [0, 2], dport: [2, 2] } },
  GcCtx: { c: "ax_gc_ctx", size: 48, fields: { flush: [0, 16], now_s: [16, 4], ct_seen: [20, 4], ct_deleted: [24, 4], nat_seen: [28, 4], nat_deleted: [32, 4], flow_seen: [36, 4], flow_deleted: [40, 4], pad: [44, 4] } },
  IpcacheEntry: { c: "ax_ipcache_entry", size: 24, fields: { identity: [0, 4], flags: [4, 4], node_ip: [8, 16] } },
  IpcacheKey: { c: "ax_ipcache_key", size: 20, fields: { prefixlen: [0, 4], addr: [4, 16] } },
  L2: { c: "ax_l2", size: 16, fields: { answered: [0, 8], mac: [8, 6], pad: [14, 2] } },
  L2Key: { c: "ax_l2_key", size: 20, fields: { addr: [0, 16], ifindex: [16, 4] } },
  Metric: { c: "ax_metric", size: 16, fields: { packets: [0, 8], bytes: [8, 8] } },
  Nat: { c: "ax_nat", size: 48, fields: { addr: [0, 16], frontend: [16, 16], port: [32, 2], frontend_port: [34, 2], expires_s: [36, 4], way: [40, 8] } },
  NatKey: { c: "ax_nat_key", size: 40, fields: { saddr: [0, 16], daddr: [16, 16], sport: [32, 2], dport: [34, 2], proto: [36, 1], reverse: [37, 1], pad: [38, 2] } },
  NatStat: { c: "ax_nat_stat", size: 64, fields: { allocated: [0, 8], own: [8, 8], listed: [16, 8], stolen: [24, 8], steps: [32, 8], in_use: [40, 8], no_port: [48, 8], table_full: [56, 8] } },
  Netns: { c: "ax_netns", size: 32, fields: { ip4: [0, 16], ip6: [16, 16] } },
  PolicyHead: { c: "ax_policy_head", size: 24, fields: { shapes_both: [0, 4], shapes_exact: [4, 4], shapes_cidr: [8, 4], shapes_any: [12, 4], default_rule: [16, 4], default_verdict: [20, 1], flags: [21, 1], pad: [22, 2] } },
  PolicyKey: { c: "ax_policy_key", size: 16, fields: { policy_id: [0, 4], identity: [4, 4], cidr: [8, 4], port: [12, 2], proto: [14, 1], shape: [15, 1] } },
  PolicyRow: { c: "ax_policy_row", size: 12, fields: { precedence: [0, 4], rule_id: [4, 4], proxy_port: [8, 2], verdict: [10, 1], pad: [11, 1] } },
  Process: { c: "ax_process", size: 576, fields: { noted_ns: [0, 8], start_ns: [8, 8], netns: [16, 8], pid: [24, 4], uid: [28, 4], flags: [32, 4], path_len: [36, 4], args_len: [40, 4], cgroup_len: [44, 4], comm: [48, 16], path: [64, 160], args: [224, 256], cgroup: [480, 96] } },
  ProcessId: { c: "ax_process_id", size: 16, fields: { start_ns: [0, 8], exec_id: [8, 4], id: [12, 4] } },
  ProcessSeq: { c: "ax_process_seq", size: 8, fields: { last: [0, 4], unnoted: [4, 4] } },
  ProxyPodKey: { c: "ax_proxy_pod_key", size: 8, fields: { ep_id: [0, 4], family: [4, 4] } },
  SkipKey: { c: "ax_skip_key", size: 20, fields: { client: [0, 16], service_id: [16, 4] } },
  Slot: { c: "ax_slot", size: 32, fields: { addr: [0, 16], port: [16, 2], pad: [18, 2], id: [20, 4], pad2: [24, 4], service_id: [28, 4] } },
  Sock: { c: "ax_sock", size: 48, fields: { frontend: [0, 16], backend: [16, 16], frontend_port: [32, 2], backend_port: [34, 2], backend_id: [36, 4], service_id: [40, 4], proto: [44, 1], scope: [45, 1], pad: [46, 2] } },
  SockRev: { c: "ax_sock_rev", size: 24, fields: { addr: [0, 16], port: [16, 2], pad: [18, 2], backend_id: [20, 4] } },
  SockRevKey: { c: "ax_sock_rev_key", size: 32, fields: { cookie: [0, 8], addr: [8, 16], port: [24, 2], pad: [26, 6] } },
  SrcRangeKey: { c: "ax_src_range_key", size: 24, fields: { prefixlen: [0, 4], service_id: [4, 4], addr: [8, 16] } },
  Svc: { c: "ax_svc", size: 24, fields: { service_id: [0, 4], slots_off: [4, 4], slots: [8, 4], count: [12, 4], affinity_timeout_s: [16, 4], flags: [20, 2], algorithm: [22, 1], forwarding: [23, 1] } },
  SvcFlow: { c: "ax_svc_flow", size: 40, fields: { backend_id: [0, 4], expires_s: [4, 4], nat_addr: [8, 16], nat_port: [24, 2], kind: [26, 1], pad: [27, 1], flags: [28, 4], way: [32, 8] } },
  SvcKey: { c: "ax_svc_key", size: 20, fields: { addr: [0, 16], port: [16, 2], proto: [18, 1], scope: [19, 1] } },
} as const satisfies Record<string, StructLayout>;
