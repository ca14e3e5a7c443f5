import { formatIp, type Ip, ipEqual, isV4 } from "@axoneme/base";
import { protocolName } from "@axoneme/flow";
import { BackendFlag, BackendState, Forwarding, ServiceFlag } from "@axoneme/loadbalancer";
import type { ServiceTraceView } from "@axoneme/observe";
import { ClientFrom, type DecisionRows, type Found, lookUp } from "./kernel-rows.ts";
import { algorithmOf, backendOf, frontendOf, type PeerNames, scopeOf, socketOf, typeOf } from "./views.ts";

/** Who asks. */
export interface TraceClient {
  readonly kind: "pod" | "host" | "world";
  readonly name: string;
  readonly ip: Ip;
}

/** What a trace is made from. */
export interface TraceSources {
  readonly rows: DecisionRows;
  /** Whether sockets are translated at connect. */
  readonly socketLB: boolean;
  /** Where packets from outside are balanced. */
  readonly outside: { readonly at: "xdp" | "tcx"; readonly reason?: string };
  readonly peers: PeerNames;
  /** Whose a row is, as the agent knows it, and why its list is what it is. */
  readonly ownerOf: (
    key: Found["key"],
  ) => { namespace: string; name: string; portName: string; locality: string } | undefined;
  /** The node's address of a family: the source of packets that are translated on the way out. */
  readonly nodeIp: (v4: boolean) => Ip | undefined;
  /** Now, on the datapath's clock. */
  readonly nowS: () => number;
}

type Dialled = { readonly addr: Ip; readonly port: number; readonly proto: number };

const sctp = 132;

/** What becomes of a connection: the datapath's decision with the rows that are in the kernel now. */
export function trace(sources: TraceSources, client: TraceClient, dialled: Dialled): ServiceTraceView {
  const path = pathOf(sources, client, dialled);
  const base = {
    client: { kind: client.kind, name: client.name, address: formatIp(client.ip) },
    dialled: {
      address: formatIp(dialled.addr),
      port: dialled.port,
      protocol: protocolName(dialled.proto),
    },
    path: { at: path.at, reason: path.reason },
  };
  if (path.from === undefined)
    return { ...base, verdict: "not-a-service", reason: path.reason, backends: [] };
  const result = lookUp(sources.rows, dialled, client.ip, path.from);
  if ("none" in result) {
    return {
      ...base,
      ...(result.at ? frontendPart(sources, result.at) : {}),
      ...(result.refused ? { sourceRanges: { allowed: false, reason: result.none } } : {}),
      verdict: result.refused ? "refused" : "not-a-service",
      reason: result.refused ? `${result.none}: ${refusal(path.at)}` : result.none,
      backends: [],
    };
  }
  return { ...base, ...chosen(sources, client, result.found, path) };
}

interface Path {
  readonly at: ServiceTraceView["path"]["at"];
  readonly reason: string;
  /** undefined: no program of ours looks at it. */
  readonly from: ClientFrom | undefined;
}

/** Which programs see the client's connection first. */
function pathOf({ socketLB, outside }: TraceSources, client: TraceClient, { proto }: Dialled): Path {
  if (client.kind === "world") {
    const reason = `packets that arrive at the node's device${outside.reason ? `; no XDP: ${outside.reason}` : ""}`;
    return { at: outside.at, reason, from: ClientFrom.outside };
  }
  const atConnect = socketLB && proto !== sctp;
  if (client.kind === "host") {
    if (atConnect)
      return {
        at: "socket",
        reason: "sockets of the node are translated at connect and sendmsg",
        from: ClientFrom.host,
      };
    const reason = `sockets of the node are only translated at connect${socketLB ? ", which SCTP has no hook for" : ", and socketLB is off"}`;
    return { at: "none", reason, from: undefined };
  }
  if (atConnect)
    return {
      at: "socket",
      reason: "sockets of pods are translated at connect and sendmsg; what leaves them otherwise, at tcx",
      from: ClientFrom.socket,
    };
  const reason = socketLB ? "SCTP has no hook at connect" : "socketLB is off";
  return { at: "tcx", reason: `packets that leave the pod: ${reason}`, from: ClientFrom.inside };
}

function refusal(at: Path["at"]): string {
  return at === "socket"
    ? "connect fails with ECONNREFUSED"
    : "the packet is dropped and the client is told so";
}

function frontendPart(
  sources: TraceSources,
  { key, row, wildcard, how }: Found,
): Pick<ServiceTraceView, "service" | "frontend"> {
  const owner = sources.ownerOf(key);
  const { address, port, scope } = frontendOf(key);
  const found = wildcard
    ? "the port is served on every address of the node that serves NodePorts"
    : "the very address and port";
  const then = {
    first: "",
    internal: "; clients inside have a row of their own",
    original: "; the client is behind the redirect itself",
  }[how];
  return {
    ...(owner
      ? {
          service: {
            namespace: owner.namespace,
            name: owner.name,
            portName: owner.portName,
            id: row.serviceId,
          },
        }
      : {}),
    frontend: { address, port, type: typeOf(row.flags), scope, wildcard, reason: `${found}${then}` },
  };
}

