import { errorText, isV4, type Prefix, parsePrefixOrIp } from "@axoneme/base";
import { addressesOf, kindFlags, portOf, type ServiceAddress } from "./addresses.ts";
import type {
  Desired,
  DesiredBackend,
  DesiredFrontend,
  DesiredList,
  Finding,
  NodeContext,
} from "./desired.ts";
import { backendsOf, mergeBackends, sliceFindings } from "./endpoints.ts";
import { clusterList, localityOf, localList } from "./locality.ts";
import { protocolNumbers, type ServiceObject, type ServicePort } from "./objects.ts";
import type { PortRedirect } from "./redirects.ts";
import { Algorithm, Forwarding, frontendText, Scope, ServiceFlag } from "./rows.ts";
import {
  choicesOf,
  forwardingOf,
  type LoadBalancerSettings,
  type ServiceChoices,
  serviceAnnotations,
} from "./settings.ts";
import type { TrimmedSlice } from "./trim.ts";

const defaultAffinityS = 10_800;

/** What a Service is compiled from, besides itself. */
export interface ServiceContext {
  readonly slices: readonly TrimmedSlice[];
  readonly node: NodeContext;
  readonly settings: LoadBalancerSettings;
  /** How a port's cluster addresses are redirected to pods of this node. */
  redirect(port: ServicePort, onlyPort: boolean): PortRedirect | undefined;
}

/** A compiled Service. */
export interface DesiredService extends Desired {
  /** Some endpoint has hints: the node's zone and name matter. */
  readonly hinted: boolean;
  /** healthCheckNodePort with the number of ready endpoints of this node. */
  readonly healthCheck: { readonly port: number; readonly localEndpoints: number } | undefined;
}

/** Whether the Service is ours to balance: not headless, not external, not another proxy's. */
function isBalanced(service: ServiceObject): boolean {
  const labels = service.metadata?.labels ?? {};
  if (labels["service.kubernetes.io/service-proxy-name"] !== undefined) return false;
  if (labels["service.kubernetes.io/headless"] !== undefined) return false;
  return (
    service.spec?.type !== "ExternalName" &&
    service.spec?.clusterIP !== "None" &&
    service.spec?.clusterIPs?.[0] !== "None"
  );
}

/** Compiles one Service with its slices. Pure: equal input, equal output. */
export function compileService(service: ServiceObject | undefined, context: ServiceContext): DesiredService {
  if (service === undefined || !isBalanced(service))
    return { units: [], findings: [], hinted: false, healthCheck: undefined };
  return new Compilation(service, context).run();
}

/**
 * Rows that say of load balancer addresses that Services have them, whatever the port: the node that attracts one
 * answers echo requests to it and refuses its other ports, instead of routing what nobody takes in circles.
 */
function markers(addresses: readonly ServiceAddress[]): Desired["units"] {
  const frontends = addresses
    .filter(({ kind }) => kind === "LoadBalancer")
    .map(
      ({ addr }): DesiredFrontend => ({
        key: { addr, port: 0, proto: 0, scope: Scope.external },
        flags: ServiceFlag.loadBalancer,
        algorithm: Algorithm.random,
        forwarding: Forwarding.snat,
        list: { backends: [], locality: localityOf.marker },
      }),
    );
  if (frontends.length === 0) return [];
  const unit = { key: "0/0", port: 0, proto: 0, portName: "", affinityTimeoutS: 0 };
  return [{ ...unit, frontends, backends: [], ranges: [], skips: [] }];
}

class Compilation {
  readonly #service: ServiceObject;
  readonly #context: ServiceContext;
  readonly #choices: ServiceChoices;
  readonly #findings: Finding[] = [];
  readonly #taken = new Set<string>();
  readonly #ranges: readonly Prefix[];
  readonly #restricted: boolean;

  constructor(service: ServiceObject, context: ServiceContext) {
    this.#service = service;
    this.#context = context;
    const report = (reason: string): unknown => this.#findings.push({ port: "", reason });
    this.#choices = choicesOf(service.metadata?.annotations, context.settings, report);
    for (const reason of sliceFindings(context.slices)) report(reason);
    const texts = sourceRangesOf(service);
    this.#restricted = texts.length > 0;
    this.#ranges = parseRanges(texts, report);
  }

