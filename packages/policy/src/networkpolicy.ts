import { labelKeys } from "@axoneme/identity";
import { readCidr } from "./cidr.ts";
import { anyL4, anyPort, onePort, portRange, protocols } from "./l4.ts";
import { isObject, isPort, type Raw, Reader, text } from "./reader.ts";
import {
  Direction,
  type L4,
  type NamedPort,
  type Peer,
  type Policy,
  type PolicySpec,
  type Rule,
  TIER_NORMAL,
  Verdict,
} from "./rule.ts";
import { equals, exists, type Requirement, type Selector } from "./selector.ts";
import { audited } from "./trial.ts";

/** What a reader of policies must know of its cluster. */
export interface ParseContext {
  /** Name of the local cluster (default `default`). Selectors that name no cluster mean this one. */
  cluster?: string;
  /** Whether the policies of a namespace are on trial (default: none is). */
  isAudited?: (namespace: string) => boolean;
}

const ENTRY: ReadonlySet<string> = new Set(["from", "to", "ports"]);
const PEER: ReadonlySet<string> = new Set(["podSelector", "namespaceSelector", "ipBlock"]);
const PORT: ReadonlySet<string> = new Set(["port", "endPort", "protocol"]);

/**
 * Reads a networking.k8s.io/v1 NetworkPolicy into normal form. Never throws for its content: what is not
 * understood selects nothing and is named in `problems`.
 */
export function parseNetworkPolicy(object: unknown, context: ParseContext = {}): Policy {
  const reader = new Reader();
  const raw = isObject(object) ? object : {};
  const metadata = isObject(raw["metadata"]) ? raw["metadata"] : {};
  const namespace = text(metadata["namespace"]) ?? "default";
  const uid = text(metadata["uid"]);
  const spec = new NetworkPolicyReader(reader, namespace, context.cluster ?? "default").spec(raw["spec"]);
  const trial = audited(reader, metadata, namespace, context);
  return {
    ref: {
      kind: "NetworkPolicy",
      namespace,
      name: text(metadata["name"]) ?? "",
      ...(uid !== undefined && { uid }),
    },
    specs: spec === undefined ? [] : [{ ...spec, ...trial }],
    problems: reader.problems,
  };
}

class NetworkPolicyReader {
  readonly #reader: Reader;
  readonly #namespace: string;
  readonly #cluster: string;

  constructor(reader: Reader, namespace: string, cluster: string) {
    this.#reader = reader;
    this.#namespace = namespace;
    this.#cluster = cluster;
  }

