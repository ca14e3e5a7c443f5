import { type Direction, type DnsNamesOf, type PolicyRef, policyKey, type Verdict } from "./rule.ts";

/** What a rule id in a row, an event or a conntrack entry stands for. */
export interface RuleInfo {
  /** From 1 on; the same as long as the policy has the rule. */
  id: number;
  policy: PolicyRef;
  /** The entry (`spec.ingress[0]`), or the spec for a default deny (`spec`). */
  path: string;
  direction: Direction;
  verdict: Verdict;
  /** Its rank among rules. */
  precedence: number;
  /** Of a policy on trial: reports, does not decide. */
  audited?: boolean;
  /** Names that may be asked for over what it allows. */
  dns?: DnsNamesOf;
  /** Policy and path in one text, for people: `NetworkPolicy/shop/web spec.ingress[0]`. */
  name: string;
}

interface Entry extends RuleInfo {
  key: string;
  users: number;
}

/** How many ids of deleted rules are still explained: events arrive after the fact. */
const REMEMBERED = 4096;

/** Hands out rule ids and tells what they stand for. */
export class RuleTable {
  readonly #byKey = new Map<string, Entry>();
  readonly #byId = new Map<number, Entry>();
  readonly #retired = new Map<string, Entry>();
  #next: number;

  constructor(first: number) {
    this.#next = first;
  }

  /** The info of a rule, made when new; the same origin gets the same id again. Counts a user. */
  acquire(origin: Omit<RuleInfo, "id" | "name">): RuleInfo {
    const name = `${policyKey(origin.policy)} ${origin.path}`;
    const trial = origin.audited ? "/audited" : "";
    const dns = origin.dns === undefined ? "" : JSON.stringify(origin.dns);
    const key = `${name}/${origin.direction}/${origin.verdict}/${origin.precedence}${trial}${dns}`;
    const known = this.#byKey.get(key) ?? this.#retired.get(key);
    const entry = known ?? { ...origin, name, id: this.#next++, key, users: 0 };
    entry.policy = origin.policy;
    entry.users++;
    this.#retired.delete(key);
    this.#byKey.set(key, entry);
    this.#byId.set(entry.id, entry);
    return entry;
  }

  /** Gives back one use; the id stays explained for a while. */
  release(info: RuleInfo): void {
    const entry = this.#byId.get(info.id);
    if (entry === undefined || --entry.users > 0) return;
    this.#byKey.delete(entry.key);
    this.#retired.set(entry.key, entry);
    if (this.#retired.size <= REMEMBERED) return;
    for (const [key, oldest] of this.#retired) {
      this.#retired.delete(key);
      this.#byId.delete(oldest.id);
      return;
    }
  }

  /** What an id stands for, also shortly after its rule is gone. */
  get(id: number): RuleInfo | undefined {
    return this.#byId.get(id);
  }

  /** Rules in force. */
  *all(): Generator<RuleInfo> {
    yield* this.#byKey.values();
  }

  /** Puts ids back as they were before a restart, so that live connections stay explained. */
  restore(rules: Iterable<RuleInfo>): void {
    for (const { id, ...origin } of rules) {
      const next = Math.max(this.#next, id + 1);
      this.#next = id;
      this.release(this.acquire(origin));
      this.#next = next;
    }
  }
}

/** Whether `a` decides rather than `b`: higher precedence; names only break ties, so that runs agree. */
export function outranks(a: RuleInfo, b: RuleInfo): boolean {
  if (a.precedence !== b.precedence) return a.precedence > b.precedence;
  return a.name < b.name;
}
