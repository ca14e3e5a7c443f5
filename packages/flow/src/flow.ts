/**
 * The JSON form of the field's `flow.Flow` and the messages around it: original proto field
 * names, enums as strings, 64-bit integers as strings, zero values omitted (so nearly all fields
 * are optional). Numbers and names: `flow/flow.proto`, `observer/observer.proto`.
 */

/** RFC 3339 with 0, 3, 6 or 9 fractional digits, always in UTC ("Z"). */
export type Timestamp = string;

export type Verdict = "FORWARDED" | "DROPPED" | "ERROR" | "AUDIT" | "REDIRECTED" | "TRACED" | "TRANSLATED";
export type TrafficDirection = "INGRESS" | "EGRESS";
export type FlowType = "L3_L4" | "L7" | "SOCK";
export type IpVersion = "IPv4" | "IPv6";
export type LostEventSource = "PERF_EVENT_RING_BUFFER" | "OBSERVER_EVENTS_QUEUE" | "HUBBLE_RING_BUFFER";

export interface FlowWorkload {
  name?: string;
  kind?: string;
}

/** The program behind a socket; ours, not of the field's Flow. */
export interface FlowProcess {
  /** Path of the executable as its container sees it; begins with "..." when the kernel's row had no room for all. */
  binary?: string;
  /** In the node's namespace of processes. */
  pid?: number;
  /** As the process shows them, joined by spaces; only where they are switched on. */
  arguments?: string;
  /** Id of the container, or what its cgroup is called. */
  container?: string;
  start_time?: Timestamp;
  uid?: number;
}

export interface FlowEndpoint {
  /** Local endpoint id; absent for a peer on another node. */
  ID?: number;
  identity?: number;
  cluster_name?: string;
  namespace?: string;
  /** Sorted, `source:key=value`. */
  labels?: readonly string[];
  pod_name?: string;
  workloads?: readonly FlowWorkload[];
  /** That owns the socket, of a pod of the node that saw the flow. */
  process?: FlowProcess;
}

export interface FlowIp {
  source?: string;
  source_xlated?: string;
  destination?: string;
  ipVersion?: IpVersion;
  encrypted?: boolean;
}

export interface FlowEthernet {
  source?: string;
  destination?: string;
}

export interface FlowTcpFlags {
  FIN?: boolean;
  SYN?: boolean;
  RST?: boolean;
  PSH?: boolean;
  ACK?: boolean;
  URG?: boolean;
  ECE?: boolean;
  CWR?: boolean;
  NS?: boolean;
}

export interface FlowPorts {
  source_port?: number;
  destination_port?: number;
}

export interface FlowIcmp {
  type?: number;
  code?: number;
}

/** Exactly one member is set. */
export interface FlowLayer4 {
  TCP?: FlowPorts & { flags?: FlowTcpFlags };
  UDP?: FlowPorts;
  SCTP?: FlowPorts & { chunk_type?: string };
  ICMPv4?: FlowIcmp;
  ICMPv6?: FlowIcmp;
  VRRP?: { type?: number; vrid?: number; priority?: number };
  IGMP?: { type?: number; group_address?: string };
}

export interface FlowDns {
  query?: string;
  ips?: readonly string[];
  ttl?: number;
  cnames?: readonly string[];
  observation_source?: string;
  rcode?: number;
  qtypes?: readonly string[];
  rrtypes?: readonly string[];
}

export interface FlowHttpHeader {
  key?: string;
  value?: string;
}

export interface FlowHttp {
  code?: number;
  method?: string;
  url?: string;
  protocol?: string;
  headers?: readonly FlowHttpHeader[];
}

export interface FlowKafka {
  error_code?: number;
  api_version?: number;
  api_key?: string;
  correlation_id?: number;
  topic?: string;
}

export interface FlowLayer7 {
  type?: "REQUEST" | "RESPONSE" | "SAMPLE";
  latency_ns?: string;
  dns?: FlowDns;
  http?: FlowHttp;
  /** Not seen here; kept for flows of others. */
  kafka?: FlowKafka;
}

export interface FlowPolicy {
  name?: string;
  namespace?: string;
  labels?: readonly string[];
  /** uint64 as text. */
  revision?: string;
  kind?: string;
}

export interface FlowService {
  name?: string;
  namespace?: string;
}

export interface FlowInterface {
  index?: number;
  name?: string;
}

export interface FlowEventType {
  type?: number;
  sub_type?: number;
}