  spec(value: unknown): PolicySpec | undefined {
    const raw = this.#reader.object(value, "spec");
    if (raw === undefined) return undefined;
    const selector = this.#reader.selector(raw["podSelector"] ?? {}, "spec.podSelector", "k8s");
    if (selector === undefined) return undefined;
    const own = equals("k8s", labelKeys.namespace, this.#namespace);
    const defaultDeny = this.#directions(raw);
    const rules: Rule[] = [];
    if (defaultDeny.ingress) rules.push(...this.#rules(raw, "ingress", "from", Direction.INGRESS));
    if (defaultDeny.egress) rules.push(...this.#rules(raw, "egress", "to", Direction.EGRESS));
    const subject = { requirements: [...selector.requirements, own] };
    return { path: "spec", subject, defaultDeny, rules, tier: TIER_NORMAL, priority: 0 };
  }

  /** policyTypes absent: ingress always, egress when there are egress rules. */
  #directions(raw: Raw): { ingress: boolean; egress: boolean } {
    const types = this.#reader.items(raw, "policyTypes", "spec");
    const unknown = types?.findIndex((type) => type !== "Ingress" && type !== "Egress") ?? -1;
    if (unknown >= 0) {
      this.#reader.invalid(
        `spec.policyTypes[${unknown}]`,
        `"${String(types?.[unknown])}" is neither Ingress nor Egress: both directions are isolated`,
      );
    }
    if (types === undefined || unknown >= 0) return { ingress: true, egress: true };
    const egress = raw["egress"];
    if (types.length === 0) return { ingress: true, egress: Array.isArray(egress) && egress.length > 0 };
    return { ingress: types.includes("Ingress"), egress: types.includes("Egress") };
  }

  #rules(raw: Raw, section: "ingress" | "egress", peers: "from" | "to", direction: Direction): Rule[] {
    const entries = this.#reader.list(raw, section, "spec") ?? [];
    return entries.map((value, i) => {
      const path = `spec.${section}[${i}]`;
      const nothing = { path, direction, verdict: Verdict.ALLOW, peers: [], l4: [], named: [] };
      const entry = this.#reader.object(value, path);
      if (entry === undefined || !this.#reader.only(entry, ENTRY, path)) return nothing;
      return { ...nothing, peers: this.#peers(entry, peers, path), ...this.#ports(entry, path) };
    });
  }

  #peers(entry: Raw, field: "from" | "to", path: string): Peer[] {
    const list = this.#reader.list(entry, field, path);
    if (list === undefined || (list.length === 0 && Array.isArray(entry[field]))) return [{ kind: "all" }];
    return list.flatMap((value, i) => this.#peer(value, `${path}.${field}[${i}]`) ?? []);
  }

  #peer(value: unknown, path: string): Peer | undefined {
    const raw = this.#reader.object(value, path);
    if (raw === undefined || !this.#reader.only(raw, PEER, path)) return undefined;
    const { podSelector, namespaceSelector, ipBlock } = raw;
    if (ipBlock !== undefined && ipBlock !== null) {
      if (podSelector === undefined && namespaceSelector === undefined) {
        return this.#ipBlock(ipBlock, `${path}.ipBlock`);
      }
      return this.#reader.invalid(path, "ipBlock cannot be combined with a selector");
    }
    if (podSelector === undefined && namespaceSelector === undefined) {
      return this.#reader.invalid(path, "names no peer (want podSelector, namespaceSelector or ipBlock)");
    }
    return this.#labels(podSelector, namespaceSelector, path);
  }

  #labels(podSelector: unknown, namespaceSelector: unknown, path: string): Peer | undefined {
    const pods = this.#reader.selector(podSelector ?? {}, `${path}.podSelector`, "k8s");
    const namespaces =
      namespaceSelector === undefined || namespaceSelector === null
        ? undefined
        : this.#reader.selector(namespaceSelector, `${path}.namespaceSelector`, "k8s");
    if (pods === undefined) return undefined;
    if (namespaceSelector !== undefined && namespaceSelector !== null && namespaces === undefined)
      return undefined;
    const scope =
      namespaces === undefined
        ? [equals("k8s", labelKeys.namespace, this.#namespace)]
        : inNamespaces(namespaces);
    const requirements = [...pods.requirements, ...scope];
    if (!requirements.some(({ key }) => key === labelKeys.cluster)) {
      requirements.push(equals("k8s", labelKeys.cluster, this.#cluster));
    }
    return { kind: "labels", selector: { requirements } };
  }

  #ipBlock(value: unknown, path: string): Peer | undefined {
    const raw = this.#reader.object(value, path);
    if (raw === undefined) return undefined;
    return readCidr(this.#reader, raw["cidr"], this.#reader.items(raw, "except", path), path);
  }

  #ports(entry: Raw, path: string): { l4: L4[]; named: NamedPort[] } {
    const l4: L4[] = [];
    const named: NamedPort[] = [];
    const list = this.#reader.list(entry, "ports", path);
    if (list === undefined || (list.length === 0 && Array.isArray(entry["ports"])))
      return { l4: [anyL4], named };
    for (const [i, value] of list.entries()) {
      const at = `${path}.ports[${i}]`;
      const raw = this.#reader.object(value, at);
      if (raw === undefined || !this.#reader.only(raw, PORT, at)) continue;
      this.#port(raw, at, l4, named);
    }
    return { l4, named };
  }

  #port(raw: Raw, path: string, l4: L4[], named: NamedPort[]): void {
    const protocol = raw["protocol"] ?? "TCP";
    const proto =
      protocol === "TCP" || protocol === "UDP" || protocol === "SCTP" ? protocols[protocol] : undefined;
    if (proto === undefined) {
      this.#reader.invalid(`${path}.protocol`, `"${String(protocol)}" is not TCP, UDP or SCTP`);
      return;
    }
    const port = raw["port"] ?? undefined;
    const endPort = raw["endPort"] ?? undefined;
    if (typeof port === "string" && !/^[0-9]+$/.test(port) && endPort === undefined && port !== "") {
      named.push({ name: port.toLowerCase(), proto });
      return;
    }
    if (port === undefined && endPort === undefined) {
      l4.push(anyPort(proto));
      return;
    }
    const first = typeof port === "string" ? Number(port) : port;
    const last = endPort ?? first;
    if (!isPort(first) || !isPort(last) || last < first) {
      this.#reader.invalid(path, "is not a port, or endPort is not a port from port on");
      return;
    }
    if (first === last) l4.push(onePort(proto, first));
    else l4.push(...portRange(proto, first, last));
  }
}

/** A namespaceSelector as requirements on a pod's identity; an empty one means: in any namespace. */
function inNamespaces(namespaces: Selector): Requirement[] {
  const scoped = namespaces.requirements.map((r) => ({ ...r, key: `${labelKeys.namespaceLabels}${r.key}` }));
  return [...scoped, exists("k8s", labelKeys.namespace)];
}
