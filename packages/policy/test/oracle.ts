/**
 * The deliberately simple evaluator: raw policy objects in, yes or no out, one pair at a time, nothing indexed,
 * no code shared with the engine. Written from the semantics, not from the engine.
 */
import ipaddr from "ipaddr.js";

export interface Pod {
  kind: "pod";
  name: string;
  namespace: string;
  labels: Record<string, string>;
  namespaceLabels: Record<string, string>;
  ports: { name: string; proto: number; port: number }[];
  serviceAccount?: string;
  /** The address that a packet has: a pod has several. */
  ip?: string;
}
export type Party =
  | Pod
  | { kind: "host"; ip?: string }
  | { kind: "remote-node"; ip?: string }
  | { kind: "apiserver"; ip?: string }
  | { kind: "health"; ip?: string }
  | { kind: "ingress"; ip?: string }
  | { kind: "unmanaged"; ip?: string }
  | { kind: "world"; ip: string };

// biome-ignore lint/suspicious/noExplicitAny: raw API objects; the oracle must not depend on our types
type Raw = any;

/** What policies name instead of peers. */
export interface Objects {
  groups: { name: string; labels: Record<string, string>; cidrs: string[] }[];
  services: {
    name: string;
    namespace: string;
    labels: Record<string, string>;
    selector: Record<string, string>;
    addresses: string[];
  }[];
  auditedNamespaces: string[];
  /** Whom rules on prefixes match; default everybody by the address of the packet. */
  cidrMatch?: "address" | "nodes" | "identity";
}

const CLUSTER = "default";
const PROTO: Record<string, number> = { TCP: 6, UDP: 17, SCTP: 132 };

function holdsAll(selector: Raw, read: (key: string) => string | undefined): boolean {
  for (const [key, value] of Object.entries(selector?.matchLabels ?? {}))
    if (read(key) !== value) return false;
  for (const { key, operator, values } of selector?.matchExpressions ?? []) {
    const value = read(key);
    if (operator === "In" && (value === undefined || !values.includes(value))) return false;
    if (operator === "NotIn" && value !== undefined && values.includes(value)) return false;
    if (operator === "Exists" && value === undefined) return false;
    if (operator === "DoesNotExist" && value !== undefined) return false;
  }
  return true;
}

function inCidr(ip: string, cidr: string): boolean {
  const address = ipaddr.parse(ip);
  const [net, length] = ipaddr.parseCIDR(
    cidr.includes("/") ? cidr : `${cidr}/${cidr.includes(":") ? 128 : 32}`,
  );
  return address.kind() === net.kind() && address.match([net, length] as never);
}

function inBlock(party: Party, cidr: string, except: string[] = []): boolean {
  const { ip } = party;
  return ip !== undefined && inCidr(ip, cidr) && !except.some((hole) => inCidr(ip, hole));
}

// --- Kubernetes ------------------------------------------------------------------------------------------------

function k8sPeer(peer: Raw, party: Party, namespace: string): boolean {
  if (peer.ipBlock) return inBlock(party, peer.ipBlock.cidr, peer.ipBlock.except);
  if (party.kind !== "pod") return false;
  const namespaceOk = peer.namespaceSelector
    ? holdsAll(peer.namespaceSelector, (key) => party.namespaceLabels[key])
    : party.namespace === namespace;
  return namespaceOk && holdsAll(peer.podSelector, (key) => party.labels[key]);
}

function k8sPort(entry: Raw, proto: number, port: number, destination: Party): boolean {
  if (PROTO[entry.protocol ?? "TCP"] !== proto) return false;
  if (entry.port === undefined) return true;
  if (typeof entry.port === "string") return isNamed(destination, entry.port, proto, port);
  return port >= entry.port && port <= (entry.endPort ?? entry.port);
}

function isNamed(destination: Party, name: string, proto: number, port: number): boolean {
  return (
    destination.kind === "pod" &&
    destination.ports.some((p) => p.name === name && p.proto === proto && p.port === port)
  );
}

