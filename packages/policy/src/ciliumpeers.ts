import { hostPrefix, tryParseIp } from "@axoneme/base";
import { labelKeys } from "@axoneme/identity";
import { readCidr, readPrefix } from "./cidr.ts";
import { readGroups, readServices } from "./ciliumrefs.ts";
import { readFqdn } from "./fqdn.ts";
import { remoteNodes } from "./nodes.ts";
import { isObject, type Raw, type Reader } from "./reader.ts";
import { Direction, type Peer, Verdict } from "./rule.ts";
import { equals, exists, type Requirement, type Selector } from "./selector.ts";

/** Where a policy stands, for completing its peer selectors. */
export interface Scope {
  /** Absent for a cluster-wide policy. */
  namespace: string | undefined;
  cluster: string;
  subjectIsInit: boolean;
}

type Family =
  | "Endpoints"
  | "CIDR"
  | "CIDRSet"
  | "Entities"
  | "Nodes"
  | "Groups"
  | "Services"
  | "FQDNs"
  | "Requires";
const FAMILIES: readonly Family[] = [
  "Endpoints",
  "CIDR",
  "CIDRSet",
  "Entities",
  "Nodes",
  "Groups",
  "Services",
  "FQDNs",
  "Requires",
];
const CIDR_RULE: ReadonlySet<string> = new Set(["cidr", "cidrGroupRef", "cidrGroupSelector", "except"]);

/** Reserved identities that belong to the cluster. */
const CLUSTER_ENTITIES = ["host", "remote-node", "init", "ingress", "health", "unmanaged", "kube-apiserver"];
const SIMPLE_ENTITIES: ReadonlySet<unknown> = new Set([
  ...CLUSTER_ENTITIES,
  "world",
  "world-ipv4",
  "world-ipv6",
]);

/**
 * The peers of an entry. `named` tells whether the entry has any peer field, be it an empty list: then it does
 * not mean "any peer". Undefined when the entry as a whole is not understood.
 */
export function readCiliumPeers(
  reader: Reader,
  raw: Raw,
  direction: Direction,
  verdict: number,
  path: string,
  scope: Scope,
): { peers: Peer[]; named: boolean } | undefined {
  const prefix = direction === Direction.INGRESS ? "from" : "to";
  const fields = new Map(familiesOf(direction, verdict).map((family) => [`${prefix}${family}`, family]));
  const known = new Set([...fields.keys(), "toPorts", "icmps", "authentication"]);
  if (!reader.only(raw, known, path) || !authenticates(reader, raw, path)) return undefined;
  const peers: Peer[] = [];
  let named = false;
  let filled = "";
  for (const [field, family] of fields) {
    const list = reader.list(raw, field, path);
    if (list === undefined) continue;
    if (family === "Requires" && list.length === 0) continue;
    named = true;
    // Read apart: they let nobody in.
    if (list.length === 0 || family === "Requires") continue;
    if (filled !== "") return reader.invalid(path, `${filled} and ${field} cannot be combined in one entry`);
    filled = field;
    for (const [i, value] of list.entries())
      peers.push(...readPeer(reader, family, value, `${path}.${field}[${i}]`, scope));
  }
  return { peers, named };
}

function familiesOf(direction: Direction, verdict: number): readonly Family[] {
  return FAMILIES.filter((family) => {
    if (family === "Services") return direction === Direction.EGRESS;
    if (family === "FQDNs") return direction === Direction.EGRESS && verdict === Verdict.ALLOW;
    return true;
  });
}

function authenticates(reader: Reader, raw: Raw, path: string): boolean {
  const authentication = raw["authentication"] ?? undefined;
  if (authentication === undefined) return true;
  if (isObject(authentication) && authentication["mode"] === "disabled") return true;
  reader.unsupported(
    `${path}.authentication`,
    "mutual authentication is not supported: the entry selects nothing",
  );
  return false;
}

