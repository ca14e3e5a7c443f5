/** What the server and the page say to each other. Pure: both import it. */

/** Verdicts as the page groups them. */
export type Verdict = "forwarded" | "dropped" | "audit" | "error";

/** The program that owns a socket. */
export interface Program {
  /** Path of the executable, as its container sees it. */
  readonly binary: string;
  readonly pid: number;
  readonly uid: number;
  /** As the process shows them; empty unless agents are told to read them. */
  readonly arguments: string;
  readonly container: string;
  /** Milliseconds since the epoch; 0: not known. */
  readonly started: number;
}

/** One side of a flow. */
export interface End {
  /** The node of the map it belongs to. */
  readonly group: string;
  readonly namespace: string;
  readonly pod: string;
  readonly workload: string;
  readonly ip: string;
  readonly port: number;
  readonly identity: number;
  readonly labels: readonly string[];
  readonly names: readonly string[];
  /** Known of pods of the node that saw the flow. */
  readonly program?: Program;
}

/** A flow as the table shows it. */
export interface FlowRow {
  readonly id: string;
  /** Milliseconds since the epoch, by the clock of the node that saw it. */
  readonly time: number;
  readonly node: string;
  readonly verdict: Verdict;
  /** Enum name of flow.proto, as POLICY_DENIED; empty when nothing was dropped. */
  readonly dropReason: string;
  readonly direction: "ingress" | "egress" | "";
  readonly isReply: boolean;
  readonly protocol: string;
  readonly source: End;
  readonly destination: End;
  /** `namespace/name` of policies that let it through or refused it. */
  readonly policies: readonly string[];
  readonly summary: string;
}

/** What a node of the map stands for. */
export type GroupKind =
  | "workload"
  | "namespace"
  | "world"
  | "name"
  | "host"
  | "remote-node"
  | "apiserver"
  | "other";

/** A node of the map. */
export interface MapNode {
  readonly id: string;
  readonly kind: GroupKind;
  readonly namespace: string;
  readonly name: string;
}

/** What goes from one node of the map to another. Rates are records of flows a second. */
export interface MapEdge {
  readonly id: string;
  readonly source: string;
  readonly target: string;
  readonly forwarded: number;
  readonly dropped: number;
  readonly audited: number;
  /** Records of the whole window, by verdict. */
  readonly totals: { readonly forwarded: number; readonly dropped: number; readonly audited: number };
  /** As `TCP/8080`, the busiest first; at most a few. */
  readonly ports: readonly string[];
  /** Ports on which something was dropped. */
  readonly droppedPorts: readonly string[];
  /** The last drop's flow, for the question why. */
  readonly lastDrop: string;
}

/** What changed on the map since the last message. `reset`: forget what was before. */
export interface MapDelta {
  readonly reset: boolean;
  readonly nodes: readonly MapNode[];
  readonly edges: readonly MapEdge[];
  readonly removedEdges: readonly string[];
  /** Edges that match but are not sent: there are too many for a picture. */
  readonly hidden: number;
}

/** Flows for the table, newest last. */
export interface FlowBatch {
  readonly rows: readonly FlowRow[];
  /** Matching flows that are not among the rows: there were too many. */
  readonly skipped: number;
}

/** How a source of flows is. */
export interface SourceState {
  readonly name: string;
  readonly state: "connecting" | "connected" | "failed";
  readonly message: string;
  readonly version: string;
  readonly flowsPerSecond: number;
  readonly numFlows: number;
  readonly lost: number;
  readonly nodes: { readonly connected: number; readonly unavailable: readonly string[] };
}

/** How a node and its agent are, as far as anybody tells. What is not told is absent. */
export interface NodeHealth {
  readonly name: string;
  /** `silent`: its agent does not answer. */
  readonly state: "ok" | "degraded" | "failed" | "silent";
  /** What is wrong, a line each. */
  readonly problems: readonly string[];
  /** Who told it: its own agent, which knows all, or a relay, which knows little. */
  readonly toldBy: "agent" | "relay";
  readonly version?: string;
  readonly uptimeSeconds?: number;
  readonly flowsPerSecond?: number;
  /** Events that found no room on their way from the kernel. */
  readonly lost?: number;
  /** The map that is the fullest, and the share of it that is in use. */
  readonly fullest?: { readonly map: string; readonly share: number };
  readonly endpoints?: { readonly total: number; readonly ready: number };
  /** As `eth0: xdp`. */
  readonly programs?: readonly string[];
  readonly dnsProxy?: "serving" | "not serving" | "off";
}

export interface Health {
  readonly sources: readonly SourceState[];
  /** Flows a second that the server takes in. */
  readonly rate: number;
  /** Flows since it was started. */
  readonly counted: number;
}

/** What is looked at. The page keeps it in its address. */
export interface Filter {
  readonly namespace: string;
  readonly verdict: "" | Verdict;
  /** In capital letters. */
  readonly protocol: string;
  /** Destination port, as text. */
  readonly port: string;
  /** Part of a name of either side: pod, workload, namespace, label, address, DNS name, program. */
  readonly text: string;
  /** A node of the map: flows from or to it. */
  readonly group: string;
}

export const everything: Filter = { namespace: "", verdict: "", protocol: "", port: "", text: "", group: "" };

const verdicts: readonly string[] = ["forwarded", "dropped", "audit", "error"];

/** The filter in a query string; what is not understood is left out. */
export function readFilter(query: URLSearchParams): Filter {
  const text = (name: string): string => (query.get(name) ?? "").slice(0, 253);
  const verdict = text("verdict");
  const port = text("port");
  return {
    namespace: text("namespace"),
    verdict: verdicts.includes(verdict) ? (verdict as Verdict) : "",
    protocol: text("protocol").toUpperCase(),
    port: /^\d{1,5}$/.test(port) ? port : "",
    text: text("text"),
    group: text("group"),
  };
}

/** The other way round: only what is set. */
export function writeFilter(filter: Filter): URLSearchParams {
  return new URLSearchParams(Object.entries(filter).filter(([, value]) => value !== ""));
}

/** Does a flow match? */
export function matches(row: FlowRow, filter: Filter): boolean {
  const { source, destination } = row;
  if (filter.verdict !== "" && row.verdict !== filter.verdict) return false;
  if (filter.protocol !== "" && row.protocol.toUpperCase() !== filter.protocol) return false;
  if (filter.port !== "" && String(destination.port) !== filter.port && String(source.port) !== filter.port)
    return false;
  if (
    filter.namespace !== "" &&
    source.namespace !== filter.namespace &&
    destination.namespace !== filter.namespace
  )
    return false;
  if (filter.group !== "" && !within(source, filter.group) && !within(destination, filter.group))
    return false;
  return filter.text === "" || mentions(source, filter.text) || mentions(destination, filter.text);
}

/** Is this end the node of the map, or in the namespace that the node stands for? */
function within(end: End, group: string): boolean {
  return end.group === group || (group.startsWith("ns:") && end.namespace === group.slice(3));
}

function mentions(end: End, text: string): boolean {
  return (
    end.pod.includes(text) ||
    end.workload.includes(text) ||
    end.namespace.includes(text) ||
    end.ip === text ||
    end.program?.binary.includes(text) === true ||
    end.names.some((name) => name.includes(text)) ||
    end.labels.some((label) => label.includes(text))
  );
}
