import { type Labels, labelKeys } from "@axoneme/identity";
import type { SandboxQuery, SandboxSide } from "./sandbox.ts";
import { type NameSelector, nameSelectors, plainName, selectorsOf } from "./suggestnames.ts";

/** A connection that was seen. */
export interface SeenConnection extends SandboxQuery {
  /** It asked a DNS server for this name. */
  readonly asked?: string;
}

/** How suggestions are written. */
export interface SuggestOptions {
  /** So many names directly below one domain become a pattern; default: none do. */
  readonly patternsFrom?: number;
}

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

type Peer = Readonly<Record<string, unknown>>;

/** One peer of one direction. */
interface Entry {
  readonly peer: Peer;
  /** The peer is what has this name. */
  readonly name?: string;
  readonly ports: Map<string, Port>;
  /** Names it was asked for. */
  readonly asked: Set<string>;
}

/** By the text of the peer. */
type Entries = Map<string, Entry>;

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
  seen: Iterable<SeenConnection>,
  wants: (side: SandboxSide) => boolean,
  options: SuggestOptions = {},
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
  for (const { source, destination, proto, port, asked } of seen) {
    workloadOf(source)?.add("egress", destination, { proto, port }, asked);
    workloadOf(destination)?.add("ingress", source, { proto, port });
  }
  return [...workloads].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, workload]) => workload.policy(options));
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

  add(direction: "ingress" | "egress", peer: SandboxSide, port: Port, asked?: string): void {
    const entries = direction === "ingress" ? this.#ingress : this.#egress;
    for (const one of peersOf(direction, peer, this.#namespace)) {
      const entry = into(entries, one.peer, one.name);
      entry.ports.set(`${port.proto}/${port.port}`, port);
      const name = asked === undefined ? undefined : plainName(asked);
      if (name !== undefined) entry.asked.add(name);
    }
  }

  policy({ patternsFrom }: SuggestOptions): SuggestedPolicy {
    const reached = [...this.#egress.values()].flatMap(({ name }) => name ?? []);
    const asked = [...this.#egress.values()].flatMap((entry) => [...entry.asked]);
    const selector = nameSelectors([...reached, ...asked], patternsFrom);
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
        ingress: rulesOf(this.#ingress, []),
        egress: rulesOf(named(this.#egress, selector), reached, selector),
      },
    };
  }
}

/** The entry of a peer, a new one if there is none. */
function into(entries: Entries, peer: Peer, name?: string): Entry {
  const key = JSON.stringify(peer);
  const entry: Entry = entries.get(key) ?? {
    peer,
    ...(name === undefined ? {} : { name }),
    ports: new Map(),
    asked: new Set(),
  };
  entries.set(key, entry);
  return entry;
}

/** Peers that are names, by the selectors of these. */
function named(entries: Entries, selector: (name: string) => NameSelector): Entries {
  const all: Entries = new Map();
  for (const { peer, name, ports, asked } of entries.values()) {
    const entry = into(all, name === undefined ? peer : { toFQDNs: [selector(name)] }, name);
    for (const [key, port] of ports) entry.ports.set(key, port);
    for (const one of asked) entry.asked.add(one);
  }
  return all;
}

/** A peer as fields of a rule. Several for an address that is known by several names. */
function peersOf(
  direction: "ingress" | "egress",
  { labels, isPod, ip, names = [] }: SandboxSide,
  own: string,
): Pick<Entry, "peer" | "name">[] {
  const side = direction === "ingress" ? "from" : "to";
  if (isPod) {
    const namespace = namespaceOf(labels);
    const where = namespace === own ? {} : { [namespaceLabel]: namespace };
    return [{ peer: { [`${side}Endpoints`]: [{ matchLabels: { ...tellingLabels(labels), ...where } }] } }];
  }
  const entity = entities.find((name) => labels[`reserved:${name}`] !== undefined);
  if (entity !== undefined) return [{ peer: { [`${side}Entities`]: [entity] } }];
  const known = [...new Set(names.flatMap((name) => plainName(name) ?? []))].sort();
  if (direction === "egress" && known.length > 0)
    return known.map((name) => ({ peer: { toFQDNs: [{ matchName: name }] }, name }));
  if (ip === undefined) return [{ peer: { [`${side}Entities`]: ["world"] } }];
  return [{ peer: { [`${side}CIDR`]: [`${ip}/${ip.includes(":") ? 128 : 32}`] } }];
}

/**
 * Entries of one direction: a rule each, with its ports. None: an empty list, which allows nobody. `reached`: names of
 * peers, which must be asked for, too.
 */
function rulesOf(
  entries: Entries,
  reached: readonly string[],
  selector: (name: string) => NameSelector = nameSelectors([]),
): object[] {
  return [...entries]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .flatMap(([, { peer, ports, asked }]) => {
      const sorted = [...ports.values()].sort((a, b) => a.proto - b.proto || a.port - b.port);
      const l4 = sorted.filter(({ proto }) => protocols[proto] !== undefined);
      const messages = sorted.filter(({ proto }) => icmp[proto] !== undefined);
      const rules: object[] = [];
      if (l4.length > 0)
        rules.push({ ...peer, toPorts: portsOf(l4, peer, namesOf(asked, reached, selector)) });
      if (messages.length > 0)
        rules.push({
          ...peer,
          icmps: [{ fields: messages.map(({ proto, port }) => ({ family: icmp[proto], type: port })) }],
        });
      return rules;
    });
}

/** What may be asked for: what was, and what is reached by name. Every name where it is not known what was asked for. */
function namesOf(
  asked: ReadonlySet<string>,
  reached: readonly string[],
  selector: (name: string) => NameSelector,
): NameSelector[] {
  return asked.size === 0 ? [{ matchPattern: "*" }] : selectorsOf([...asked, ...reached], selector);
}

function portsOf(l4: readonly Port[], peer: Peer, dnsRules: readonly NameSelector[]): object[] {
  const text = ({ proto, port }: Port) => ({ port: String(port), protocol: protocols[proto] ?? "ANY" });
  // Names have to be learned: whoever asks a DNS server asks it through the proxy.
  const isDns = ({ proto, port }: Port): boolean =>
    port === dnsPort && proto !== sctp && "toEndpoints" in peer;
  const [dns, plain] = [l4.filter(isDns), l4.filter((one) => !isDns(one))];
  return [
    ...(plain.length > 0 ? [{ ports: plain.map(text) }] : []),
    ...(dns.length > 0 ? [{ ports: dns.map(text), rules: { dns: dnsRules } }] : []),
  ];
}