interface Opinion {
  /** Default deny for this direction. */
  isolates: boolean;
  allows: boolean;
  denies: boolean;
  /** Of a policy of another tier: what its first rule that matches says. */
  first?: { tier: string; priority: number; action: string } | undefined;
}

function k8s(policy: Raw, subject: Pod, peer: Party, ingress: boolean, proto: number, port: number): Opinion {
  const no = { isolates: false, allows: false, denies: false };
  const { spec, metadata } = policy;
  if (subject.namespace !== metadata.namespace) return no;
  if (!holdsAll(spec.podSelector, (key) => subject.labels[key])) return no;
  const types = spec.policyTypes ?? (spec.egress?.length > 0 ? ["Ingress", "Egress"] : ["Ingress"]);
  if (!types.includes(ingress ? "Ingress" : "Egress")) return no;
  const destination = ingress ? subject : peer;
  const rules = (ingress ? spec.ingress : spec.egress) ?? [];
  const allows = rules.some((rule: Raw) => {
    const peers = (ingress ? rule.from : rule.to) ?? [];
    const ports = rule.ports ?? [];
    const peerOk = peers.length === 0 || peers.some((p: Raw) => k8sPeer(p, peer, metadata.namespace));
    return peerOk && (ports.length === 0 || ports.some((p: Raw) => k8sPort(p, proto, port, destination)));
  });
  return { isolates: true, allows, denies: false };
}

// --- Cilium ----------------------------------------------------------------------------------------------------

/** Labels of what is no pod. */
const RESERVED: Record<Exclude<Party["kind"], "pod">, string[]> = {
  host: ["host"],
  "remote-node": ["remote-node"],
  apiserver: ["remote-node", "kube-apiserver"],
  health: ["health"],
  ingress: ["ingress"],
  unmanaged: ["unmanaged"],
  world: ["world"],
};

function label(party: Party, key: string): string | undefined {
  if (party.kind !== "pod") {
    const name = key.replace(/^(reserved|any):/, "");
    return RESERVED[party.kind].includes(name) ? "" : undefined;
  }
  if (key.startsWith("reserved:")) return undefined;
  const pod = party;
  const bare = key.replace(/^(k8s|any):/, "");
  if (bare === "io.kubernetes.pod.namespace") return pod.namespace;
  if (bare === "io.cilium.k8s.policy.cluster") return CLUSTER;
  if (bare === "io.cilium.k8s.policy.serviceaccount") return pod.serviceAccount;
  if (bare.startsWith("io.cilium.k8s.namespace.labels.")) {
    return pod.namespaceLabels[bare.slice("io.cilium.k8s.namespace.labels.".length)];
  }
  return pod.labels[bare];
}

const ENTITY: Record<string, Party["kind"][]> = {
  world: ["world"],
  cluster: ["pod", "host", "remote-node", "apiserver", "health", "ingress", "unmanaged"],
  "cluster-mesh": ["pod", "host", "remote-node", "apiserver", "health", "ingress", "unmanaged"],
  health: ["health"],
  ingress: ["ingress"],
  unmanaged: ["unmanaged"],
  init: [],
  host: ["host"],
  "remote-node": ["remote-node", "apiserver"],
  "kube-apiserver": ["apiserver"],
  all: ["pod", "host", "remote-node", "apiserver", "world", "health", "ingress", "unmanaged"],
  none: [],
};

function keysOf(selector: Raw): string[] {
  return [
    ...Object.keys(selector.matchLabels ?? {}),
    ...(selector.matchExpressions ?? []).map((expression: Raw) => expression.key),
  ];
}

