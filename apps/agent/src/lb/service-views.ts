import { formatPrefix } from "@axoneme/base";
import type { FrontendView } from "@axoneme/loadbalancer";
import type { ServiceDetailView, ServiceView } from "@axoneme/observe";
import type { ObjectProblems, ServiceModule } from "../state/services.ts";
import { algorithmOf, backendOf, flagsOf, forwardingOf, frontendOf, type PeerNames } from "./views.ts";

/** Which Services are asked for. */
export interface ServiceFilter {
  readonly namespace?: string | undefined;
  readonly name?: string | undefined;
  readonly type?: string | undefined;
  readonly problems?: boolean | undefined;
}

/** The frontends of Services, host ports and local redirects; what has a problem and no frontend is one row too. */
export function serviceViews(module: ServiceModule, filter: ServiceFilter, peers: PeerNames): ServiceView[] {
  const problems = new Map(module.problems().map((entry) => [entry.owner.text, entry]));
  const wants = (namespace: string, name: string) =>
    (filter.namespace ?? namespace) === namespace && (filter.name ?? name) === name;
  const bare = new Set(problems.keys());
  const views: ServiceView[] = [];
  const frontends = module.compiler.views(
    ({ namespace, name, text }) => wants(namespace, name) && (!filter.problems || problems.has(text)),
  );
  for (const frontend of frontends) {
    const owner = `${frontend.owner} ${frontend.namespace}/${frontend.name}`;
    bare.delete(owner);
    if ((filter.type ?? frontend.type) !== frontend.type) continue;
    views.push(frontendView(frontend, problems.get(owner), peers));
  }
  if (filter.type === undefined) {
    for (const text of bare) {
      const entry = problems.get(text);
      if (entry && wants(entry.owner.namespace, entry.owner.name)) views.push(problemView(entry));
    }
  }
  return views;
}

function frontendView(
  { namespace, name, portName, type, key, row, backends, others }: FrontendView,
  problem: ObjectProblems | undefined,
  peers: PeerNames,
): ServiceView {
  return {
    namespace,
    name,
    type,
    frontend: { ...frontendOf(key), id: row.serviceId },
    ...(portName ? { portName } : {}),
    ...(row.affinityTimeoutS > 0 ? { affinitySeconds: row.affinityTimeoutS } : {}),
    algorithm: algorithmOf(row.algorithm),
    forwarding: forwardingOf(row.forwarding),
    flags: flagsOf(row.flags),
    backends: [
      ...backends.map((backend) => backendOf(backend, peers)),
      // Those that only serve the connections they have.
      ...others.filter(({ state }) => state !== 0).map((backend) => backendOf(backend, peers)),
    ],
    ...statusOf(problem),
  };
}

function problemView(entry: ObjectProblems): ServiceView {
  const { kind, namespace, name } = entry.owner;
  return {
    namespace,
    name,
    type: kind === "Pod" ? "HostPort" : kind === "Service" ? "ClusterIP" : "LocalRedirect",
    algorithm: "random",
    forwarding: "snat",
    flags: [],
    backends: [],
    ...statusOf(entry),
  };
}

function statusOf(problem: ObjectProblems | undefined): Pick<ServiceView, "status" | "message"> {
  if (!problem) return { status: "done" };
  return { status: "error", message: problem.texts.join("; ") };
}

/** One Service with everything that is known; undefined when there is none. */
export function serviceDetail(
  module: ServiceModule,
  namespace: string,
  name: string,
  peers: PeerNames,
): ServiceDetailView | undefined {
  const isIt = (object: { readonly namespace: string; readonly name: string }) =>
    object.namespace === namespace && object.name === name;
  const frontends = module.compiler.views(isIt);
  const problems = module.problems().filter(({ owner }) => isIt(owner));
  if (frontends.length === 0 && problems.length === 0) return undefined;
  const of = new Map(problems.map((entry) => [entry.owner.text, entry]));
  const check = module.compiler.healthChecks().find(isIt);
  const retry = module.writer.nextRetry;
  return {
    namespace,
    name,
    frontends: frontends.map((frontend) =>
      frontendView(frontend, of.get(`${frontend.owner} ${namespace}/${name}`), peers),
    ),
    sourceRanges: [...new Set(frontends.flatMap(({ ranges }) => ranges.map(formatPrefix)))],
    ...(check ? { healthCheck: { port: check.port, localEndpoints: check.localEndpoints } } : {}),
    status: problems.length > 0 ? "error" : "done",
    problems: problems.flatMap(({ texts }) => [...texts]),
    ...(retry !== undefined && problems.some(({ refused }) => refused)
      ? { nextRetry: new Date(retry).toISOString() }
      : {}),
  };
}
