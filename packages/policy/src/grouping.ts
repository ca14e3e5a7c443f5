import type { ActiveSpecs } from "./activespecs.ts";
import type { CompiledSpec, Distinct, Standing } from "./compiledtypes.ts";
import type { Contributor } from "./contribute.ts";
import { denyJoined, denyLeft, firstDeny, noDenies } from "./denies.ts";
import { type Defaults, DistinctRows } from "./distinct.ts";
import type { DnsRuleTable } from "./dnsrules.ts";
import { type Default, isLayered } from "./judge.ts";
import { anyL4, l4Code } from "./l4.ts";
import { LayeredRows } from "./layered.ts";
import { type ContainerPort, namedKey } from "./peerports.ts";
import type { Placements } from "./placements.ts";
import { Direction, type PolicyRef, precedence, TIER_NORMAL, Verdict } from "./rule.ts";
import type { RuleInfo, RuleTable } from "./ruletable.ts";
import { NO_SPECS, type SpecDelta, type SpecSum, sumAfter } from "./specset.ts";

/** When endpoints are default deny: when a policy says so, always, or never. */
export type Enforcement = "default" | "always" | "never";

/** What decides to which distinct policy an endpoint belongs: the one it has, and what is different. */
export interface Membership extends SpecDelta<CompiledSpec> {
  readonly sum: SpecSum;
  readonly resolution: ReadonlyMap<string, readonly number[]>;
  readonly standing: Standing;
  /** How many specs know tiers, Pass, trial or DNS rules. */
  readonly layered: number;
  /** Equal for equal memberships; empty = no policy. */
  readonly key: string;
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

const LOCALHOST_CODE = l4Code(Direction.INGRESS, anyL4);
const UNRESOLVED: ReadonlyMap<string, readonly number[]> = new Map();

/** What a grouping is told. */
export interface GroupingOptions {
  enforcement: Enforcement;
  allowLocalhost: boolean;
  hostIdentity: number;
  audit: boolean;
  dns: DnsRuleTable;
  placements: Placements;
}

/** Makes distinct policies and changes them in place. */
export class Grouping {
  readonly #contributor: Contributor;
  readonly #active: ActiveSpecs;
  readonly #builtins: Builtins;
  readonly #options: GroupingOptions;

  constructor(contributor: Contributor, active: ActiveSpecs, own: Builtins, options: GroupingOptions) {
    this.#contributor = contributor;
    this.#active = active;
    this.#builtins = own;
    this.#options = options;
  }

  /** The membership of an endpoint with these ports after a change of the specs that select it. */
  membership(
    from: Distinct | undefined,
    delta: SpecDelta<CompiledSpec>,
    standing: Standing,
    ports: readonly ContainerPort[],
  ): Membership {
    const { enforcement } = this.#options;
    const { gained, lost } = delta;
    const sum = sumAfter(from?.sum ?? NO_SPECS, delta);
    const resolution = resolve(namesAfter(from, delta), ports);
    const layered = (from?.layered ?? 0) + count(gained, isLayeredSpec) - count(lost, isLayeredSpec);
    const always = standing === "init" || (enforcement === "always" && standing !== "host");
    const key =
      enforcement === "never" || (sum.size === 0 && !always) ? "" : keyOf(sum, standing, resolution);
    return { gained, lost, sum, resolution, standing, layered, key };
  }

  /** A new distinct policy with all its rows, and no endpoint yet. */
  create(policyId: number, from: Distinct | undefined, membership: Membership): Distinct {
    const { audit, dns, placements } = this.#options;
    const { gained, lost, layered, standing, key, sum, resolution } = membership;
    const distinct: Distinct = {
      key,
      sum: NO_SPECS,
      rows:
        layered > 0 ? new LayeredRows(policyId, audit, dns, placements) : new DistinctRows(policyId, audit),
      layered: 0,
      specs: new Set(),
      endpoints: new Set(),
      names: new Map(),
      resolution,
      standing,
      localhost: false,
      ingressDenies: 0,
      firstDenies: noDenies(),
    };
    const kept = [...(from?.specs ?? [])].filter((spec) => !lost.has(spec));
    this.evolve(distinct, { ...membership, sum, gained: new Set([...kept, ...gained]), lost: new Set() });
    return distinct;
  }

