import { type Labels, labelKeys } from "@axoneme/identity";
import type { SandboxQuery, SandboxSide } from "./sandbox.ts";

/** A policy object as it is applied. */
export interface SuggestedPolicy {
  readonly apiVersion: "cilium.io/v2";
  readonly kind: "CiliumNetworkPolicy";
  readonly metadata: { readonly name: string; readonly namespace: string };
  readonly spec: Readonly<Record<string, unknown>>;
}

/** Labels that change with each roll-out, or name one pod: a policy on them is soon about nobody. */
const volatile: readonly RegExp[] = [
  /^k8s:pod-template-hash$/,
  /^k8s:pod-template-generation$/,
  /^k8s:controller-revision-hash$/,
  /^k8s:controller-uid$/,
  /^k8s:batch\.kubernetes\.io\/(controller-uid|job-name)$/,
  /^k8s:job-name$/,
  /^k8s:apps\.kubernetes\.io\/pod-index$/,
  /^k8s:statefulset\.kubernetes\.io\/pod-name$/,
];
/** Labels that say where a pod is, or what is true of its namespace; the namespace is named by itself. */
const place: readonly RegExp[] = [/^k8s:io\.cilium\.k8s\./, /^k8s:io\.kubernetes\.pod\.namespace$/];
/** Labels that name what a pod is part of: enough by themselves, the first of them that is there. */
const telling = ["k8s:app.kubernetes.io/name", "k8s:k8s-app", "k8s:app"];
const namespaceLabel = `k8s:${labelKeys.namespace}`;
const entities = ["kube-apiserver", "host", "remote-node", "health", "init", "ingress", "unmanaged"] as const;
const protocols: Readonly<Record<number, string>> = { 6: "TCP", 17: "UDP", 132: "SCTP" };
const icmp: Readonly<Record<number, string>> = { 1: "IPv4", 58: "IPv6" };
const dnsPort = 53;
const sctp = 132;

/** Peers and ports of one direction, by the text of the peer. */
type Entries = Map<
  string,
  { readonly peer: Readonly<Record<string, unknown>>; readonly ports: Map<string, Port> }
>;

interface Port {
  readonly proto: number;
  readonly port: number;
}

/** The labels by which a policy should know a pod: `k8s:` left off, as people write them. */
export function tellingLabels(labels: Labels): Record<string, string> {
  const named = telling.find((key) => labels[key] !== undefined);
  const all = Object.entries(labels).filter(
    ([key]) => key.startsWith("k8s:") && ![...volatile, ...place].some((pattern) => pattern.test(key)),
  );
  const chosen = named === undefined ? all : [[named, labels[named] ?? ""] as const];
  return Object.fromEntries(chosen.map(([key, value]) => [key.slice("k8s:".length), value]));
}

/** The namespace of a pod's labels. */
export function namespaceOf(labels: Labels): string {
  return labels[namespaceLabel] ?? "";
}

/**
 * The least that lets through what was seen: for each workload that `wants`, a policy that isolates it and allows
 * these connections. Answers are not to be among them. Sorted: the same flows give the same text.
 */
export function suggestPolicies(
  seen: Iterable<SandboxQuery>,
  wants: (side: SandboxSide) => boolean,
): SuggestedPolicy[] {
  const workloads = new Map<string, Workload>();
  const workloadOf = (side: SandboxSide): Workload | undefined => {
    if (!side.isPod || !wants(side)) return undefined;
    const labels = tellingLabels(side.labels);
    const key = JSON.stringify([namespaceOf(side.labels), labels]);
    const known = workloads.get(key) ?? new Workload(namespaceOf(side.labels), labels);
    workloads.set(key, known);
    return known;
  };
  for (const { source, destination, proto, port } of seen) {
    workloadOf(source)?.add("egress", destination, { proto, port });
    workloadOf(destination)?.add("ingress", source, { proto, port });
  }
  return [...workloads].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, workload]) => workload.policy());
}

/** What one workload is seen to do. */
class Workload {
  readonly #namespace: string;
  readonly #labels: Readonly<Record<string, string>>;
  readonly #ingress: Entries = new Map();
  readonly #egress: Entries = new Map();