function ciliumSelector(selector: Raw, party: Party, namespace: string | undefined): boolean {
  const keys = keysOf(selector);
  if (keys.some((key) => key.startsWith("reserved:"))) return holdsAll(selector, (key) => label(party, key));
  if (party.kind !== "pod") return false;
  const namesNamespace = keys.some((key) =>
    /^(k8s:|any:)?io\.(kubernetes\.pod\.namespace|cilium\.k8s\.namespace\.labels\.)/.test(key),
  );
  if (namespace !== undefined && !namesNamespace && party.namespace !== namespace) return false;
  return holdsAll(selector, (key) => label(party, key));
}

function inGroups(peer: Raw, party: Party, { groups }: Objects): boolean {
  return groups.some((group) => {
    const meant = peer.cidrGroupRef
      ? group.name === peer.cidrGroupRef
      : holdsAll(peer.cidrGroupSelector, (key) => group.labels[key.replace(/^cidrgroup:/, "")]);
    return meant && group.cidrs.some((cidr) => inBlock(party, cidr, peer.except));
  });
}

function behindServices(peer: Raw, party: Party, own: string | undefined, { services }: Objects): boolean {
  return services.some((service) => {
    const { k8sService: byName, k8sServiceSelector: byLabels } = peer;
    const named =
      byName && service.name === byName.serviceName && service.namespace === (byName.namespace ?? own);
    const namespace = byLabels?.namespace ?? own;
    const selected =
      byLabels &&
      (namespace === undefined || service.namespace === namespace) &&
      holdsAll(byLabels.selector, (key) => service.labels[key]);
    if (!named && !selected) return false;
    if (Object.keys(service.selector).length === 0) return service.addresses.some((ip) => inBlock(party, ip));
    return (
      party.kind === "pod" &&
      party.namespace === service.namespace &&
      holdsAll({ matchLabels: service.selector }, (key) => party.labels[key])
    );
  });
}

function ciliumPeer(
  objects: Objects,
  rule: Raw,
  prefix: "from" | "to",
  party: Party,
  namespace: string | undefined,
): boolean | undefined {
  const families = ["Endpoints", "Entities", "CIDR", "CIDRSet", "Services", "Nodes"].filter(
    (f) => rule[prefix + f] !== undefined,
  );
  if (families.length === 0) return undefined;
  return families.some((family) =>
    rule[prefix + family].some((peer: Raw) => {
      if (family === "Endpoints") return ciliumSelector(peer, party, namespace);
      if (family === "Entities") return ENTITY[peer]?.includes(party.kind) ?? false;
      if (family === "CIDR") return inBlock(party, peer);
      if (family === "Nodes") {
        const all = Object.keys(peer).length === 0; // by labels: not supported, so nobody
        return all && (party.kind === "remote-node" || party.kind === "apiserver");
      }
      if (family === "Services") return behindServices(peer, party, namespace, objects);
      if (peer.cidr === undefined) return inGroups(peer, party, objects);
      return inBlock(party, peer.cidr, peer.except);
    }),
  );
}

function ciliumPort(rule: Raw, proto: number, port: number, destination: Party): boolean | undefined {
  if (rule.toPorts?.length > 0) {
    return rule.toPorts.some(
      (portRule: Raw) =>
        portRule.rules === undefined &&
        portRule.serverNames === undefined &&
        portRule.ports.some((p: Raw) => {
          const protos = (p.protocol ?? "ANY") === "ANY" ? [6, 17, 132] : [PROTO[p.protocol]];
          if (!protos.includes(proto)) return false;
          if (Number.isNaN(Number(p.port))) return isNamed(destination, p.port, proto, port);
          const first = Number(p.port);
          return first === 0 || (port >= first && port <= (p.endPort ?? first));
        }),
    );
  }
  if (rule.icmps?.length > 0) {
    return rule.icmps.some((icmp: Raw) =>
      icmp.fields.some((f: Raw) => (f.family === "IPv6" ? 58 : 1) === proto && f.type === port),
    );
  }
  return undefined;
}

