import { everyName, unite } from "./fqdn.ts";
import { type Default, decideBy } from "./judge.ts";
import { type DnsNames, Verdict } from "./rule.ts";
import { outranks, type RuleInfo } from "./ruletable.ts";

/** A distinct set of DNS rules: rows that redirect carry its id. */
export interface DnsRuleSet extends DnsNames {
  /** 1..65535. */
  readonly id: number;
}

const LAST_ID = 65_535;

interface Entry {
  readonly set: DnsRuleSet;
  readonly key: string;
  users: number;
  /** Given out by `take`. */
  told: boolean;
}

/**
 * Which names may be asked for over an allowed connection; undefined: it does not go to the proxy. It does as soon as
 * any rule that matches it has DNS rules, so that names are learned; but it is those rules that decide which restrict it,
 * all of one rank together, and one of them without DNS rules lets every name through. Rules on trial restrict nothing.
 */
export function namesOver(
  rules: readonly RuleInfo[],
  fallback: Default,
  audit: boolean,
): DnsNames | undefined {
  if (!rules.some(({ dns }) => dns !== undefined)) return undefined;
  if (audit) return everyName;
  const enforced = rules.filter((rule) => !rule.audited);
  return restricted(
    [...new Set(enforced)].sort((a, b) => (outranks(a, b) ? -1 : 1)),
    fallback,
  );
}

/** What rules in order of rank let through. */
function restricted(ranked: readonly RuleInfo[], fallback: Default): DnsNames {
  const first = decideBy(ranked, fallback.enforced);
  if (first === undefined) return everyName;
  if (first.verdict !== Verdict.ALLOW) return unite([]);
  const equals = ranked.filter(
    ({ precedence, verdict }) => precedence === first.precedence && verdict === Verdict.ALLOW,
  );
  const dns = equals.flatMap((rule) => rule.dns ?? everyName);
  if (!equals.every((rule) => rule.dns?.andOthers)) return unite(dns);
  const rest = ranked.filter((rule) => !equals.includes(rule));
  return unite([...dns, restricted(rest, fallback)]);
}

/** Gives out the ids of DNS rule sets: the same for all rows with the same rules, and given up ones as late as can be. */
export class DnsRuleTable {
  readonly #byKey = new Map<string, Entry>();
  readonly #byId = new Map<number, Entry>();
  readonly #changed = new Set<Entry>();
  #next = 1;

  /** The id of a set, made when new; counts a user. 0 when all are in use. */
  acquire(names: DnsNames): number {
    const key = JSON.stringify([names.names, names.patterns]);
    const entry = this.#byKey.get(key) ?? this.#make(key, names);
    if (entry === undefined) return 0;
    if (entry.users++ === 0) this.#changed.add(entry);
    return entry.set.id;
  }

  /** Gives back one use. */
  release(id: number): void {
    const entry = this.#byId.get(id);
    if (entry !== undefined && --entry.users === 0) this.#changed.add(entry);
  }

  /** Sets that came into use since the last call, and ids that went out of it: these are given up. */
  take(): { added: DnsRuleSet[]; removed: number[] } {
    const added: DnsRuleSet[] = [];
    const removed: number[] = [];
    for (const entry of this.#changed) {
      if (entry.users > 0) {
        if (!entry.told) added.push(entry.set);
        entry.told = true;
      } else if (this.#forget(entry) && entry.told) removed.push(entry.set.id);
    }
    this.#changed.clear();
    return { added, removed };
  }

  /** The sets in use. */
  *all(): Generator<DnsRuleSet> {
    for (const { set, users } of this.#byId.values()) if (users > 0) yield set;
  }

  /** Puts ids back as they were before a restart; they wait for a use until `dropUnused`. */
  restore(sets: Iterable<DnsRuleSet>): void {
    for (const { id, names, patterns } of sets) {
      const key = JSON.stringify([names, patterns]);
      if (id < 1 || id > LAST_ID || this.#byId.has(id) || this.#byKey.has(key)) continue;
      this.#insert(key, { id, names, patterns });
      if (id >= this.#next) this.#next = id + 1;
    }
  }

  /** Forgets what was restored and has no use; returns the ids. */
  dropUnused(): number[] {
    const unused = [...this.#byId.values()].filter(({ users }) => users === 0);
    for (const entry of unused) this.#forget(entry);
    return unused.map(({ set }) => set.id);
  }

  #make(key: string, { names, patterns }: DnsNames): Entry | undefined {
    for (let tries = 0; tries < LAST_ID; tries++) {
      if (this.#next > LAST_ID) this.#next = 1;
      const id = this.#next++;
      if (!this.#byId.has(id)) return this.#insert(key, { id, names, patterns });
    }
    return undefined;
  }

  #insert(key: string, set: DnsRuleSet): Entry {
    const entry: Entry = { set, key, users: 0, told: false };
    this.#byKey.set(key, entry);
    this.#byId.set(set.id, entry);
    return entry;
  }

  #forget(entry: Entry): boolean {
    this.#byKey.delete(entry.key);
    return this.#byId.delete(entry.set.id);
  }
}
