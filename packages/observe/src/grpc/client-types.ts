import type { DebugEvent } from "@axoneme/flow";

/** Messages of the flow API in their JSON form, as clients read them. Zero values are absent. */

/** `observer.ServerStatusResponse`. */
export interface HubbleStatus {
  readonly num_flows?: string;
  readonly max_flows?: string;
  readonly seen_flows?: string;
  readonly uptime_ns?: string;
  /** Of a relay only. */
  readonly num_connected_nodes?: number;
  readonly num_unavailable_nodes?: number;
  readonly unavailable_nodes?: readonly string[];
  readonly version?: string;
  readonly flows_rate?: number;
}

/** `observer.Node`. */
export interface HubbleNode {
  readonly name?: string;
  readonly version?: string;
  readonly address?: string;
  readonly state?: string;
  readonly tls?: { readonly enabled?: boolean; readonly server_name?: string };
  readonly uptime_ns?: string;
  readonly num_flows?: string;
  readonly max_flows?: string;
  readonly seen_flows?: string;
}

/** `observer.Namespace`. */
export interface HubbleNamespace {
  readonly cluster?: string;
  readonly namespace?: string;
}

/** `peer.ChangeNotification`. */
export interface PeerNotice {
  readonly name?: string;
  readonly address?: string;
  readonly type?: string;
  readonly tls?: { readonly server_name?: string };
}

/** What GetAgentEvents and GetDebugEvents are asked. */
export interface EventsRequest {
  readonly number?: number;
  readonly first?: boolean;
  readonly follow?: boolean;
  readonly since?: string;
  readonly until?: string;
}

/** `observer.GetAgentEventsResponse`. */
export interface AgentEventResponse {
  readonly agent_event?: { readonly type?: string } & Readonly<Record<string, unknown>>;
  readonly node_name?: string;
  readonly time?: string;
}

/** `observer.GetDebugEventsResponse`. */
export interface DebugEventResponse {
  readonly debug_event?: Partial<DebugEvent>;
  readonly node_name?: string;
  readonly time?: string;
}