  run(): DesiredService {
    const { spec } = this.#service;
    const { addresses, findings } = addressesOf(this.#service, this.#choices);
    this.#findings.push(...findings);
    const units = (spec?.ports ?? []).flatMap((port) => this.#unit(port, addresses));
    units.push(...markers(addresses));
    const hinted = this.#context.slices.some(({ endpoints }) => endpoints.some(({ hints }) => hints));
    return { units, findings: this.#findings, hinted, healthCheck: this.#healthCheck() };
  }

  #unit(port: ServicePort, addresses: readonly ServiceAddress[]): Desired["units"] {
    const { spec } = this.#service;
    const protocol = port.protocol ?? "TCP";
    const proto = protocolNumbers[protocol];
    const number = port.port ?? 0;
    if (proto === undefined)
      this.#find(port, `protocol ${protocol} is none of ${Object.keys(protocolNumbers).join(", ")}`);
    if (proto === undefined || number < 1) return [];
    const publish = spec?.publishNotReadyAddresses === true;
    const backends = backendsOf(port, this.#context.slices, this.#context.node, publish);
    const redirect = this.#redirect(port);
    const lists = new PortLists(backends, this.#context);
    const frontends = addresses.flatMap((address) => this.#frontends(port, proto, address, lists, redirect));
    if (frontends.length === 0) return [];
    const affine = spec?.sessionAffinity === "ClientIP";
    const restricted = frontends.some(({ flags }) => flags & ServiceFlag.sourceRanges);
    return [
      {
        key: `${proto}/${number}`,
        port: number,
        proto,
        portName: port.name ?? "",
        affinityTimeoutS: affine
          ? (spec?.sessionAffinityConfig?.clientIP?.timeoutSeconds ?? defaultAffinityS)
          : 0,
        frontends,
        backends: mergeBackends(backends, redirect?.backends ?? []),
        ranges: restricted ? this.#ranges : [],
        skips: redirect?.skips ?? [],
      },
    ];
  }

  #redirect(port: ServicePort): PortRedirect | undefined {
    if (!this.#context.settings.kinds.has("LocalRedirect")) return undefined;
    const redirect = this.#context.redirect(port, this.#service.spec?.ports?.length === 1);
    return redirect !== undefined && redirect.backends.length > 0 ? redirect : undefined;
  }

  /** The rows of one address: one per scope in which clients choose from different backends. */
  #frontends(
    port: ServicePort,
    proto: number,
    { addr, kind }: ServiceAddress,
    lists: PortLists,
    redirect: PortRedirect | undefined,
  ): DesiredFrontend[] {
    const { spec } = this.#service;
    const number = portOf(kind, port);
    if (number < 1) return [];
    const { algorithm: chosen, forwarding } = this.#choices;
    const outside = kind !== "ClusterIP";
    const fallback = outside ? Algorithm[this.#context.settings.algorithm] : Algorithm.random;
    const flags =
      kindFlags[kind] |
      (spec?.sessionAffinity === "ClientIP" ? ServiceFlag.affinity : 0) |
      (kind === "LoadBalancer" && this.#restricted ? ServiceFlag.sourceRanges : 0);
    const row = (scope: number, extra: number, list: DesiredList): DesiredFrontend => ({
      key: { addr, port: number, proto, scope },
      flags: flags | extra | listFlags(list),
      // Clients inside come through sockets: the cluster's default algorithm is for traffic from outside.
      algorithm: chosen ?? (scope === Scope.external ? fallback : Algorithm.random),
      forwarding: outside ? forwardingOf(forwarding, proto) : Forwarding.snat,
      list,
    });
    const v4 = isV4(addr);
    const rows = outside
      ? externalRows(spec?.externalTrafficPolicy === "Local", v4, lists, row)
      : clusterRows(spec?.internalTrafficPolicy === "Local", v4, lists, row, redirect);
    const own = rows.filter((frontend) => this.#take(frontend));
    return proto === protocolNumbers["SCTP"] ? this.#fit(port, own) : own;
  }

  /** A Service that names one frontend twice (a load balancer's address as external IP): the first stands. */
  #take({ key }: DesiredFrontend): boolean {
    const text = frontendText(key);
    if (this.#taken.has(text)) return false;
    this.#taken.add(text);
    return true;
  }

  /** Of an address' rows: backends whose port is the frontend's; without any the address is left out. */
  #fit(port: ServicePort, rows: DesiredFrontend[]): DesiredFrontend[] {
    const frontendPort = rows[0]?.key.port ?? 0;
    const fits = (backend: DesiredBackend): boolean => backend.port === frontendPort;
    const all = rows.flatMap(({ list }) => list.backends);
    if (all.every(fits)) return rows;
    const others = [...new Set(all.filter((backend) => !fits(backend)).map((backend) => backend.port))];
    this.#find(
      port,
      `SCTP cannot change ports (the kernel has no CRC32c for it): frontend port ${frontendPort}, backend port ${others.sort().join(", ")}`,
    );
    if (!all.some(fits)) return [];
    return rows.map((row) => ({
      ...row,
      list: { backends: row.list.backends.filter(fits), locality: row.list.locality },
    }));
  }

  #find(port: ServicePort, reason: string): void {
    const text = `${port.port ?? 0}/${port.protocol ?? "TCP"}`;
    if (this.#findings.some((known) => known.port === text && known.reason === reason)) return;
    this.#findings.push({ port: text, reason });
  }

  /** A pod of both families is one endpoint: the family with more of them counts. */
  #healthCheck(): DesiredService["healthCheck"] {
    const { spec } = this.#service;
    const port = spec?.healthCheckNodePort ?? 0;
    if (port < 1 || spec?.externalTrafficPolicy !== "Local") return undefined;
    const v4 = new Set<string>();
    const v6 = new Set<string>();
    for (const { name, protocol } of spec.ports ?? []) {
      const named = { ...(name !== undefined && { name }), ...(protocol !== undefined && { protocol }) };
      const publish = spec.publishNotReadyAddresses === true;
      for (const backend of backendsOf(named, this.#context.slices, this.#context.node, publish))
        if (backend.local && backend.ready) (backend.v4 ? v4 : v6).add(backend.address);
    }
    return { port, localEndpoints: Math.max(v4.size, v6.size) };
  }
}

type MakeRow = (scope: number, extra: number, list: DesiredList) => DesiredFrontend;

/** From outside: under policy Local only backends of this node, while clients inside have all of them. */
function externalRows(local: boolean, v4: boolean, lists: PortLists, row: MakeRow): DesiredFrontend[] {
  if (!local) return [row(Scope.external, 0, lists.cluster(v4))];
  return [
    row(Scope.external, ServiceFlag.twoScopes, lists.local(v4)),
    row(Scope.internal, 0, lists.cluster(v4)),
  ];
}

/** The cluster address; redirected clients that are to be skipped find the Service itself in another scope. */
function clusterRows(
  local: boolean,
  v4: boolean,
  lists: PortLists,
  row: MakeRow,
  redirect: PortRedirect | undefined,
): DesiredFrontend[] {
  const original = local ? lists.local(v4) : lists.cluster(v4);
  const backends = redirect?.backends.filter((backend) => backend.v4 === v4) ?? [];
  if (redirect === undefined || backends.length === 0) return [row(Scope.external, 0, original)];
  const list = { backends, locality: localityOf.redirect };
  const flags = ServiceFlag.localRedirect | (redirect.skip ? ServiceFlag.skip : 0);
  const first = row(Scope.external, flags, list);
  return redirect.skip ? [first, row(Scope.original, 0, original)] : [first];
}

function listFlags({ locality: { localOnly, topology } }: DesiredList): number {
  return (localOnly ? ServiceFlag.localOnly : 0) | (topology ? ServiceFlag.topology : 0);
}

/** The lists of a port, each made once. */
class PortLists {
  readonly #backends: readonly DesiredBackend[];
  readonly #context: ServiceContext;
  readonly #made = new Map<string, DesiredList>();

  constructor(backends: readonly DesiredBackend[], context: ServiceContext) {
    this.#backends = backends;
    this.#context = context;
  }

  local(v4: boolean): DesiredList {
    return this.#once(v4 ? "local4" : "local6", v4, localList);
  }

  cluster(v4: boolean): DesiredList {
    const { node, settings } = this.#context;
    return this.#once(v4 ? "all4" : "all6", v4, (backends) => clusterList(backends, node, settings.topology));
  }

  #once(key: string, v4: boolean, make: (backends: readonly DesiredBackend[]) => DesiredList): DesiredList {
    const known = this.#made.get(key);
    if (known !== undefined) return known;
    const ours = this.#backends.every((backend) => backend.v4 === v4)
      ? this.#backends
      : this.#backends.filter((backend) => backend.v4 === v4);
    const list = make(ours);
    this.#made.set(key, list);
    return list;
  }
}

function sourceRangesOf({ spec, metadata }: ServiceObject): readonly string[] {
  if (spec?.type !== "LoadBalancer") return [];
  if ((spec.loadBalancerSourceRanges?.length ?? 0) > 0) return spec.loadBalancerSourceRanges ?? [];
  const text = metadata?.annotations?.[serviceAnnotations.sourceRanges]?.trim() ?? "";
  return text === "" ? [] : text.split(",");
}

/** A range that cannot be read admits nobody. */
function parseRanges(texts: readonly string[], report: (reason: string) => unknown): Prefix[] {
  return texts.flatMap((text) => {
    try {
      return parsePrefixOrIp(text.trim());
    } catch (error) {
      report(`load balancer source range: ${errorText(error)}`);
      return [];
    }
  });
}
