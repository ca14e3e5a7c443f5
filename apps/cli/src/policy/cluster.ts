import { formatIp, parseIp, tryParseIp } from "@axoneme/base";
import { type Labels, podLabels, reservedByName, reservedLabels } from "@axoneme/identity";
import {
  builtinResources,
  findConfig,
  isNotFound,
  KubeClient,
  KubeError,
  type KubeObject,
  type Pod,
  type Resource,
  resources,
  type Service,
  tierPolicyResources,
} from "@axoneme/kube";
import { auditAnnotation, type PolicyService, type SandboxContext, type SandboxSide } from "@axoneme/policy";
import type { Context } from "../context.ts";
import { CliError, exitCode } from "../errors.ts";

/** Pods' labels name their cluster; it is not told by the API server. */
const cluster = "default";
const serviceLabel = "kubernetes.io/service-name";
const protocolNumbers: Readonly<Record<string, number>> = { TCP: 6, UDP: 17, SCTP: 132 };
const forbidden = 403;

const policyKinds: readonly Resource<KubeObject>[] = [
  builtinResources.networkpolicies as Resource<KubeObject>,
  resources.ciliumnetworkpolicies as Resource<KubeObject>,
  resources.ciliumclusterwidenetworkpolicies as Resource<KubeObject>,
  resources.ciliumcidrgroups as Resource<KubeObject>,
  ...tierPolicyResources,
];

/** A pod with addresses of its own. */
export interface ClusterPod {
  readonly namespace: string;
  readonly name: string;
  readonly node: string;
  readonly ips: readonly string[];
  readonly side: SandboxSide;
}

/** What a Service's address and port lead to. */
export interface ClusterBackend {
  readonly address: string;
  readonly port: number;
}

/** A cluster as far as policies are concerned, as its API server knows it. */
export interface Cluster {
  readonly pods: readonly ClusterPod[];
  /** Address -> name of the node. Pods in the node's own network are the node. */
  readonly nodes: ReadonlyMap<string, string>;
  readonly services: readonly Service[];
  readonly apiServers: ReadonlySet<string>;
  /** Policies and CIDR groups, with their kinds. */
  readonly objects: readonly unknown[];
  readonly context: SandboxContext;
  /** Kinds that may not be read. */
  readonly unreadable: readonly string[];
  /** The first backend that is ready. */
  backendOf(service: Service, port: number, protocol: string): ClusterBackend | undefined;
}

/** Reads a cluster through a kubeconfig. @throws CliError when the API server is not reached */
export async function readCluster(
  kubeconfig: string | undefined,
  { env, signal }: Pick<Context, "env" | "signal">,
): Promise<Cluster> {
  const unreadable: string[] = [];
  let client: KubeClient | undefined;
  const list = async <T extends KubeObject>(of: KubeClient, resource: Resource<T>): Promise<T[]> => {
    try {
      return (await of.resource(resource).list({ signal })).items;
    } catch (error) {
      if (isNotFound(error)) return [];
      if (!(error instanceof KubeError) || error.status !== forbidden) throw error;
      unreadable.push(resource.kind);
      return [];
    }
  };
  try {
    client = new KubeClient(
      findConfig({ env: { ...env }, ...(kubeconfig !== undefined && { path: kubeconfig }) }),
    );
    const of = client;
    const [pods, namespaces, nodes, services, slices] = await Promise.all([
      list(of, builtinResources.pods),
      list(of, builtinResources.namespaces),
      list(of, builtinResources.nodes),
      list(of, builtinResources.services),
      list(of, builtinResources.endpointslices),
    ]);
    const policies = await Promise.all(
      policyKinds.map(async (resource) =>
        (await list(of, resource)).map((object) => ({ ...object, kind: resource.kind })),
      ),
    );
    const found = clusterOf({ pods, namespaces, nodes, services, slices });
    return { ...found, objects: policies.flat(), unreadable };
  } catch (cause) {
    const fix = "name a kubeconfig with --kubeconfig <file>, or ask the agents (--agent, --lab)";
    throw new CliError(exitCode.unreachable, {
      what: "cannot read the cluster",
      object: "API server",
      cause,
      fix,
    });
  } finally {
    await client?.close();
  }
}

type Items<T> = T extends Resource<infer O> ? readonly O[] : never;
interface Listed {
  readonly pods: Items<typeof builtinResources.pods>;
  readonly namespaces: Items<typeof builtinResources.namespaces>;
  readonly nodes: Items<typeof builtinResources.nodes>;
  readonly services: Items<typeof builtinResources.services>;
  readonly slices: Items<typeof builtinResources.endpointslices>;
}
type Slices = Listed["slices"];

