import { fqdnSelectors } from "./fqdn.ts";
import type { ParseContext } from "./networkpolicy.ts";
import { isObject, type Raw, Reader, text } from "./reader.ts";
import { Direction, type Policy, type PolicyRef, type PolicySpec, type Rule, Verdict } from "./rule.ts";
import type { Selector } from "./selector.ts";
import { withDnsServers } from "./tierdns.ts";
import { readScoped, readTierPeers } from "./tierpeers.ts";
import { readPorts, readProtocols } from "./tierports.ts";
import { audited } from "./trial.ts";

type Kind = Extract<
  PolicyRef["kind"],
  "AdminNetworkPolicy" | "BaselineAdminNetworkPolicy" | "ClusterNetworkPolicy"
>;

const SPEC: ReadonlySet<string> = new Set(["tier", "priority", "subject", "ingress", "egress"]);
const SUBJECT: ReadonlySet<string> = new Set(["namespaces", "pods"]);
const TIERS: Readonly<Record<string, number>> = { Admin: 100, Baseline: 250 };
const ACTIONS: Readonly<Record<string, Rule["verdict"]>> = {
  Accept: Verdict.ALLOW,
  Allow: Verdict.ALLOW,
  Deny: Verdict.DENY,
  Pass: Verdict.PASS,
};
const SECTIONS = [
  { field: "ingress", peers: "from", direction: Direction.INGRESS },
  { field: "egress", peers: "to", direction: Direction.EGRESS },
] as const;
/** Most rules of a direction: their places have to fit into a rank. */
const MOST_RULES = 100;
const MOST_PRIORITY = 1000;

/**
 * Reads a policy of policy.networking.k8s.io (ClusterNetworkPolicy, AdminNetworkPolicy, BaselineAdminNetworkPolicy;
 * told apart by `kind`) into normal form. Never throws for its content. A rule of which a part is not understood
 * allows only what is understood; where it denies or passes, it denies everything, as the API demands.
 */
export function parseTierPolicy(object: unknown, context: ParseContext = {}): Policy {
  const reader = new Reader();
  const raw = isObject(object) ? object : {};
  const metadata = isObject(raw["metadata"]) ? raw["metadata"] : {};
  const kind = raw["kind"] as Kind;
  const uid = text(metadata["uid"]);
  const spec = reader.object(raw["spec"], "spec");
  const read = spec && new TierReader(reader, kind, context.cluster ?? "default").spec(spec);
  const trial = audited(reader, metadata, undefined, context);
  return {
    ref: { kind, name: text(metadata["name"]) ?? "", ...(uid !== undefined && { uid }) },
    specs: read === undefined ? [] : [{ ...read, ...trial }],
    problems: reader.problems,
  };
}

class TierReader {
  readonly #reader: Reader;
  readonly #kind: Kind;
  readonly #cluster: string;

  constructor(reader: Reader, kind: Kind, cluster: string) {
    this.#reader = reader;
    this.#kind = kind;
    this.#cluster = cluster;
  }

  spec(raw: Raw): PolicySpec | undefined {
    this.#reader.only(raw, SPEC, "spec");
    const tier = this.#tier(raw);
    const priority = this.#priority(raw);
    const subject = this.#subject(raw["subject"]);
    if (tier === undefined || priority === undefined || subject === undefined) return undefined;
    const rules = SECTIONS.flatMap((section) => this.#rules(raw, section));
    return { path: "spec", subject, defaultDeny: { ingress: false, egress: false }, rules, tier, priority };
  }

  #tier(raw: Raw): number | undefined {
    if (this.#kind === "AdminNetworkPolicy") return TIERS["Admin"];
    if (this.#kind === "BaselineAdminNetworkPolicy") return TIERS["Baseline"];
    const tier = TIERS[String(raw["tier"])];
    return (
      tier ?? this.#reader.invalid("spec.tier", `"${String(raw["tier"])}" is neither Admin nor Baseline`)
    );
  }

  #priority(raw: Raw): number | undefined {
    const { priority } = raw;
    if (this.#kind === "BaselineAdminNetworkPolicy") return 0;
    if (typeof priority === "number" && Number.isInteger(priority)) {
      if (priority >= 0 && priority <= MOST_PRIORITY) return priority;
    }
    return this.#reader.invalid("spec.priority", `is not a whole number from 0 to ${MOST_PRIORITY}`);
  }

  #subject(value: unknown): Selector | undefined {
    const raw = this.#reader.object(value, "spec.subject");
    if (raw === undefined || !this.#reader.only(raw, SUBJECT, "spec.subject")) return undefined;
    const requirements = readScoped(this.#reader, raw, "spec.subject");
    return requirements && { requirements };
  }

  #rules(raw: Raw, section: (typeof SECTIONS)[number]): Rule[] {
    const path = `spec.${section.field}`;
    const list = this.#reader.items(raw, section.field, "spec") ?? [{}];
    if (list.length > MOST_RULES)
      this.#reader.invalid(path, `has more than ${MOST_RULES} rules: the rest denies`);
    return list
      .slice(0, MOST_RULES + 1)
      .map((value, i) => this.#rule(i < MOST_RULES ? value : undefined, `${path}[${i}]`, i, section))
      .flatMap((rule) => withDnsServers(rule, this.#cluster));
  }

  #rule(value: unknown, path: string, order: number, section: (typeof SECTIONS)[number]): Rule {
    const { direction } = section;
    const before = this.#reader.problems.length;
    const raw = this.#reader.object(value, path) ?? {};
    const ports = this.#kind === "ClusterNetworkPolicy" ? "protocols" : "ports";
    const known = this.#reader.only(raw, new Set(["name", "action", section.peers, ports]), path);
    const action = ACTIONS[String(raw["action"])];
    if (action === undefined || !this.#mayPass(action)) {
      this.#reader.invalid(`${path}.action`, `"${String(raw["action"])}" is no action here: the rule denies`);
    }
    const peers = readTierPeers(this.#reader, raw, section.peers, path, this.#cluster);
    if (action !== Verdict.ALLOW && fqdnSelectors([{ peers }]).length > 0) {
      this.#reader.invalid(`${path}.${section.peers}`, "domain names can only be accepted: the rule denies");
    }
    const l4 =
      ports === "protocols" ? readProtocols(this.#reader, raw, path) : readPorts(this.#reader, raw, path);
    const understood = this.#reader.problems.length === before;
    if (action === Verdict.ALLOW) {
      const allowed = known ? { peers, ...l4 } : { peers: [], l4: [], named: [] };
      return { path, direction, verdict: action, order, ...allowed };
    }
    if (understood && action !== undefined) return { path, direction, verdict: action, order, peers, ...l4 };
    const everything = {
      peers: [{ kind: "all" as const }],
      l4: [{ proto: 0, port: 0, shape: 0 }],
      named: [],
    };
    return { path, direction, verdict: Verdict.DENY, order, ...everything };
  }

  #mayPass(action: Rule["verdict"]): boolean {
    return action !== Verdict.PASS || this.#kind !== "BaselineAdminNetworkPolicy";
  }
}
