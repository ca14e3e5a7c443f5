import type { Labels } from "@axoneme/identity";
import { type CompiledSpec, contributeRule, type Distinct } from "./compiled.ts";
import { type Defaults, DistinctRows } from "./distinct.ts";
import type { DnsRuleTable } from "./dnsrules.ts";
import { type Default, isLayered } from "./judge.ts";
import { anyL4, l4Code } from "./l4.ts";
import { LayeredRows } from "./layered.ts";
import { type ContainerPort, namedKey, type PeerPorts } from "./peerports.ts";
import { Direction, type PolicyRef, precedence, TIER_NORMAL, Verdict } from "./rule.ts";
import type { RuleInfo, RuleTable } from "./ruletable.ts";

/** When endpoints are default deny: when a policy says so, always, or never. */
export type Enforcement = "default" | "always" | "never";

/** What decides to which distinct policy an endpoint belongs. */
export interface Membership {
  /** Equal for equal memberships; empty = no policy. */
  key: string;
  specs: readonly CompiledSpec[];
  resolution: ReadonlyMap<string, readonly number[]>;
  init: boolean;
  /** Tiers, Pass, policies on trial or DNS rules are involved. */
  layered: boolean;
}

/** Rules the engine adds by itself. */
export interface Builtins {
  localhost: RuleInfo;
  always: RuleInfo;
  init: RuleInfo;
}

/** Registers the built-in rules. */
export function builtins(rules: RuleTable): Builtins {
  const make = (name: string, verdict: Verdict): RuleInfo => {
    const policy: PolicyRef = { kind: "Builtin", name };
    const value = precedence({ tier: TIER_NORMAL, priority: 0 }, verdict);
    return rules.acquire({ policy, path: "", direction: Direction.INGRESS, verdict, precedence: value });
  };
  return {
    localhost: make("allow-localhost", Verdict.ALLOW),
    always: make("enforcement-always", Verdict.DEFAULT_DENY),
    init: make("identity-init", Verdict.DEFAULT_DENY),
  };
}

/** The membership of an endpoint that these specs select. */
export function membershipOf(
  specs: Iterable<CompiledSpec>,
  labels: Labels,
  ports: readonly ContainerPort[],
  enforcement: Enforcement,
): Membership {
  const none: Membership = { key: "", specs: [], resolution: new Map(), init: false, layered: false };
  if (enforcement === "never") return none;
  const sorted = [...specs].sort((a, b) => a.id - b.id);
  const init = labels["reserved:init"] !== undefined;
  if (sorted.length === 0 && !init && enforcement !== "always") return none;
  const resolution = resolve(sorted, ports);
  const names = [...resolution].map(([name, numbers]) => `${name}=${numbers.join(",")}`).sort();
  const key = `${init ? "init" : ""}|${sorted.map(({ id }) => id).join()}|${names.join(";")}`;
  return { key, specs: sorted, resolution, init, layered: sorted.some(({ spec }) => isLayered(spec)) };
}

function resolve(specs: readonly CompiledSpec[], ports: readonly ContainerPort[]): Map<string, number[]> {
  const resolution = new Map<string, number[]>();
  for (const spec of specs) for (const name of spec.ingressNames) resolution.set(name, []);
  if (resolution.size === 0) return resolution;
  for (const port of ports) resolution.get(namedKey(port))?.push(port.port);
  for (const numbers of resolution.values()) numbers.sort((a, b) => a - b);
  return resolution;
}

const LOCALHOST_CODE = l4Code(Direction.INGRESS, anyL4);