function readPeer(reader: Reader, family: Family, value: unknown, path: string, scope: Scope): Peer[] {
  if (family === "Endpoints") return one(readEndpoints(reader, value, path, scope));
  if (family === "Entities") return readEntity(reader, value, path, scope);
  if (family === "CIDR") return one(readBareCidr(reader, value, path));
  if (family === "CIDRSet") return one(readCidrRule(reader, value, path));
  if (family === "Nodes") return one(readNodes(reader, value, path));
  if (family === "Services") return readServices(reader, value, path, scope.namespace);
  if (family === "FQDNs") return one(readFqdn(reader, value, path));
  reader.unsupported(path, "peers of this kind are not supported: they select nothing");
  return [];
}

function one(peer: Peer | undefined): Peer[] {
  return peer === undefined ? [] : [peer];
}

function readEndpoints(reader: Reader, value: unknown, path: string, scope: Scope): Peer | undefined {
  const selector = reader.selector(value, path);
  return selector && { kind: "labels", selector: complete(selector, scope) };
}

/** Adds what the selector leaves unsaid: the namespace and the cluster it looks in. */
export function complete(selector: Selector, scope: Scope): Selector {
  const given = selector.requirements;
  if (given.some(({ source }) => source === "reserved")) return selector;
  const added: Requirement[] = [];
  const namesNamespace = given.some(
    (r) => r.key === labelKeys.namespace && (r.source === "k8s" || r.source === "any"),
  );
  if (!namesNamespace) {
    if (scope.namespace === undefined) {
      if (!scope.subjectIsInit) added.push(exists("k8s", labelKeys.namespace));
    } else if (!given.some(({ key }) => key.startsWith(labelKeys.namespaceLabels))) {
      added.push(equals("k8s", labelKeys.namespace, scope.namespace));
    }
  }
  if (!given.some(({ key }) => key === labelKeys.cluster))
    added.push(equals("k8s", labelKeys.cluster, scope.cluster));
  return { requirements: [...given, ...added] };
}

function readNodes(reader: Reader, value: unknown, path: string): Peer | undefined {
  const selector = reader.selector(value, path);
  return selector && remoteNodes(selector);
}

function readEntity(reader: Reader, value: unknown, path: string, scope: Scope): Peer[] {
  if (value === "all") return [{ kind: "all" }];
  if (value === "none") return [];
  if (value === "cluster") return [...CLUSTER_ENTITIES.map(entity), ofCluster(scope.cluster)];
  if (value === "cluster-mesh") return [...CLUSTER_ENTITIES.map(entity), ofCluster(undefined)];
  if (SIMPLE_ENTITIES.has(value)) return [entity(String(value))];
  reader.invalid(path, `"${String(value)}" is not an entity`);
  return [];
}

function entity(name: string): Peer {
  return { kind: "labels", selector: { requirements: [exists("reserved", name)] } };
}

function ofCluster(cluster: string | undefined): Peer {
  const requirement =
    cluster === undefined ? exists("k8s", labelKeys.cluster) : equals("k8s", labelKeys.cluster, cluster);
  return { kind: "labels", selector: { requirements: [requirement] } };
}

function readBareCidr(reader: Reader, value: unknown, path: string): Peer | undefined {
  const ip = typeof value === "string" ? tryParseIp(value) : undefined;
  const prefix = ip === undefined ? readPrefix(reader, value, path) : hostPrefix(ip);
  return prefix && { kind: "cidr", prefix, except: [] };
}

function readCidrRule(reader: Reader, value: unknown, path: string): Peer | undefined {
  const raw = reader.object(value, path);
  if (raw === undefined) return undefined;
  const reference = reader.given(raw, "cidrGroupRef") || reader.given(raw, "cidrGroupSelector");
  if (!reader.only(raw, CIDR_RULE, path)) return undefined;
  if (reference) return readGroups(reader, raw, path);
  return readCidr(reader, raw["cidr"], reader.items(raw, "except", path), path);
}
