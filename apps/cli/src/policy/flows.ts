import type { Flow, FlowEndpoint } from "@axoneme/flow";
import { parseLabelLines } from "@axoneme/identity";
import { apiPath, type PolicyView, type StatusResponse } from "@axoneme/observe";
import type { CidrMatch, SandboxSide, SeenConnection } from "@axoneme/policy";
import type { AgentOptions } from "../agents.ts";
import { findAgents } from "../agents.ts";
import type { Context } from "../context.ts";
import { flowSource } from "../hubble/source.ts";
import { ask } from "./places.ts";

/** A connection that was seen, and how often. */
export interface SeenFlow extends SeenConnection {
  readonly from: string;
  readonly to: string;
  readonly protocol: string;
  readonly wasForwarded: boolean;
}

/** Flows that are asked for at most: of each node, the newest. */
const mostFlows = 100_000;
/** Milliseconds to connect to a relay, and for its answers. */
const patience = { timeout: 5000, requestTimeout: 12_000 } as const;

function sideOf(
  endpoint: FlowEndpoint | undefined,
  ip: string | undefined,
  names: readonly string[] | undefined,
): SandboxSide {
  const isPod = endpoint?.pod_name !== undefined && endpoint.pod_name !== "";
  return {
    isPod,
    labels: parseLabelLines(endpoint?.labels ?? []),
    ...(ip === undefined ? {} : { ip }),
    ...(names === undefined ? {} : { names }),
  };
}

function nameOf(
  endpoint: FlowEndpoint | undefined,
  ip: string | undefined,
  names?: readonly string[],
): string {
  if (endpoint?.pod_name) return `${endpoint.namespace ?? ""}/${endpoint.pod_name}`;
  const reserved = endpoint?.labels
    ?.find((label) => label.startsWith("reserved:"))
    ?.slice("reserved:".length);
  return names?.[0] ?? ([reserved, ip].filter(Boolean).join(" ") || "unknown");
}

/** The connection that a flow is part of; undefined for answers, and for what policy has no say in. */
export function seenFlow(flow: Flow): SeenFlow | undefined {
  if (flow.is_reply === true || flow.reply === true) return undefined;
  const l4 = l4Of(flow);
  if (l4 === undefined || flow.source === undefined || flow.destination === undefined) return undefined;
  return {
    ...l4,
    source: sideOf(flow.source, flow.IP?.source, flow.source_names),
    destination: sideOf(flow.destination, flow.IP?.destination, flow.destination_names),
    from: nameOf(flow.source, flow.IP?.source, flow.source_names),
    to: nameOf(flow.destination, flow.IP?.destination, flow.destination_names),
    wasForwarded: flow.verdict !== "DROPPED" && flow.verdict !== "ERROR",
    ...askedOf(flow),
  };
}

/** What a DNS server was asked for, as the proxy saw it. */
function askedOf({ l7 }: Flow): Pick<SeenFlow, "asked"> {
  const name = l7?.type === "REQUEST" ? l7.dns?.query : undefined;
  return name === undefined ? {} : { asked: name };
}

function l4Of({ l4 }: Flow): { proto: number; port: number; protocol: string } | undefined {
  const ports = { TCP: 6, UDP: 17, SCTP: 132 } as const;
  for (const [protocol, proto] of Object.entries(ports)) {
    const one = l4?.[protocol as keyof typeof ports];
    if (one) return { proto, protocol, port: one.destination_port ?? 0 };
  }
  if (l4?.ICMPv4) return { proto: 1, protocol: "ICMP", port: l4.ICMPv4.type ?? 0 };
  if (l4?.ICMPv6) return { proto: 58, protocol: "ICMPv6", port: l4.ICMPv6.type ?? 0 };
  return undefined;
}

/** Connections that were seen since a time, each once; with `byName` once for each name that was asked for. */
export async function seenSince(
  context: Context,
  options: AgentOptions,
  since: string,
  byName = false,
): Promise<SeenFlow[]> {
  const flows = flowSource(context, { ...options, ...patience });
  const seen = new Map<string, SeenFlow>();
  for await (const { flow } of flows.flows({ since, number: mostFlows }, [], context.signal)) {
    const one = flow && seenFlow(flow);
    if (!one) continue;
    const { source, destination, proto, port, wasForwarded, asked } = one;
    const key = JSON.stringify([source, destination, proto, port, wasForwarded, byName && asked]);
    seen.set(key, one);
  }
  flows.check();
  return [...seen.values()];
}

/** Policy objects that the agents know, each once. */
export async function policyObjects(context: Context, options: AgentOptions): Promise<unknown[]> {
  const lists = await Promise.all(
    findAgents(context, options).map((agent) =>
      ask<PolicyView[]>(context, agent, apiPath.policy, "cannot read the policies"),
    ),
  );
  const all = lists
    .flat()
    .map((view) => [`${view.kind}/${view.namespace}/${view.name}`, withKind(view)] as const);
  return [...new Map(all).values()];
}

/** Whom rules on prefixes match, as the agents are configured: they should agree. */
export async function cidrMatchOf(context: Context, options: AgentOptions): Promise<CidrMatch> {
  const [agent] = findAgents(context, options);
  if (agent === undefined) return "address";
  const what = "cannot read how prefixes are matched";
  const { policyCIDRMatchMode } = await ask<StatusResponse>(context, agent, apiPath.status, what);
  return policyCIDRMatchMode ?? "address";
}

/** Objects from a list have no kind of their own. */
function withKind({ kind, object }: PolicyView): unknown {
  return { kind, ...(object as object) };
}
