import { formatIp, tryParseIp } from "@axoneme/base";
import { apiPath, type EndpointView, type FqdnCacheView, type ServiceTraceView } from "@axoneme/observe";
import { type AgentOptions, findAgents } from "../agents.ts";
import { AgentClient, type AgentRef } from "../client.ts";
import type { Context } from "../context.ts";
import { CliError, exitCode, usageError } from "../errors.ts";

/** An endpoint and the agent that owns it. */
export interface OwnedEndpoint extends EndpointView {
  readonly agent: AgentRef;
}

/** One side of a connection as a person named it. */
export interface Place {
  readonly text: string;
  /** Undefined: nobody of ours; nobody judges for it. */
  readonly endpoint: OwnedEndpoint | undefined;
  /** How the other side's agent is asked about it: an address, or the word of an entity. */
  readonly peer: string;
  /** Names by which the client knows the address. */
  readonly names: readonly string[];
}

const entities = [
  "world",
  "host",
  "remote-node",
  "kube-apiserver",
  "health",
  "init",
  "ingress",
  "unmanaged",
  "world-ipv4",
  "world-ipv6",
];

/** All endpoints of all agents. */
export async function allEndpoints(context: Context, options: AgentOptions): Promise<OwnedEndpoint[]> {
  const agents = findAgents(context, options);
  const lists = await Promise.all(
    agents.map(async (agent) => {
      const list = await ask<EndpointView[]>(context, agent, apiPath.endpoints, "cannot read the endpoints");
      return list.map((endpoint) => ({ ...endpoint, agent }));
    }),
  );
  return lists.flat();
}

/** One question to one agent. */
export async function ask<T>(context: Context, agent: AgentRef, path: string, what: string): Promise<T> {
  const client = new AgentClient(agent);
  try {
    return await client.get<T>(path, what, context.signal);
  } finally {
    client.close();
  }
}

/** The endpoint of a pod: `namespace/name`, a name that only one pod has, or an address. */
function endpointOf(endpoints: readonly OwnedEndpoint[], text: string): OwnedEndpoint | undefined {
  const pods = endpoints.filter(({ kind }) => kind === "pod");
  const exact = pods.find(({ namespace, pod }) => `${namespace}/${pod}` === text);
  if (exact) return exact;
  const ip = tryParseIp(text);
  if (ip) return pods.find(({ ipv4, ipv6 }) => [ipv4, ipv6].includes(formatIp(ip)));
  const named = pods.filter(({ pod }) => pod === text);
  if (named.length > 1)
    throw usageError(
      `there are several pods "${text}"`,
      `say which: ${named.map(({ namespace, pod }) => `${namespace}/${pod}`).join(", ")}`,
    );
  return named[0];
}

/** What a person's word for one side of a connection stands for. */
export function findPlace(endpoints: readonly OwnedEndpoint[], text: string): Place | undefined {
  if (entities.includes(text)) return { text, endpoint: undefined, peer: text, names: [] };
  const endpoint = endpointOf(endpoints, text);
  if (endpoint) return { text, endpoint, peer: endpoint.ipv4 ?? endpoint.ipv6 ?? "", names: [] };
  const ip = tryParseIp(text);
  return ip ? { text, endpoint: undefined, peer: formatIp(ip), names: [] } : undefined;
}

/** Addresses that the source has learned for a name. */
export async function placeByName(context: Context, source: Place, name: string): Promise<Place | undefined> {
  if (source.endpoint === undefined) return undefined;
  const query = new URLSearchParams({ match: name, endpoint: String(source.endpoint.id) });
  const path = `${apiPath.fqdnCache}?${query}`;
  const known = await ask<FqdnCacheView[]>(context, source.endpoint.agent, path, "cannot read the DNS cache");
  const [first] = known;
  return first && { text: name, endpoint: undefined, peer: first.ip, names: [first.name] };
}

/** The backend that a Service's address leads to, from where the source is. */
export async function throughService(
  context: Context,
  endpoints: readonly OwnedEndpoint[],
  source: Place,
  dialled: { readonly address: string; readonly port: number; readonly protocol: string },
): Promise<{ readonly place: Place; readonly port: number; readonly service: string } | undefined> {
  if (source.endpoint === undefined || !["TCP", "UDP", "SCTP"].includes(dialled.protocol)) return undefined;
  const { namespace, pod, agent } = source.endpoint;
  const query = new URLSearchParams({
    client: `${namespace}/${pod}`,
    address: dialled.address,
    port: String(dialled.port),
    protocol: dialled.protocol,
  });
  const trace = await ask<ServiceTraceView>(context, agent, `${apiPath.trace}?${query}`, "cannot trace");
  const [backend] = trace.backends;
  if (trace.service === undefined || backend === undefined) return undefined;
  const place = findPlace(endpoints, backend.address);
  const service = `${trace.service.namespace}/${trace.service.name}`;
  return place && { place: { ...place, text: backend.pod ?? backend.address }, port: backend.port, service };
}

/** @throws CliError not found, saying how sides are named. */
export function unknownPlace(text: string): CliError {
  return new CliError(exitCode.notFound, {
    what: "nobody by this name",
    object: text,
    fix: `name a pod (namespace/name, see \`axon endpoint list\`), an address, a DNS name that the source has asked for, or one of ${entities.join(", ")}`,
  });
}
