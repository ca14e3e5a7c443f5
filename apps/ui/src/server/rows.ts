import {
  DropReasonSchema,
  type Flow,
  type FlowEndpoint,
  FlowVerdict,
  TrafficDirection,
} from "@axoneme/proto";
import type { End, FlowRow, GroupKind, MapNode, Program, Verdict } from "../shared/model.ts";

/** Labels that name what a pod is part of, the most telling first. */
const appLabels = ["k8s:app.kubernetes.io/name=", "k8s:k8s-app=", "k8s:app="];

const reservedKinds: Readonly<Record<string, GroupKind>> = {
  "reserved:world": "world",
  "reserved:world-ipv4": "world",
  "reserved:world-ipv6": "world",
  "reserved:host": "host",
  "reserved:remote-node": "remote-node",
  "reserved:kube-apiserver": "apiserver",
};

/** A verdict as the page groups it. */
export function verdictOf(verdict: number): Verdict {
  if (verdict === FlowVerdict.DROPPED) return "dropped";
  if (verdict === FlowVerdict.AUDIT) return "audit";
  return verdict === FlowVerdict.ERROR ? "error" : "forwarded";
}

function workloadOf({ workloads, labels, podName }: FlowEndpoint): string {
  const [workload] = workloads;
  if (workload !== undefined && workload.name !== "") return workload.name;
  for (const prefix of appLabels) {
    const label = labels.find((one) => one.startsWith(prefix));
    if (label !== undefined) return label.slice(prefix.length);
  }
  return podName;
}

/** The most telling of an endpoint's reserved labels: an API server is also a node, or the world. */
function reservedOf(labels: readonly string[]): string | undefined {
  const reserved = labels.filter((label) => label.startsWith("reserved:"));
  return reserved.find((label) => label === "reserved:kube-apiserver") ?? reserved[0];
}

/** The node of the map that an identifier stands for. */
export function mapNode(id: string): MapNode {
  const rest = id.slice(id.indexOf(":") + 1);
  if (id.startsWith("w:")) {
    const slash = rest.indexOf("/");
    return { id, kind: "workload", namespace: rest.slice(0, slash), name: rest.slice(slash + 1) };
  }
  if (id.startsWith("n:")) return { id, kind: "name", namespace: "", name: rest };
  if (id.startsWith("ns:")) return { id, kind: "namespace", namespace: rest, name: rest };
  return { id, kind: reservedKinds[`reserved:${rest}`] ?? "other", namespace: "", name: rest };
}

/** Which node of the map an endpoint belongs to; `names`: what DNS calls its address. */
export function groupOf(endpoint: FlowEndpoint | undefined, names: readonly string[]): string {
  if (endpoint !== undefined && endpoint.podName !== "") {
    return `w:${endpoint.namespace}/${workloadOf(endpoint)}`;
  }
  const reserved = reservedOf(endpoint?.labels ?? []) ?? "reserved:unknown";
  const kind = reservedKinds[reserved];
  const [name] = names;
  if (kind === "world") return name === undefined ? "r:world" : `n:${name}`;
  // Of what has no name, and is no pod: prefixes that policies name.
  return `r:${reserved.slice("reserved:".length)}`;
}

function endOf(endpoint: FlowEndpoint | undefined, ip: string, port: number, names: readonly string[]): End {
  return {
    group: groupOf(endpoint, names),
    namespace: endpoint?.namespace ?? "",
    pod: endpoint?.podName ?? "",
    workload: endpoint === undefined ? "" : workloadOf(endpoint),
    ip,
    port,
    identity: endpoint?.identity ?? 0,
    labels: endpoint?.labels ?? [],
    names: [...names],
    ...programOf(endpoint?.process),
  };
}

function millis(time: { readonly seconds: bigint; readonly nanos: number } | undefined): number {
  return time === undefined ? 0 : Number(time.seconds) * 1000 + Math.floor(time.nanos / 1e6);
}

function programOf(process: FlowEndpoint["process"]): { program?: Program } {
  if (process === undefined) return {};
  const { binary, pid, uid, container, startTime } = process;
  return {
    program: { binary, pid, uid, arguments: process.arguments, container, started: millis(startTime) },
  };
}

function portsOf({ l4 }: Flow): { protocol: string; sport: number; dport: number } {
  const { protocol } = l4 ?? {};
  switch (protocol?.case) {
    case "TCP":
    case "UDP":
    case "SCTP":
      return {
        protocol: protocol.case,
        sport: protocol.value.sourcePort,
        dport: protocol.value.destinationPort,
      };
    case "ICMPv4":
    case "ICMPv6":
      return { protocol: protocol.case, sport: 0, dport: 0 };
    default:
      return { protocol: "", sport: 0, dport: 0 };
  }
}

function policiesOf(flow: Flow): string[] {
  const all = [
    ...flow.egressDeniedBy,
    ...flow.ingressDeniedBy,
    ...flow.egressAllowedBy,
    ...flow.ingressAllowedBy,
  ];
  return [...new Set(all.map(({ namespace, name }) => (namespace === "" ? name : `${namespace}/${name}`)))];
}

function dropReasonName(number: number): string {
  return DropReasonSchema.values.find((value) => value.number === number)?.name ?? String(number);
}

/** A flow of the Hubble API as the page shows it. */
export function rowOf(flow: Flow): FlowRow {
  const { protocol, sport, dport } = portsOf(flow);
  const { time } = flow;
  return {
    id: flow.uuid,
    time: millis(time),
    node: flow.nodeName,
    verdict: verdictOf(flow.verdict),
    dropReason: flow.verdict === FlowVerdict.DROPPED ? dropReasonName(flow.dropReasonDesc) : "",
    direction:
      flow.trafficDirection === TrafficDirection.INGRESS
        ? "ingress"
        : flow.trafficDirection === TrafficDirection.EGRESS
          ? "egress"
          : "",
    isReply: flow.isReply ?? false,
    protocol,
    source: endOf(flow.source, flow.IP?.source ?? "", sport, flow.sourceNames),
    destination: endOf(flow.destination, flow.IP?.destination ?? "", dport, flow.destinationNames),
    policies: policiesOf(flow),
    summary: flow.Summary,
  };
}
