import { formatIp, isV4, tryParseIp } from "@axoneme/base";
import type { SandboxSide } from "@axoneme/policy";
import { CliError, exitCode, usageError } from "../errors.ts";
import { type Cluster, type ClusterPod, entityLabels } from "./cluster.ts";
import { unknownPlace } from "./places.ts";
import type { L4 } from "./ports.ts";

/** Stands for an address of a name that nobody is known to have learned: of a network for examples (RFC 5737). */
const someAddress = "192.0.2.1";
const inCluster = /^([a-z0-9-]+)\.([a-z0-9-]+)\.svc(\.|$)/;

/** One side of a connection, as the API server knows it. */
export interface ClusterPlace {
  readonly pod: ClusterPod | undefined;
  readonly side: SandboxSide;
  readonly address: string;
  /** What only agents know of it. */
  readonly unknown: readonly string[];
  /** It was reached through a Service. */
  readonly service?: string;
  /** The backend's, where that is another than was asked for. */
  readonly port?: number;
}

/** What a person's word for the source of a connection stands for. @throws CliError not found */
export function clusterSource(cluster: Cluster, text: string): ClusterPlace {
  const found = placeOf(cluster, text, "");
  if (found === undefined) throw unknownPlace(text);
  return found;
}

/** As clusterSource, of the destination: a Service leads to a pod behind it, a name to the outside. @throws CliError */
export function clusterDestination(cluster: Cluster, text: string, from: ClusterPlace, l4: L4): ClusterPlace {
  const node = from.pod?.node ?? "";
  const service = serviceOf(cluster, text);
  if (service === undefined) {
    const found = placeOf(cluster, text, node) ?? placeByName(text);
    if (found === undefined) throw unknownPlace(text);
    return found;
  }
  const name = `${service.metadata?.namespace}/${service.metadata?.name}`;
  const backend = cluster.backendOf(service, l4.port, l4.protocol);
  const place = backend && placeOf(cluster, backend.address, node);
  if (place === undefined)
    throw new CliError(exitCode.notFound, {
      what: "the Service has no backend that is ready on this port",
      object: `${name} ${l4.port}/${l4.protocol.toLowerCase()}`,
      fix: "ask about a pod behind it",
    });
  return { ...place, service: name, ...(backend && { port: backend.port }) };
}

function serviceOf({ services, pods }: Cluster, text: string): Cluster["services"][number] | undefined {
  const [, name, namespace] = inCluster.exec(text) ?? [];
  const wanted = name === undefined ? text : `${namespace}/${name}`;
  if (name === undefined && pods.some((pod) => `${pod.namespace}/${pod.name}` === wanted)) return undefined;
  const ip = tryParseIp(text);
  const address = ip && formatIp(ip);
  return services.find(
    ({ metadata, spec }) =>
      `${metadata?.namespace}/${metadata?.name}` === wanted ||
      (address !== undefined && (spec?.clusterIPs ?? [spec?.clusterIP]).includes(address)),
  );
}

function placeOf(cluster: Cluster, text: string, node: string): ClusterPlace | undefined {
  const entity = entityLabels(text);
  if (entity) return { pod: undefined, address: "", side: { isPod: false, labels: entity }, unknown: [] };
  const pod = podBy(cluster.pods, text);
  if (pod) {
    // Rules on prefixes look at the address that is asked about.
    const ip = tryParseIp(text);
    const side = ip ? { ...pod.side, ip: formatIp(ip) } : pod.side;
    return { pod, address: pod.ips[0] ?? "", side, unknown: [] };
  }
  const ip = tryParseIp(text);
  return ip && addressPlace(cluster, formatIp(ip), node);
}

function addressPlace(cluster: Cluster, address: string, node: string): ClusterPlace {
  const owner = cluster.nodes.get(address);
  const word = cluster.apiServers.has(address)
    ? "kube-apiserver"
    : owner === undefined
      ? undefined
      : owner === node
        ? "host"
        : "remote-node";
  const ip = tryParseIp(address);
  const outside = ip && isV4(ip) ? "world-ipv4" : "world-ipv6";
  return {
    pod: undefined,
    address,
    side: { isPod: false, labels: entityLabels(word ?? outside) ?? {}, ip: address },
    unknown: word
      ? []
      : [`names that pods have learned ${address} under: rules of toFQDNs do not reach it here`],
  };
}

function placeByName(text: string): ClusterPlace | undefined {
  if (!/^[a-z0-9_-]+(\.[a-z0-9_-]+)+\.?$/i.test(text)) return undefined;
  return {
    pod: undefined,
    address: "",
    side: { isPod: false, labels: entityLabels("world-ipv4") ?? {}, ip: someAddress, names: [text] },
    unknown: [`addresses that pods have learned for ${text}: judged as one that no prefix of a rule holds`],
  };
}

function podBy(pods: readonly ClusterPod[], text: string): ClusterPod | undefined {
  const exact = pods.find(({ namespace, name }) => `${namespace}/${name}` === text);
  if (exact) return exact;
  const ip = tryParseIp(text);
  if (ip) return pods.find(({ ips }) => ips.includes(formatIp(ip)));
  const named = pods.filter(({ name }) => name === text);
  if (named.length > 1)
    throw usageError(
      `there are several pods "${text}"`,
      `say which: ${named.map(({ namespace, name }) => `${namespace}/${name}`).join(", ")}`,
    );
  return named[0];
}