function clusterOf({
  pods,
  namespaces,
  nodes,
  services,
  slices,
}: Listed): Omit<Cluster, "objects" | "unreadable"> {
  const byName = new Map(namespaces.map((one) => [one.metadata?.name ?? "", one]));
  const owned = (service: Service): Slices => slicesOf(slices, service);
  const api = services.find(
    ({ metadata }) => metadata?.namespace === "default" && metadata.name === "kubernetes",
  );
  return {
    pods: pods.flatMap((pod) => (isApart(pod) ? podOf(pod, byName.get(pod.metadata?.namespace ?? "")) : [])),
    nodes: new Map(
      nodes.flatMap(({ metadata, status }) =>
        (status?.addresses ?? []).flatMap(({ address }) => {
          const ip = tryParseIp(address);
          return ip ? [[formatIp(ip), metadata?.name ?? ""] as const] : [];
        }),
      ),
    ),
    services,
    apiServers: new Set(
      api ? owned(api).flatMap(({ endpoints }) => (endpoints ?? []).flatMap((e) => e.addresses)) : [],
    ),
    context: {
      cluster,
      services: services.map((service) => policyService(service, owned(service))),
      isAudited: (name) => byName.get(name)?.metadata?.annotations?.[auditAnnotation] === "true",
    },
    backendOf: (service, port, protocol) => backend(service, owned(service), port, protocol),
  };
}

function isApart({ spec, status }: Pod): boolean {
  return spec?.hostNetwork !== true && !["Succeeded", "Failed"].includes(status?.phase ?? "");
}

function podOf(
  pod: Pod,
  namespace: { metadata?: { name?: string; labels?: Labels } } | undefined,
): ClusterPod {
  const ips = (pod.status?.podIPs ?? []).flatMap(({ ip }) => (ip ? [formatIp(parseIp(ip))] : []));
  const namedPorts = (pod.spec?.containers ?? []).flatMap(({ ports }) =>
    (ports ?? []).flatMap(({ name, containerPort, protocol = "TCP" }) =>
      name ? [{ name, port: containerPort, proto: protocolNumbers[protocol] ?? 0 }] : [],
    ),
  );
  return {
    namespace: pod.metadata?.namespace ?? "",
    name: pod.metadata?.name ?? "",
    node: pod.spec?.nodeName ?? "",
    ips,
    side: {
      isPod: true,
      labels: podLabels(pod as Parameters<typeof podLabels>[0], namespace, cluster),
      namedPorts,
      ...(ips[0] === undefined ? {} : { ip: ips[0] }),
    },
  };
}

function slicesOf(slices: Slices, { metadata }: Service): Slices {
  return slices.filter(
    (slice) =>
      slice.metadata?.namespace === metadata?.namespace &&
      slice.metadata?.labels?.[serviceLabel] === metadata?.name,
  );
}

function policyService({ metadata, spec }: Service, slices: Slices): PolicyService {
  const selector = spec?.type === "ExternalName" ? {} : (spec?.selector ?? {});
  const texts = slices.flatMap(({ endpoints }) => (endpoints ?? []).flatMap(({ addresses }) => addresses));
  return {
    namespace: metadata?.namespace ?? "",
    name: metadata?.name ?? "",
    labels: metadata?.labels ?? {},
    selector,
    addresses:
      Object.keys(selector).length > 0 ? [] : [...new Set(texts)].flatMap((text) => tryParseIp(text) ?? []),
    cluster,
  };
}

function backend(
  { spec }: Service,
  slices: Slices,
  port: number,
  protocol: string,
): ClusterBackend | undefined {
  const served = spec?.ports?.find((one) => one.port === port && (one.protocol ?? "TCP") === protocol);
  if (served === undefined) return undefined;
  for (const { endpoints, ports } of slices) {
    const target = ports?.find((one) => (one.name ?? "") === (served.name ?? ""))?.port;
    const address = endpoints?.find(({ conditions }) => conditions?.ready !== false)?.addresses[0];
    if (target && address) return { address, port: target };
  }
  return undefined;
}

/** Labels by which policies know an entity; undefined for other words. */
export function entityLabels(word: string): Labels | undefined {
  const id = reservedByName(word);
  return id === undefined ? undefined : reservedLabels(id);
}