  constructor(namespace: string, labels: Readonly<Record<string, string>>) {
    this.#namespace = namespace;
    this.#labels = labels;
  }

  add(direction: "ingress" | "egress", peer: SandboxSide, port: Port): void {
    const entries = direction === "ingress" ? this.#ingress : this.#egress;
    for (const one of peersOf(direction, peer, this.#namespace)) {
      const key = JSON.stringify(one);
      const entry = entries.get(key) ?? { peer: one, ports: new Map<string, Port>() };
      entry.ports.set(`${port.proto}/${port.port}`, port);
      entries.set(key, entry);
    }
  }

  policy(): SuggestedPolicy {
    const parts = Object.values(this.#labels).join("-").toLowerCase();
    const name = parts
      .replace(/[^a-z0-9-]+/g, "-")
      .replace(/^-+|-+$/g, "")
      .slice(0, 50);
    return {
      apiVersion: "cilium.io/v2",
      kind: "CiliumNetworkPolicy",
      metadata: { name: name === "" ? "suggested" : `${name}-suggested`, namespace: this.#namespace },
      spec: {
        endpointSelector: { matchLabels: this.#labels },
        enableDefaultDeny: { ingress: true, egress: true },
        ingress: rulesOf(this.#ingress),
        egress: rulesOf(this.#egress),
      },
    };
  }
}

/** A peer as fields of a rule. Several for an address that is known by several names. */
function peersOf(
  direction: "ingress" | "egress",
  { labels, isPod, ip, names = [] }: SandboxSide,
  own: string,
): Readonly<Record<string, unknown>>[] {
  const side = direction === "ingress" ? "from" : "to";
  if (isPod) {
    const namespace = namespaceOf(labels);
    const where = namespace === own ? {} : { [namespaceLabel]: namespace };
    return [{ [`${side}Endpoints`]: [{ matchLabels: { ...tellingLabels(labels), ...where } }] }];
  }
  const entity = entities.find((name) => labels[`reserved:${name}`] !== undefined);
  if (entity !== undefined) return [{ [`${side}Entities`]: [entity] }];
  if (direction === "egress" && names.length > 0)
    return [...new Set(names)].sort().map((name) => ({ toFQDNs: [{ matchName: name.replace(/\.$/, "") }] }));
  if (ip === undefined) return [{ [`${side}Entities`]: ["world"] }];
  return [{ [`${side}CIDR`]: [`${ip}/${ip.includes(":") ? 128 : 32}`] }];
}

/** Entries of one direction: a rule each, with its ports. None: an empty list, which allows nobody. */
function rulesOf(entries: Entries): object[] {
  return [...entries]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .flatMap(([, { peer, ports }]) => {
      const sorted = [...ports.values()].sort((a, b) => a.proto - b.proto || a.port - b.port);
      const l4 = sorted.filter(({ proto }) => protocols[proto] !== undefined);
      const messages = sorted.filter(({ proto }) => icmp[proto] !== undefined);
      const rules: object[] = [];
      if (l4.length > 0) rules.push({ ...peer, toPorts: portsOf(l4, peer) });
      if (messages.length > 0)
        rules.push({
          ...peer,
          icmps: [{ fields: messages.map(({ proto, port }) => ({ family: icmp[proto], type: port })) }],
        });
      return rules;
    });
}

function portsOf(l4: readonly Port[], peer: Readonly<Record<string, unknown>>): object[] {
  const text = ({ proto, port }: Port) => ({ port: String(port), protocol: protocols[proto] ?? "ANY" });
  // Names have to be learned: whoever asks a DNS server asks it through the proxy.
  const isDns = ({ proto, port }: Port): boolean =>
    port === dnsPort && proto !== sctp && "toEndpoints" in peer;
  const [dns, plain] = [l4.filter(isDns), l4.filter((one) => !isDns(one))];
  return [
    ...(plain.length > 0 ? [{ ports: plain.map(text) }] : []),
    ...(dns.length > 0 ? [{ ports: dns.map(text), rules: { dns: [{ matchPattern: "*" }] } }] : []),
  ];
}