/** Makes distinct policies and changes them in place. */
export class Grouping {
  readonly #ports: PeerPorts;
  readonly #builtins: Builtins;
  readonly #options: {
    enforcement: Enforcement;
    allowLocalhost: boolean;
    hostIdentity: number;
    audit: boolean;
    dns: DnsRuleTable;
  };

  constructor(
    ports: PeerPorts,
    own: Builtins,
    options: {
      enforcement: Enforcement;
      allowLocalhost: boolean;
      hostIdentity: number;
      audit: boolean;
      dns: DnsRuleTable;
    },
  ) {
    this.#ports = ports;
    this.#builtins = own;
    this.#options = options;
  }

  /** A new distinct policy with all its rows, and no endpoint yet. */
  create(policyId: number, membership: Membership): Distinct {
    const { audit } = this.#options;
    const { layered } = membership;
    const distinct: Distinct = {
      key: membership.key,
      rows: layered ? new LayeredRows(policyId, audit, this.#options.dns) : new DistinctRows(policyId, audit),
      layered,
      specs: new Set(),
      endpoints: new Set(),
      resolution: membership.resolution,
      init: membership.init,
      localhost: false,
    };
    this.evolve(distinct, membership);
    return distinct;
  }

  /** Whether `evolve` may turn one into the other: names that stay in use must mean the same ports. */
  canEvolve(distinct: Distinct, to: Membership): boolean {
    if (distinct.init !== to.init || distinct.layered !== to.layered) return false;
    for (const [name, ports] of distinct.resolution) {
      const next = to.resolution.get(name);
      if (next !== undefined && next.join() !== ports.join()) return false;
    }
    return true;
  }

  /** Takes out the specs that no longer apply and adds those that newly do. */
  evolve(distinct: Distinct, to: Membership): void {
    const wanted = new Set(to.specs);
    for (const spec of [...distinct.specs]) if (!wanted.has(spec)) this.#detach(distinct, spec);
    distinct.key = to.key;
    distinct.resolution = to.resolution;
    for (const spec of to.specs) {
      if (distinct.specs.has(spec)) continue;
      distinct.specs.add(spec);
      spec.distincts.add(distinct);
      for (const rule of spec.rules) contributeRule(rule, distinct, this.#ports, 1);
    }
    this.#placeLocalhost(distinct);
  }

  #detach(distinct: Distinct, spec: CompiledSpec): void {
    for (const rule of spec.rules) contributeRule(rule, distinct, this.#ports, -1);
    distinct.specs.delete(spec);
    spec.distincts.delete(distinct);
  }

  /** The node may always reach its pods (probes), unless told otherwise: a row where ingress is enforced. */
  #placeLocalhost(distinct: Distinct): void {
    const wanted =
      this.#options.allowLocalhost && [...distinct.specs].some(({ deny }) => deny[0] !== undefined);
    if (wanted === distinct.localhost) return;
    distinct.localhost = wanted;
    const { hostIdentity } = this.#options;
    if (wanted) distinct.rows.add(LOCALHOST_CODE, hostIdentity, this.#builtins.localhost);
    else distinct.rows.remove(LOCALHOST_CODE, hostIdentity, this.#builtins.localhost);
  }

  /** Which rules stand for default deny, per direction; among several the first by name. */
  defaults(distinct: Distinct): Defaults {
    return [this.#default(distinct, 0), this.#default(distinct, 1)];
  }

  #default(distinct: Distinct, direction: 0 | 1): Default {
    const { audited, enforced } = firstOf(distinct, direction);
    const { init, always } = this.#builtins;
    const builtin = distinct.init ? init : this.#options.enforcement === "always" ? always : undefined;
    return { enforced: enforced ?? builtin, audited };
  }

  /** Unlinks a distinct policy nobody uses from its specs. */
  discard(distinct: Distinct): void {
    for (const spec of distinct.specs) spec.distincts.delete(distinct);
  }
}

function firstOf({ specs }: Distinct, direction: 0 | 1): Default {
  const first: { enforced: RuleInfo | undefined; audited: RuleInfo | undefined } = {
    enforced: undefined,
    audited: undefined,
  };
  for (const { deny } of specs) {
    const info = deny[direction];
    if (info === undefined) continue;
    const kind = info.audited ? "audited" : "enforced";
    const other = first[kind];
    if (other === undefined || info.name < other.name) first[kind] = info;
  }
  return first;
}
