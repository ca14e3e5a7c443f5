import { labelKeys } from "@axoneme/identity";
import { complete, readCiliumPeers, type Scope } from "./ciliumpeers.ts";
import { type DnsPorts, type Ports, readIcmps, readToPorts } from "./ciliumports.ts";
import { readRequires } from "./ciliumrequires.ts";
import { everyName } from "./fqdn.ts";
import { hostSpec, hostSubject, isHostSubject, podSubject } from "./hostpolicy.ts";
import { anyL4 } from "./l4.ts";
import type { ParseContext } from "./networkpolicy.ts";
import { isObject, type Raw, Reader, text } from "./reader.ts";
import {
  Direction,
  type Peer,
  type Policy,
  type PolicySpec,
  type Rule,
  TIER_NORMAL,
  Verdict,
} from "./rule.ts";
import { equals, type Selector } from "./selector.ts";
import { audited } from "./trial.ts";

const SPEC: ReadonlySet<string> = new Set([
  "endpointSelector",
  "nodeSelector",
  "ingress",
  "ingressDeny",
  "egress",
  "egressDeny",
  "labels",
  "enableDefaultDeny",
  "description",
  "log",
]);

/** The four lists of entries. */
const SECTIONS = [
  { field: "ingress", direction: Direction.INGRESS, verdict: Verdict.ALLOW },
  { field: "ingressDeny", direction: Direction.INGRESS, verdict: Verdict.DENY },
  { field: "egress", direction: Direction.EGRESS, verdict: Verdict.ALLOW },
  { field: "egressDeny", direction: Direction.EGRESS, verdict: Verdict.DENY },
] as const;

/**
 * Reads a CiliumNetworkPolicy or CiliumClusterwideNetworkPolicy (told apart by `kind`) into normal form. Never
 * throws for its content: what is not understood selects nothing and is named in `problems`.
 */
export function parseCiliumPolicy(object: unknown, context: ParseContext = {}): Policy {
  const reader = new Reader();
  const raw = isObject(object) ? object : {};
  const metadata = isObject(raw["metadata"]) ? raw["metadata"] : {};
  const clusterwide = raw["kind"] === "CiliumClusterwideNetworkPolicy";
  const namespace = clusterwide ? undefined : (text(metadata["namespace"]) ?? "default");
  const uid = text(metadata["uid"]);
  const specReader = new SpecReader(reader, namespace, context.cluster ?? "default");
  const trial = audited(reader, metadata, namespace, context);
  const bodies: [path: string, body: unknown][] = [];
  if (raw["spec"] !== undefined && raw["spec"] !== null) bodies.push(["spec", raw["spec"]]);
  for (const [i, body] of (reader.list(raw, "specs", "") ?? []).entries()) bodies.push([`specs[${i}]`, body]);
  if (bodies.length === 0) reader.invalid("spec", "the policy has neither spec nor specs");
  return {
    ref: {
      kind: clusterwide ? "CiliumClusterwideNetworkPolicy" : "CiliumNetworkPolicy",
      ...(namespace !== undefined && { namespace }),
      name: text(metadata["name"]) ?? "",
      ...(uid !== undefined && { uid }),
    },
    specs: bodies.flatMap(([path, body]) => {
      const spec = specReader.read(path, body);
      return spec === undefined ? [] : [{ ...spec, ...trial }];
    }),
    problems: reader.problems,
  };
}

class SpecReader {
  readonly #reader: Reader;
  readonly #namespace: string | undefined;
  readonly #cluster: string;

  constructor(reader: Reader, namespace: string | undefined, cluster: string) {
    this.#reader = reader;
    this.#namespace = namespace;
    this.#cluster = cluster;
  }

  read(path: string, body: unknown): PolicySpec | undefined {
    const raw = this.#reader.object(body, path);
    if (raw === undefined) return undefined;
    this.#reader.only(raw, SPEC, path);
    const subject = this.#subject(raw, path);
    if (subject === undefined) return undefined;
    // What should be a list of entries and is none still isolates, as one entry that selects nothing would.
    const entries = SECTIONS.map(({ field }) => this.#reader.items(raw, field, path) ?? [{}]);
    if (entries.every((list) => list.length === 0) && raw["enableDefaultDeny"] === undefined) {
      return this.#reader.invalid(path, "has no entry in ingress, ingressDeny, egress or egressDeny");
    }
    const scope: Scope = {
      namespace: this.#namespace,
      cluster: this.#cluster,
      subjectIsInit: subject.requirements.some(({ source, key }) => source === "reserved" && key === "init"),
    };
    const rules = SECTIONS.flatMap((section, s) =>
      (entries[s] ?? []).flatMap((entry, i) =>
        this.#rules(section, entry, `${path}.${section.field}[${i}]`, scope),
      ),
    );
    const defaultDeny = this.#defaultDeny(raw, path, rules);
    // A policy that only adds forbids no name either.
    const asked = defaultDeny.egress
      ? rules
      : rules.map((rule) => (rule.dns ? { ...rule, dns: everyName } : rule));
    const spec = { path, subject, defaultDeny, rules: asked, tier: TIER_NORMAL, priority: 0 };
    return isHostSubject(raw) ? hostSpec(this.#reader, spec) : spec;
  }

  #subject(raw: Raw, path: string): Selector | undefined {
    const { endpointSelector, nodeSelector } = raw;
    if (nodeSelector !== undefined && nodeSelector !== null) {
      if (endpointSelector !== undefined) {
        return this.#reader.invalid(path, "has both endpointSelector and nodeSelector");
      }
      if (this.#namespace !== undefined) {
        return this.#reader.invalid(
          `${path}.nodeSelector`,
          "is only allowed in a CiliumClusterwideNetworkPolicy",
        );
      }
      const selector = this.#reader.selector(nodeSelector, `${path}.nodeSelector`);
      return selector && hostSubject(selector);
    }
    if (endpointSelector === undefined || endpointSelector === null) {
      return this.#reader.invalid(path, "has no endpointSelector");
    }
    const at = `${path}.endpointSelector`;
    const selector = this.#reader.selector(endpointSelector, at);
    if (selector === undefined) return undefined;
    if (this.#namespace === undefined) return podSubject(selector);
    return this.#ownNamespace(selector, this.#namespace, at);
  }

  /** A namespaced policy selects in its own namespace, whatever it says. */
  #ownNamespace(selector: Selector, namespace: string, path: string): Selector {
    const own = equals("k8s", labelKeys.namespace, namespace);
    const named = selector.requirements.filter(isNamespace);
    if (named.some((r) => r.op !== "In" || r.values.length !== 1 || r.values[0] !== namespace)) {
      this.#reader.warn(path, `names another namespace than the policy's; it selects in "${namespace}" only`);
    }
    return { requirements: [...selector.requirements.filter((r) => !isNamespace(r)), own] };
  }

