import type { Health } from "@axoneme/app";
import { errorText, type Prefix } from "@axoneme/base";
import type { Kernel } from "@axoneme/datapath";
import type { IdentityCache, Ipcache, LocalIdentities, NodeIdentities } from "@axoneme/identity";
import type { NodePools } from "@axoneme/ipam";
import {
  apiPath,
  type ConfirmView,
  type FlowsQuery,
  mapNames,
  type Observer,
  type PolicyView,
  parseFlowsQuery,
  parseMonitorQuery,
} from "@axoneme/observe";
import { policyKey } from "@axoneme/policy";
import type { Registry } from "prom-client";
import { type ApiHandler, type ApiRequest, action, HttpError } from "./api-server.ts";
import { monotonicSeconds } from "./collector.ts";
import type { Configuration } from "./config/configuration.ts";
import type { Dns } from "./dns/dns.ts";
import { dnsRoutes } from "./dns/routes.ts";
import type { EndpointManager } from "./endpoint/manager.ts";
import type { HostFirewall } from "./host/firewall.ts";
import { hostEndpointId } from "./host/host-endpoint.ts";
import type { LoadBalancing } from "./lb/load-balancing.ts";
import { loadBalancingStatus, type ServiceRouteSources, serviceRoutes } from "./lb/routes.ts";
import type { NativeDevice } from "./node/local-node.ts";
import type { AgentConfig } from "./options.ts";
import type { PodIdentities } from "./state/pod-identities.ts";
import type { KnownPolicy, PolicyModule } from "./state/policy.ts";
import type { RuleUses } from "./state/rule-use.ts";
import { endpointView, findEndpoint, hostEndpointView, policyRowViews } from "./views/endpoints.ts";
import { ipamViews } from "./views/ipam.ts";
import { defaultMapLimit, mapView } from "./views/maps.ts";
import { policyUse, ruleUseView } from "./views/policy-use.ts";
import { identityViews, ipcacheViews } from "./views/state.ts";
import { statusView } from "./views/status.ts";
import { whyView } from "./views/why.ts";

/** What the API answers from. */
export interface RouteSources {
  readonly version: string;
  readonly config: AgentConfig;
  readonly configuration: Pick<Configuration, "view">;
  readonly nodeName: string;
  readonly health: Health;
  readonly registry: Registry;
  readonly observer: Observer;
  readonly kernel: Kernel;
  readonly device: NativeDevice;
  readonly podCidrs: () => readonly Prefix[];
  readonly pool: Pick<NodePools, "usage">;
  readonly endpoints: EndpointManager;
  readonly host: HostFirewall;
  readonly policy: PolicyModule;
  readonly uses: RuleUses;
  readonly loadBalancing: LoadBalancing;
  readonly dns: Dns;
  readonly identities: IdentityCache;
  readonly localIdentities: LocalIdentities;
  readonly nodeIdentities: NodeIdentities;
  readonly podIdentities: PodIdentities;
  readonly ipcache: Ipcache;
  /** Labels of an identity by its number, as lines. */
  readonly labelsOf: (identity: number) => readonly string[];
}

/** The agent API v1: paths and bodies are those of `@axoneme/observe`. */
export function createRoutes(sources: RouteSources): Map<string, ApiHandler> {
  const { endpoints, ipcache } = sources;
  return new Map<string, ApiHandler>([
    [apiPath.health, () => healthz(sources.health)],
    [
      apiPath.metrics,
      async () => ({ text: await sources.registry.metrics(), contentType: sources.registry.contentType }),
    ],
    [apiPath.status, () => ({ json: status(sources) })],
    [
      apiPath.endpoints,
      ({ rest }) => ({ json: rest === "" ? endpointList(sources) : oneEndpoint(sources, rest) }),
    ],
    [action(apiPath.endpoints), (request) => configureEndpoint(sources, request)],
    [
      apiPath.identities,
      () => ({
        json: identityViews(sources, countEndpoints(endpoints)),
      }),
    ],
    [apiPath.ipam, () => ({ json: ipamViews(sources.pool) })],
    [apiPath.ipcache, () => ({ json: ipcacheViews(ipcache) })],
    ...serviceRoutes(serviceSources(sources)),
    [apiPath.policy, ({ query }) => ({ json: policyList(sources, query.get("name")) })],
    [
      apiPath.why,
      ({ query }) => ({
        json: whyView({ ...sources, endpoint: (text) => oneEndpoint(sources, text) }, query),
      }),
    ],
    [apiPath.rules, () => ({ json: ruleUseView(sources.policy, sources.uses) })],
    [action(apiPath.confirm), ({ rest }) => ({ json: confirm(sources.host, rest) })],
    ...dnsRoutes(sources),
    [apiPath.config, () => ({ json: sources.configuration.view() })],
    [apiPath.maps, (request) => ({ json: oneMap(sources, request) })],
    [
      apiPath.events,
      ({ query, signal }) => ({
        lines: sources.observer.events(
          parse(() => parseMonitorQuery(query.get("q") ?? "{}")),
          signal,
        ),
      }),
    ],
    [
      apiPath.flows,
      // Read before the answer begins: a query that makes no sense gets a status, not a broken stream.
      ({ query, signal }) => ({
        lines: flows(
          sources.observer,
          parse(() => parseFlowsQuery(query.get("q"))),
          signal,
        ),
      }),
    ],
  ]);
}

function serviceSources(sources: RouteSources): ServiceRouteSources {
  return { ...sources, sweep: () => sources.kernel.sweep(monotonicSeconds()) };
}

function healthz(health: Health) {
  const bad = health.modules().filter((m) => m.state === "failed" || m.state === "starting");
  if (bad.length === 0) return { text: "ok\n" };
  return { text: `${bad.map((m) => `${m.name}: ${m.state} ${m.message}`).join("\n")}\n`, status: 503 };
}