function chosen(
  sources: TraceSources,
  client: TraceClient,
  found: Found,
  path: Path,
): Omit<ServiceTraceView, "client" | "dialled" | "path"> {
  const { row } = found;
  const backends = backendsOf(sources, client, found, path);
  const affinity = affinityOf(sources, client, found);
  const common = {
    ...frontendPart(sources, found),
    ...rangesPart(found, path),
    policy: policyOf(sources, found),
    ...(affinity ? { affinity } : {}),
  };
  if (row.slots === 0 && !affinity?.honoured) {
    const why = `it has no usable backend${row.flags & ServiceFlag.localOnly ? " on this node" : ""}`;
    return { ...common, verdict: "refused", reason: `${why}: ${refusal(path.at)}`, backends };
  }
  const algorithm = algorithmOf(row.algorithm);
  const reason =
    algorithm === "maglev"
      ? `hash of the client's address${row.affinityTimeoutS > 0 ? "" : " and ports"} in a table of ${row.slots}`
      : `each of ${row.slots} alike`;
  return {
    ...common,
    verdict: "translated",
    reason: affinity?.honoured ? "the backend the client had" : `one of ${row.count} backends`,
    selection: { algorithm, slots: row.slots, reason },
    backends,
  };
}

function rangesPart({ row }: Found, path: Path): Pick<ServiceTraceView, "sourceRanges"> {
  if (!(row.flags & ServiceFlag.sourceRanges)) return {};
  const reason =
    path.from === ClientFrom.host
      ? "the node itself is never refused"
      : "the client is in loadBalancerSourceRanges";
  return { sourceRanges: { allowed: true, reason } };
}

function policyOf(sources: TraceSources, { key, row }: Found): NonNullable<ServiceTraceView["policy"]> {
  const locality = sources.ownerOf(key)?.locality;
  const { flags } = row;
  const name =
    flags & ServiceFlag.localRedirect
      ? "local-redirect"
      : flags & ServiceFlag.localOnly
        ? "local"
        : flags & ServiceFlag.topology
          ? "topology"
          : "all";
  return { name, reason: locality ?? `by the row's flags, scope ${scopeOf(key.scope)}` };
}

function affinityOf(
  { rows, nowS }: TraceSources,
  client: TraceClient,
  { row }: Found,
): ServiceTraceView["affinity"] {
  const timeoutS = row.affinityTimeoutS;
  if (!(row.flags & ServiceFlag.affinity)) return undefined;
  const had = rows.affinity(row.serviceId, client.ip);
  if (!had) return { timeoutS, honoured: false, reason: "the client has not been here yet" };
  const ageS = Math.max(0, nowS() - had.lastS);
  const backend = rows.backend(had.backendId);
  if (!backend) return { timeoutS, ageS, honoured: false, reason: "the backend it had is gone" };
  const text = { timeoutS, backend: socketOf(backend), ageS };
  const refuse = (reason: string) => ({ ...text, honoured: false, reason });
  if (ageS > timeoutS) return refuse(`used ${ageS} s ago: timed out`);
  if (backend.state !== BackendState.active) return refuse("it is terminating");
  if (backend.serviceId !== row.serviceId) return refuse("it is of another Service");
  if (row.flags & ServiceFlag.localOnly && !(backend.flags & BackendFlag.local))
    return refuse("it is on another node");
  return { ...text, honoured: true, reason: `used ${ageS} s ago` };
}

function backendsOf(
  sources: TraceSources,
  client: TraceClient,
  { row }: Found,
  path: Path,
): ServiceTraceView["backends"] {
  const slots = sources.rows.choices(row);
  const counts = new Map<number, number>();
  for (const id of slots) counts.set(id, (counts.get(id) ?? 0) + 1);
  return [...counts].flatMap(([id, count]) => {
    const backend = sources.rows.backend(id);
    if (!backend) return [];
    const seen = sourceSeen(sources, client, backend, row.forwarding, path);
    return [{ ...backendOf(backend, sources.peers), share: count / row.slots, ...seen }];
  });
}

/** The address the backend sees as the client's, and why. */
function sourceSeen(
  { peers, nodeIp }: TraceSources,
  client: TraceClient,
  backend: { readonly addr: Ip; readonly flags: number },
  forwarding: number,
  { at }: Path,
): { sees: string; why: string } {
  const own = formatIp(client.ip);
  const v4 = isV4(backend.addr);
  if (client.kind === "host") return { sees: text(nodeIp(v4)), why: "the node speaks for itself" };
  if (client.kind === "pod") {
    if (ipEqual(client.ip, backend.addr) && at !== "socket")
      return {
        sees: v4 ? "169.254.42.1" : "fd00:6178:6f6e::1",
        why: "the pod reaches itself: SNAT to the loopback source",
      };
    const { pod } = peers(backend.addr);
    if (pod || backend.flags & BackendFlag.local) return { sees: own, why: "pods see pods: kept" };
    return {
      sees: `${own} or ${text(nodeIp(v4))}`,
      why: "no pod: SNAT if it leaves the cluster's addresses",
    };
  }
  if (backend.flags & BackendFlag.local) return { sees: own, why: "on this node: kept" };
  if (forwarding === Forwarding.dsr) return { sees: own, why: "DSR: kept, its node answers the client" };
  return { sees: text(nodeIp(v4)), why: "on another node: SNAT, so that it answers through this one" };
}

function text(ip: Ip | undefined): string {
  return ip ? formatIp(ip) : "the node's address";
}