  /** An entry as a rule, and one more for each of its port rules that has DNS rules. */
  #rules(section: (typeof SECTIONS)[number], value: unknown, path: string, scope: Scope): Rule[] {
    const { direction, verdict } = section;
    const nothing: Rule = { path, direction, verdict, peers: [], l4: [], named: [] };
    const raw = this.#reader.object(value, path);
    if (raw === undefined) return [nothing];
    const found = readCiliumPeers(this.#reader, raw, direction, verdict, path, scope);
    const keptOut = this.#required(section, raw, path, scope);
    if (found === undefined) return [nothing, ...keptOut];
    const mayAskNames = direction === Direction.EGRESS && verdict === Verdict.ALLOW;
    const ports = this.#ports(raw, path, mayAskNames);
    if (ports === undefined) {
      // Neither peers nor ports: an entry that only switches default deny on.
      return [found.named ? { ...nothing, peers: found.peers, l4: [anyL4] } : nothing, ...keptOut];
    }
    const peers: Peer[] = found.named ? found.peers : [{ kind: "all" }];
    const { l4, named, dns } = ports;
    const asked = dns.map((names) => ({ ...nothing, peers, ...names }));
    return [{ ...nothing, peers, l4, named }, ...asked, ...keptOut];
  }

  /** What the entry requires of pods, as a denial of those that are different. A denial is not narrowed by it. */
  #required(section: (typeof SECTIONS)[number], raw: Raw, path: string, scope: Scope): Rule[] {
    const { direction, verdict } = section;
    const field = direction === Direction.INGRESS ? "fromRequires" : "toRequires";
    if (verdict === Verdict.DENY) {
      if (this.#reader.list(raw, field, path)?.length) {
        this.#reader.unsupported(`${path}.${field}`, "does not narrow a denial: it is not looked at");
      }
      return [];
    }
    const peers = readRequires(this.#reader, raw, field, path, (selector) => complete(selector, scope));
    if (peers === undefined) return [];
    return [{ path: `${path}.${field}`, direction, verdict: Verdict.DENY, peers, l4: [anyL4], named: [] }];
  }

  /** The entry's ports; undefined when it names none (toPorts and icmps absent or empty). */
  #ports(raw: Raw, path: string, mayAskNames: boolean): (Ports & { dns: DnsPorts[] }) | undefined {
    const toPorts = this.#reader.list(raw, "toPorts", path);
    const icmps = this.#reader.list(raw, "icmps", path);
    const hasPorts = toPorts !== undefined && (toPorts.length > 0 || !Array.isArray(raw["toPorts"]));
    const hasIcmps = icmps !== undefined && (icmps.length > 0 || !Array.isArray(raw["icmps"]));
    if (hasPorts && hasIcmps) {
      this.#reader.invalid(path, "toPorts and icmps cannot be combined in one entry");
      return { l4: [], named: [], dns: [] };
    }
    if (hasPorts) return readToPorts(this.#reader, toPorts, `${path}.toPorts`, mayAskNames);
    if (hasIcmps) return { l4: readIcmps(this.#reader, icmps, `${path}.icmps`), named: [], dns: [] };
    return undefined;
  }

  /** Absent: on in each direction that has an entry. */
  #defaultDeny(raw: Raw, path: string, rules: readonly Rule[]): { ingress: boolean; egress: boolean } {
    const given = raw["enableDefaultDeny"] ?? {};
    const config = this.#reader.object(given, `${path}.enableDefaultDeny`) ?? {};
    const read = (field: "ingress" | "egress", direction: Direction): boolean => {
      const value = config[field] ?? undefined;
      if (typeof value === "boolean") return value;
      if (value !== undefined) this.#reader.invalid(`${path}.enableDefaultDeny.${field}`, "is not a boolean");
      return rules.some((rule) => rule.direction === direction);
    };
    return { ingress: read("ingress", Direction.INGRESS), egress: read("egress", Direction.EGRESS) };
  }
}

function isNamespace({ source, key }: { source: string; key: string }): boolean {
  return key === labelKeys.namespace && (source === "k8s" || source === "any");
}