function ciliumRule(
  objects: Objects,
  rule: Raw,
  prefix: "from" | "to",
  peer: Party,
  ns: string | undefined,
  proto: number,
  port: number,
  destination: Party,
): boolean {
  const peerOk = ciliumPeer(objects, rule, prefix, peer, ns);
  const portOk = ciliumPort(rule, proto, port, destination);
  if (peerOk === undefined && rule[`${prefix}Requires`]?.length > 0) return false;
  if (peerOk === undefined && portOk === undefined) return false;
  return (peerOk ?? true) && (portOk ?? true);
}

function cilium(
  objects: Objects,
  policy: Raw,
  spec: Raw,
  subject: Pod,
  peer: Party,
  ingress: boolean,
  proto: number,
  port: number,
): Opinion {
  const namespace: string | undefined =
    policy.kind === "CiliumNetworkPolicy" ? policy.metadata.namespace : undefined;
  const no = { isolates: false, allows: false, denies: false };
  if (namespace !== undefined && subject.namespace !== namespace) return no;
  if (!holdsAll(spec.endpointSelector, (key) => label(subject, key))) return no;
  const allow = (ingress ? spec.ingress : spec.egress) ?? [];
  const deny = (ingress ? spec.ingressDeny : spec.egressDeny) ?? [];
  const prefix = ingress ? "from" : "to";
  const destination = ingress ? subject : peer;
  const hits = (rule: Raw) => ciliumRule(objects, rule, prefix, peer, namespace, proto, port, destination);
  const lacks = (rule: Raw) =>
    peer.kind === "pod" &&
    (rule[`${prefix}Requires`] ?? []).some((one: Raw) => !ciliumSelector(one, peer, namespace));
  const given = ingress ? spec.enableDefaultDeny?.ingress : spec.enableDefaultDeny?.egress;
  return {
    isolates: given ?? allow.length + deny.length > 0,
    allows: allow.some(hits),
    denies: deny.some(hits) || allow.some(lacks),
  };
}

// --- tiers -----------------------------------------------------------------------------------------------------

function scoped(raw: Raw, party: Party): boolean {
  if (party.kind !== "pod") return false;
  const namespaces = raw.namespaces ?? raw.pods.namespaceSelector;
  return (
    holdsAll(namespaces, (key) => party.namespaceLabels[key]) &&
    holdsAll(raw.pods?.podSelector, (key) => party.labels[key])
  );
}

function tierPeer(peer: Raw, party: Party): boolean {
  if (peer.networks) return peer.networks.some((cidr: string) => inBlock(party, cidr));
  if (peer.nodes) return ["host", "remote-node", "apiserver"].includes(party.kind);
  return scoped(peer, party);
}

function tierPort(entry: Raw, proto: number, port: number, destination: Party): boolean {
  const name = entry.namedPort ?? entry.destinationNamedPort;
  if (name) return isNamed(destination, name, proto, port);
  const [cnp] = ["tcp", "udp", "sctp"].filter((key) => entry[key]);
  const where = cnp ? entry[cnp].destinationPort : (entry.portNumber ?? entry.portRange);
  if (PROTO[cnp ? cnp.toUpperCase() : (where.protocol ?? "TCP")] !== proto) return false;
  if (where === undefined) return true;
  const range = where.range ?? where;
  const single = where.number ?? where.port;
  return port >= (single ?? range.start) && port <= (single ?? range.end);
}

function tiered(
  policy: Raw,
  subject: Pod,
  peer: Party,
  ingress: boolean,
  proto: number,
  port: number,
): Opinion {
  const no = { isolates: false, allows: false, denies: false };
  const { kind, spec } = policy;
  if (!scoped(spec.subject, subject)) return no;
  const destination = ingress ? subject : peer;
  const first = ((ingress ? spec.ingress : spec.egress) ?? []).find((rule: Raw) => {
    const ports = rule.ports ?? rule.protocols ?? [];
    return (
      (ingress ? rule.from : rule.to).some((p: Raw) => tierPeer(p, peer)) &&
      (ports.length === 0 || ports.some((p: Raw) => tierPort(p, proto, port, destination)))
    );
  });
  if (first === undefined) return no;
  const baseline = kind === "BaselineAdminNetworkPolicy" || spec.tier === "Baseline";
  const tier = baseline ? "baseline" : "admin";
  return { ...no, first: { tier, priority: spec.priority ?? 0, action: first.action } };
}