  /** Whether `evolve` may turn one into the other: names that stay in use must mean the same ports. */
  canEvolve(distinct: Distinct, to: Membership): boolean {
    if (distinct.standing !== to.standing || distinct.layered > 0 !== to.layered > 0) return false;
    for (const [name, ports] of distinct.resolution) {
      const next = to.resolution.get(name);
      if (next !== undefined && next.join() !== ports.join()) return false;
    }
    return true;
  }

  /** Takes out the specs that no longer apply and adds those that newly do. */
  evolve(distinct: Distinct, { lost, gained, key, sum, resolution }: Membership): void {
    for (const spec of lost) this.#detach(distinct, spec);
    distinct.key = key;
    distinct.sum = sum;
    distinct.resolution = resolution;
    for (const spec of gained) this.#attach(distinct, spec);
    this.#placeLocalhost(distinct);
  }

  #attach(distinct: Distinct, spec: CompiledSpec): void {
    this.#active.need(spec);
    distinct.specs.add(spec);
    spec.distincts.add(distinct);
    this.#counted(distinct, spec, 1);
    denyJoined(distinct, spec);
    for (const rule of spec.rules) this.#contributor.rule(rule, distinct, 1);
  }

  #detach(distinct: Distinct, spec: CompiledSpec): void {
    for (const rule of spec.rules) this.#contributor.rule(rule, distinct, -1);
    distinct.specs.delete(spec);
    spec.distincts.delete(distinct);
    this.#counted(distinct, spec, -1);
    denyLeft(distinct, spec);
    this.#active.leave(spec);
  }

  #counted(distinct: Distinct, spec: CompiledSpec, by: 1 | -1): void {
    if (isLayeredSpec(spec)) distinct.layered += by;
    if (spec.deny[0] !== undefined) distinct.ingressDenies += by;
    for (const name of spec.ingressNames) countName(distinct.names, name, by);
  }

  /** The node may always reach its pods (probes), unless told otherwise: a row where ingress is enforced. */
  #placeLocalhost(distinct: Distinct): void {
    const wanted = this.#options.allowLocalhost && distinct.ingressDenies > 0 && distinct.standing !== "host";
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
    const { audited, enforced } = firstDeny(distinct, direction);
    return { enforced: enforced ?? this.#builtin(distinct), audited };
  }

  #builtin({ standing }: Distinct): RuleInfo | undefined {
    const { init, always } = this.#builtins;
    if (standing === "init") return init;
    return standing === "pod" && this.#options.enforcement === "always" ? always : undefined;
  }

  /** Unlinks a distinct policy nobody uses from its specs. */
  discard(distinct: Distinct): void {
    for (const spec of distinct.specs) {
      spec.distincts.delete(distinct);
      this.#active.leave(spec);
    }
  }
}

function isLayeredSpec({ spec }: CompiledSpec): boolean {
  return isLayered(spec);
}

function count(specs: Iterable<CompiledSpec>, holds: (spec: CompiledSpec) => boolean): number {
  let number = 0;
  for (const spec of specs) if (holds(spec)) number++;
  return number;
}

function countName(names: Map<string, number>, name: string, by: 1 | -1): void {
  const users = (names.get(name) ?? 0) + by;
  if (users > 0) names.set(name, users);
  else names.delete(name);
}

function namesAfter(
  from: Distinct | undefined,
  { gained, lost }: SpecDelta<CompiledSpec>,
): ReadonlyMap<string, number> {
  const names = new Map(from?.names);
  for (const spec of lost) for (const name of spec.ingressNames) countName(names, name, -1);
  for (const spec of gained) for (const name of spec.ingressNames) countName(names, name, 1);
  return names;
}

function resolve(
  names: ReadonlyMap<string, number>,
  ports: readonly ContainerPort[],
): Membership["resolution"] {
  if (names.size === 0) return UNRESOLVED;
  const resolution = new Map<string, number[]>([...names.keys()].map((name) => [name, []]));
  for (const port of ports) resolution.get(namedKey(port))?.push(port.port);
  for (const numbers of resolution.values()) numbers.sort((a, b) => a - b);
  return resolution;
}

function keyOf({ a, b, size }: SpecSum, standing: Standing, resolution: Membership["resolution"]): string {
  const names = [...resolution].map(([name, numbers]) => `${name}=${numbers.join(",")}`).sort();
  return `${standing === "pod" ? "" : standing}|${size}.${a}.${b}|${names.join(";")}`;
}