function status(sources: RouteSources) {
  return statusView({
    version: sources.version,
    config: sources.config,
    nodeName: sources.nodeName,
    health: sources.health,
    device: () => sources.device,
    podCidrs: sources.podCidrs,
    counts: () => ({
      endpoints: sources.endpoints.endpoints().length,
      identities: sources.identities.size,
      policies: sources.policy.policies().length,
    }),
    loadBalancing: () => loadBalancingStatus(serviceSources(sources)),
    dnsProxy: () => sources.dns.status(),
    flows: () => sources.observer.status(),
  });
}

function endpointList(sources: RouteSources) {
  const { endpoints, policy } = sources;
  return [...endpoints.endpoints().map((live) => endpointView(live, policy)), hostView(sources)];
}

function hostView({ host, policy, device, nodeName }: RouteSources) {
  return hostEndpointView(host.endpoint, policy, device, nodeName);
}

function oneEndpoint(sources: RouteSources, text: string) {
  const { endpoints, policy } = sources;
  const host = hostView(sources);
  if (["host", String(hostEndpointId), host.ipv4, host.ipv6].includes(text))
    return { ...host, policy: policyRowViews(policy, host.policyId) };
  const live = findEndpoint(endpoints.endpoints(), text);
  if (!live) {
    throw new HttpError(
      404,
      "endpoint_not_found",
      `no endpoint "${text}" on this node`,
      "name it by number, namespace/pod, address, or `host`; axon endpoint list shows all",
    );
  }
  const view = endpointView(live, policy);
  return { ...view, policy: policyRowViews(policy, view.policyId) };
}

/** Sets the option that the query names; answers with the endpoint. */
async function configureEndpoint(sources: RouteSources, { rest, query }: ApiRequest) {
  const live = findEndpoint(sources.endpoints.endpoints(), rest);
  const mode = query.get("PolicyAuditMode");
  if (mode !== "Enabled" && mode !== "Disabled") {
    const fix = "PolicyAuditMode=Enabled or PolicyAuditMode=Disabled";
    throw new HttpError(400, "bad_option", `nothing to set at endpoint "${rest}"`, fix);
  }
  if (live) await sources.endpoints.setPolicyAuditMode(live, mode === "Enabled");
  return { json: oneEndpoint(sources, rest) };
}

function countEndpoints(endpoints: EndpointManager): (identity: number) => number {
  const counts = new Map<number, number>();
  for (const { identity } of endpoints.endpoints()) counts.set(identity, (counts.get(identity) ?? 0) + 1);
  return (identity) => counts.get(identity) ?? 0;
}

function confirm(host: HostFirewall, name: string): ConfirmView {
  const policies = host.confirm(name);
  if (policies.length > 0) return { policies };
  throw new HttpError(
    404,
    "no_trial",
    `no change of a host policy "${name}" is on trial or was taken back on this node`,
    "axon policy get shows which are",
  );
}

function policyList(sources: RouteSources, name: string | null): PolicyView[] {
  const { policy } = sources;
  const isWanted = ({ policy: { ref } }: KnownPolicy) =>
    name === null || [ref.name, `${ref.namespace ?? ""}/${ref.name}`].includes(name);
  const views = policy
    .policies()
    .filter(isWanted)
    .map((known) => policyView(sources, known));
  return views.sort((a, b) => (`${a.namespace}/${a.name}` < `${b.namespace}/${b.name}` ? -1 : 1));
}

function policyView(sources: RouteSources, { policy, object }: KnownPolicy): PolicyView {
  const { policy: module, host, uses } = sources;
  const { ref } = policy;
  const rules = module.engine.rulesOf(ref);
  const sides = new Set(
    policy.specs.flatMap(({ defaultDeny, rules: all }) => [
      ...(defaultDeny.ingress || all.some((r) => r.direction === 0) ? (["ingress"] as const) : []),
      ...(defaultDeny.egress || all.some((r) => r.direction === 1) ? (["egress"] as const) : []),
    ]),
  );
  const problems = policy.problems.filter(({ severity }) => severity !== "warning");
  const message =
    module.refusalOf(ref) ??
    module.problem ??
    host.messageOf(policyKey(ref)) ??
    problems.map((p) => `${p.path}: ${p.message}`).join("; ");
  return {
    kind: ref.kind,
    namespace: ref.namespace ?? "",
    name: ref.name,
    directions: [...sides].sort().reverse(),
    endpoints: module.endpointsOf(ref),
    rules: policy.specs.reduce((sum, spec) => sum + spec.rules.length, 0),
    ruleIds: rules.map(({ id }) => id),
    use: policyUse(policy, uses),
    status: message === "" ? "done" : "error",
    ...(message === "" ? {} : { message }),
    object,
  };
}

function oneMap({ kernel }: RouteSources, { rest, query }: ApiRequest) {
  const name = mapNames.find((n) => n === rest);
  if (!name) throw new HttpError(404, "map_not_found", `no map "${rest}"`, `maps: ${mapNames.join(", ")}`);
  const limit = Number(query.get("limit") ?? defaultMapLimit);
  if (!Number.isInteger(limit) || limit < 1)
    throw new HttpError(400, "bad_limit", `limit must be a positive number, got "${query.get("limit")}"`);
  return mapView(name, kernel.maps, limit);
}

async function* flows(observer: Observer, request: FlowsQuery, signal: AbortSignal) {
  for await (const batch of observer.getFlowBatches(request, signal)) yield* batch;
}

/** A query that makes no sense is the caller's fault, not ours. */
function parse<T>(read: () => T): T {
  try {
    return read();
  } catch (cause) {
    throw new HttpError(400, "bad_query", errorText(cause));
  }
}