// --- all together ------------------------------------------------------------------------------------------------

/** The tier's word: of the lowest priority number that says anything; among equals a denial. */
function tierSays(opinions: Opinion[], tier: string): string | undefined {
  const said = opinions.flatMap(({ first }) => (first?.tier === tier ? [first] : []));
  const best = Math.min(...said.map(({ priority }) => priority));
  const actions = said.filter(({ priority }) => priority === best).map(({ action }) => action);
  return (
    actions.find((action) => action === "Deny") ?? actions.find((action) => action !== "Pass") ?? actions[0]
  );
}

/** When pods are isolated: when a policy says so, always, or never. */
export type Mode = "default" | "always" | "never";

function decide(opinions: Opinion[], probesFromHost: boolean, mode: Mode): boolean {
  if (mode === "never") return true;
  const admin = tierSays(opinions, "admin");
  if (admin !== undefined && admin !== "Pass") return admin !== "Deny";
  if (opinions.some((opinion) => opinion.denies)) return false;
  if (opinions.some((opinion) => opinion.allows)) return true;
  // The node may always reach its pods.
  if (opinions.some((opinion) => opinion.isolates)) return probesFromHost;
  if (mode === "always") return probesFromHost;
  return tierSays(opinions, "baseline") !== "Deny";
}

const NODES = ["host", "remote-node", "apiserver"];

/** Without an address for those whom rules on prefixes do not match: this node neither, on its way to its pods. */
function seen(party: Party, ingress: boolean, match: Objects["cidrMatch"] = "address"): Party {
  const { kind } = party;
  const isProbe = ingress && kind === "host";
  if (isProbe) return { kind };
  if (match === "address" || kind === "world" || (match === "nodes" && NODES.includes(kind))) return party;
  const { ip: _, ...rest } = party;
  return rest as Party;
}

/** What the subject's own policies say of a connection in one direction. */
export function verdict(
  policies: Raw[],
  subject: Pod,
  other: Party,
  ingress: boolean,
  proto: number,
  port: number,
  objects: Objects = { groups: [], services: [], auditedNamespaces: [] },
  mode: Mode = "default",
): "allow" | "deny" | "audit" {
  const peer = seen(other, ingress, objects.cidrMatch);
  const opinionOf = (policy: Raw): Opinion[] => {
    if (policy.kind === "NetworkPolicy") return [k8s(policy, subject, peer, ingress, proto, port)];
    if (!policy.kind.startsWith("Cilium")) return [tiered(policy, subject, peer, ingress, proto, port)];
    return [policy.spec, ...(policy.specs ?? [])]
      .filter((spec) => spec !== undefined)
      .map((spec: Raw) => cilium(objects, policy, spec, subject, peer, ingress, proto, port));
  };
  const onTrial = ({ metadata }: Raw): boolean => {
    const own = metadata.annotations?.["policy.axoneme.io/audit"];
    return own ? own === "true" : objects.auditedNamespaces.includes(metadata.namespace);
  };
  // Where a policy isolates the pod, be it on trial.
  const fromHost =
    ingress && peer.kind === "host" && policies.flatMap(opinionOf).some((opinion) => opinion.isolates);
  const inEarnest = policies.filter((policy) => !onTrial(policy)).flatMap(opinionOf);
  if (!decide(inEarnest, fromHost, mode)) return "deny";
  return decide(policies.flatMap(opinionOf), fromHost, mode) ? "allow" : "audit";
}
