import { hostPrefix, type Ip, type Prefix, prefixKey } from "@axoneme/base";
import { type Labels, labelKeys } from "@axoneme/identity";
import { readPrefix } from "./cidr.ts";
import { isObject, Reader, text } from "./reader.ts";
import type { ConcretePeer, Problem } from "./rule.ts";
import { equals, exists, type Requirement, type Selector } from "./selector.ts";

/** A CiliumCIDRGroup. */
export interface CidrGroup {
  name: string;
  labels: Readonly<Record<string, string>>;
  prefixes: readonly Prefix[];
}

/** A Service as policies see it. */
export interface PolicyService {
  namespace: string;
  name: string;
  labels: Readonly<Record<string, string>>;
  /** Its pods, by their labels; absent or empty: what its EndpointSlices hold. */
  selector?: Readonly<Record<string, string>>;
  /** Addresses of its EndpointSlices; they matter only without a selector. */
  addresses: readonly Ip[];
  /** The cluster its pods are in. */
  cluster: string;
}

const NAME_KEY = "io.cilium.policy.cidrgroupname/";

/** Selects one CIDR group by its name. */
export function groupNamed(name: string): Selector {
  return { requirements: [exists("cidrgroup", `${NAME_KEY}${name}`)] };
}

/** Selects one Service. */
export function serviceNamed(namespace: string, name: string): Selector {
  return { requirements: [inNamespace(namespace), equals("gen", "name", name)] };
}

/** A Service is in this namespace. */
export function inNamespace(namespace: string): Requirement {
  return equals("gen", "namespace", namespace);
}

/** What references to CIDR groups look at: the group's labels, and its name. */
export function groupLabels({ name, labels }: CidrGroup): Labels {
  // A label cannot make a group pass for another one.
  const own = Object.entries(labels).filter(([key]) => !key.startsWith(NAME_KEY));
  return {
    ...Object.fromEntries(own.map(([key, value]) => [`cidrgroup:${key}`, value])),
    [`cidrgroup:${NAME_KEY}${name}`]: "",
  };
}

/** What a CIDR group stands for. */
export function groupPeers({ prefixes }: CidrGroup): ConcretePeer[] {
  return prefixes.map((prefix) => ({ kind: "cidr", prefix, except: [] }));
}

/** What references to Services look at. */
export function serviceLabels({ namespace, name, labels }: PolicyService): Labels {
  const own = Object.entries(labels).map(([key, value]) => [`k8s:${key}`, value]);
  return { ...Object.fromEntries(own), "gen:namespace": namespace, "gen:name": name };
}

/**
 * What a Service stands for: its pods by their labels, or without a selector the addresses behind it. The API
 * server's own Service is the entity, whatever identity its addresses have.
 */
export function servicePeers({
  namespace,
  name,
  selector,
  addresses,
  cluster,
}: PolicyService): ConcretePeer[] {
  const labels = Object.entries(selector ?? {});
  if (labels.length > 0) {
    const requirements = labels.map(([key, value]) => equals("k8s", key, value));
    const scope = [equals("k8s", labelKeys.namespace, namespace), equals("k8s", labelKeys.cluster, cluster)];
    return [{ kind: "labels", selector: { requirements: [...requirements, ...scope] } }];
  }
  const peers = addresses.map((ip): ConcretePeer => ({ kind: "cidr", prefix: hostPrefix(ip), except: [] }));
  if (namespace !== "default" || name !== "kubernetes") return peers;
  return [...peers, { kind: "labels", selector: { requirements: [exists("reserved", "kube-apiserver")] } }];
}

/**
 * Reads a CiliumCIDRGroup. Never throws for its content: prefixes that are none are named in `problems` and left
 * out, so that an exception in the list of one team does not empty everybody's.
 */
export function parseCidrGroup(object: unknown): { group: CidrGroup; problems: readonly Problem[] } {
  const reader = new Reader();
  const raw = isObject(object) ? object : {};
  const metadata = isObject(raw["metadata"]) ? raw["metadata"] : {};
  const labels = isObject(metadata["labels"]) ? Object.entries(metadata["labels"]) : [];
  const spec = reader.object(raw["spec"], "spec") ?? {};
  const list = reader.list(spec, "externalCIDRs", "spec") ?? [];
  const read = list.flatMap((value, i) => readPrefix(reader, value, `spec.externalCIDRs[${i}]`) ?? []);
  const strings = labels.filter((entry): entry is [string, string] => typeof entry[1] === "string");
  return {
    group: {
      name: text(metadata["name"]) ?? "",
      labels: Object.fromEntries(strings),
      prefixes: [...new Map(read.map((prefix) => [prefixKey(prefix), prefix])).values()],
    },
    problems: reader.problems,
  };
}