/** One observed event of a connection, as `hubble observe -o json` prints it. */
export interface Flow {
  time: Timestamp;
  uuid: string;
  emitter?: { name?: string; version?: string };
  verdict?: Verdict;
  /** Same number as `drop_reason_desc`; only with verdict DROPPED. */
  drop_reason?: number;
  auth_type?: string;
  ethernet?: FlowEthernet;
  IP?: FlowIp;
  l4?: FlowLayer4;
  source?: FlowEndpoint;
  destination?: FlowEndpoint;
  Type?: FlowType;
  /** `<cluster>/<node>`. */
  node_name?: string;
  node_labels?: readonly string[];
  source_names?: readonly string[];
  destination_names?: readonly string[];
  l7?: FlowLayer7;
  /** Deprecated in the field in favour of is_reply; kept for stock readers. */
  reply?: boolean;
  event_type?: FlowEventType;
  source_service?: FlowService;
  destination_service?: FlowService;
  traffic_direction?: TrafficDirection;
  policy_match_type?: number;
  trace_observation_point?: string;
  trace_reason?: string;
  drop_reason_desc?: string;
  /** Absent when unknown (drops). */
  is_reply?: boolean;
  interface?: FlowInterface;
  proxy_port?: number;
  trace_context?: { parent?: { trace_id?: string } };
  ip_trace_id?: { trace_id?: string; ip_option_type?: number };
  sock_xlate_point?: string;
  socket_cookie?: string;
  cgroup_id?: string;
  Summary?: string;
  egress_allowed_by?: readonly FlowPolicy[];
  ingress_allowed_by?: readonly FlowPolicy[];
  egress_denied_by?: readonly FlowPolicy[];
  ingress_denied_by?: readonly FlowPolicy[];
  policy_log?: readonly string[];
}

/** Events that were not delivered, and where they were lost. */
export interface LostEvent {
  source?: LostEventSource;
  /** uint64 as text. */
  num_events_lost: string;
  first?: Timestamp;
  last?: Timestamp;
}

/** One line of a flow stream: a flow, or a count of lost events. */
export interface GetFlowsResponse {
  flow?: Flow;
  lost_events?: LostEvent;
  node_status?: { state_change?: string; node_names?: readonly string[]; message?: string };
  node_name?: string;
  time?: Timestamp;
}

/** Type, optionally with a sub-type, of a datapath event (numbers of the monitor messages). */
export interface EventTypeFilter {
  type: number;
  match_sub_type?: boolean;
  sub_type?: number;
}

/**
 * Which flows are wanted. Fields are ANDed, values of one field ORed, filters of a list ORed
 * (see `compileFilter`).
 */
export interface FlowFilter {
  uuid?: readonly string[];
  source_ip?: readonly string[];
  source_ip_xlated?: readonly string[];
  source_pod?: readonly string[];
  source_fqdn?: readonly string[];
  source_label?: readonly string[];
  source_service?: readonly string[];
  source_workload?: readonly FlowWorkload[];
  source_cluster_name?: readonly string[];
  /** Binaries: a name, or a path; * is a wildcard. Ours. */
  source_process?: readonly string[];
  destination_ip?: readonly string[];
  destination_pod?: readonly string[];
  destination_fqdn?: readonly string[];
  destination_label?: readonly string[];
  destination_service?: readonly string[];
  destination_workload?: readonly FlowWorkload[];
  destination_cluster_name?: readonly string[];
  destination_process?: readonly string[];
  traffic_direction?: readonly (TrafficDirection | "TRAFFIC_DIRECTION_UNKNOWN")[];
  verdict?: readonly (Verdict | "VERDICT_UNKNOWN")[];
  drop_reason_desc?: readonly string[];
  interface?: readonly FlowInterface[];
  event_type?: readonly EventTypeFilter[];
  http_status_code?: readonly string[];
  protocol?: readonly string[];
  source_port?: readonly string[];
  destination_port?: readonly string[];
  reply?: readonly boolean[];
  dns_query?: readonly string[];
  source_identity?: readonly number[];
  destination_identity?: readonly number[];
  http_method?: readonly string[];
  http_path?: readonly string[];
  http_url?: readonly string[];
  http_header?: readonly FlowHttpHeader[];
  tcp_flags?: readonly FlowTcpFlags[];
  node_name?: readonly string[];
  node_labels?: readonly string[];
  ip_version?: readonly (IpVersion | "IP_NOT_USED")[];
  trace_id?: readonly string[];
  ip_trace_id?: readonly (string | number)[];
  encrypted?: readonly boolean[];
  /** `cel_expression`: conditions in CEL on `_flow`, one of which must hold. */
  experimental?: { cel_expression?: readonly string[] };
}

/** `observer.GetFlowsRequest`; also the JSON in `?q=` of the agent's /v1/flows. */
export interface GetFlowsRequest {
  /** At most this many flows; 0 or absent: no limit. */
  number?: number;
  /** The oldest `number` instead of the newest; not together with `follow`. */
  first?: boolean;
  follow?: boolean;
  /** Wins over `number`/`first`. */
  since?: Timestamp;
  until?: Timestamp;
  whitelist?: readonly FlowFilter[];
  blacklist?: readonly FlowFilter[];
}
