import {
  formatPrefix,
  hostPrefix,
  type Ip,
  type Logger,
  type Prefix,
  parseIp,
  parsePrefix,
  prefixEqual,
} from "@axoneme/base";
import { type CacheEntry, type CacheLimits, DnsCache, type NamedAddress } from "@axoneme/dns";
import type { Ipcache, LocalIdentities } from "@axoneme/identity";
import {
  type DnsRuleSet,
  FqdnClasses,
  type FqdnMove,
  fqdnSelectors,
  type Policy,
  type PolicyEngine,
} from "@axoneme/policy";
import type { NameJournal, SavedNames } from "./journal.ts";
import type { PolicyNames } from "./policy-names.ts";

/** What names are kept with. */
export interface LearnedNamesDeps {
  readonly engine: PolicyEngine;
  readonly localIdentities: LocalIdentities;
  readonly ipcache: Ipcache;
  readonly limits: CacheLimits;
  readonly dualStack: boolean;
  readonly journal: NameJournal;
  readonly log: Logger;
}

/** Who owns what the ipcache says of learned addresses. */
const owner = "dns";
/** What an agent restored stays at least as long: pods may have asked while nobody listened. */
const restoredMs = 120_000;

/**
 * Names that this node's pods have learned, and the identities their addresses get. Whoever changes something calls
 * `plan`, writes the policy rows of the identities that came by it, and then calls `publish`: a packet never carries an
 * identity without rows.
 */
export class LearnedNames implements PolicyNames {
  readonly cache: DnsCache;
  readonly classes: FqdnClasses;
  readonly #deps: LearnedNamesDeps;
  /** By policy. */
  readonly #selectors = new Map<string, readonly string[]>();
  #moves: FqdnMove[] = [];
  /** The proxy is told of rule sets: before rows name them, and after. */
  onRules: (added: readonly DnsRuleSet[], removed: readonly number[]) => void = () => undefined;
  /** Rule sets that the rows of an earlier agent name. */
  #restoredRules: readonly DnsRuleSet[] = [];

  constructor(deps: LearnedNamesDeps) {
    this.#deps = deps;
    this.cache = new DnsCache(deps.limits);
    this.classes = new FqdnClasses(deps.localIdentities, { dualStack: deps.dualStack });
  }

  // ---- restart ----------------------------------------------------------------------------------------------------

  /**
   * Takes in what an earlier agent left, before the first policy. `carried`: addresses with the identities that the
   * kernel has for them.
   */
  restore(saved: SavedNames, carried: Iterable<readonly [Ip, number]>, now: number): void {
    const { engine, ipcache, log } = this.#deps;
    this.#restoredRules = saved.rules;
    engine.dnsRules.restore(saved.rules);
    const members = new Map<number, Ip[]>(saved.classes.map(({ id }) => [id, []]));
    for (const [ip, identity] of carried) members.get(identity)?.push(ip);
    for (const { id, selectors, prefix } of saved.classes) {
      const restored = this.classes.restore(id, selectors, parsePrefix(prefix), members.get(id) ?? []);
      if (restored === undefined) continue;
      engine.addIdentity(id, restored.labels);
      for (const ip of members.get(id) ?? []) ipcache.upsert(hostPrefix(ip), "fqdn", owner, { identity: id });
    }
    this.#learned({ added: this.cache.restore(saved.entries, now + restoredMs), removed: [] });
    if (this.cache.size > 0) {
      log.info(
        { addresses: this.cache.size, classes: saved.classes.length },
        "DNS names of an earlier agent restored",
      );
    }
  }

  /** All endpoints are known: what others learned goes. */
  keepEndpoints(isKnown: (endpoint: number) => boolean): void {
    this.#learned({ added: [], removed: this.cache.remove(({ endpoint }) => !isKnown(endpoint)) });
  }

  /** Ids of rule sets that were restored and that no row names. */
  dropUnusedRules(): number[] {
    this.#restoredRules = [];
    return this.#deps.engine.dnsRules.dropUnused();
  }

  // ---- what policies name -----------------------------------------------------------------------------------------

  /** A policy is about to be in force in this form: the names of its old and its new form are looked at. */
  hold(key: string, policy: Policy): void {
    const selectors = fqdnSelectors(policy.specs.flatMap(({ rules }) => rules));
    const known = this.#selectors.get(key) ?? [];
    for (const selector of selectors) this.classes.addSelector(selector);
    if (selectors.length + known.length > 0) this.#selectors.set(key, [...known, ...selectors]);
  }

  /** A policy is in force in this form, or in none. */
  keepOnly(key: string, policy: Policy | undefined): void {
    const held = [...(this.#selectors.get(key) ?? [])];
    const kept = policy === undefined ? [] : fqdnSelectors(policy.specs.flatMap(({ rules }) => rules));
    for (const selector of kept) {
      const at = held.indexOf(selector);
      if (at >= 0) held.splice(at, 1);
    }
    for (const selector of held) this.classes.removeSelector(selector);
    if (kept.length > 0) this.#selectors.set(key, kept);
    else this.#selectors.delete(key);
  }

  /** The policies that name a selector. */
  policiesOf(selector: string): string[] {
    return [...this.#selectors].filter(([, selectors]) => selectors.includes(selector)).map(([key]) => key);
  }

  /** Rules name a prefix: addresses inside of it are another class. */
  prefixAdded(prefix: Prefix): void {
    this.classes.addPrefix(prefix);
  }

  /** No rule names a prefix any more. */
  prefixRemoved(prefix: Prefix): void {
    this.classes.removePrefix(prefix);
  }

  // ---- rule sets --------------------------------------------------------------------------------------------------

  /** Rows are about to name these rule sets: their ids must mean the same after a restart, and to the proxy. */
  rulesAdded(sets: readonly DnsRuleSet[]): void {
    if (sets.length === 0) return;
    this.#deps.journal.append({ rules: sets });
    this.onRules(sets, []);
  }

  /** No row names these rule sets any more. */
  rulesRemoved(ids: readonly number[]): void {
    if (ids.length > 0) this.onRules([], ids);
  }

  // ---- what pods learn --------------------------------------------------------------------------------------------

  /** An endpoint was told the addresses of a name. */
  learn(
    endpoint: number,
    name: string,
    addresses: readonly { ip: string; ttl: number }[],
    now: number,
  ): CacheEntry[] {
    const change = this.cache.learn(endpoint, name, addresses, now);
    this.#learned(change);
    return change.fresh;
  }

  /** An endpoint is gone. */
  endpointGone(endpoint: number): void {
    this.#learned({ added: [], removed: this.cache.forgetEndpoint(endpoint) });
  }

  /** Removes entries; how many went. */
  remove(isMeant: (entry: CacheEntry) => boolean): number {
    const before = this.cache.size;
    this.#learned({ added: [], removed: this.cache.remove(isMeant) });
    return before - this.cache.size;
  }

  /** Removes dead entries that are not in use; how many went. */
  sweep(dead: readonly CacheEntry[], isUsed: (entry: CacheEntry) => boolean, now: number): number {
    const before = this.cache.size;
    this.#learned({ added: [], removed: this.cache.sweep(dead, isUsed, now) });
    return before - this.cache.size;
  }

  #learned({ added, removed }: { added: readonly NamedAddress[]; removed: readonly NamedAddress[] }): void {
    for (const { ip, name } of removed) this.classes.forget(parseIp(ip), name);
    for (const { ip, name } of added) this.classes.learn(parseIp(ip), name);
  }

  // ---- identities -------------------------------------------------------------------------------------------------

  /**
   * Works out which addresses get another identity, and tells the engine of new identities. False: nothing changes.
   * Commit the engine, then publish.
   */
  plan(): boolean {
    const { engine, journal, log } = this.#deps;
    const { created, moves, exhausted } = this.classes.plan();
    for (const { id, labels } of created) engine.addIdentity(id, labels);
    journal.append({ classes: created.map(savedClass) });
    if (exhausted > 0) {
      log.error({ addresses: exhausted }, "no local identity is left: learned addresses are not allowed");
    }
    this.#moves.push(...moves);
    return moves.length > 0;
  }

  /** The policy rows of planned identities are in the kernel: packets may carry them. True: no address lost by it. */
  publish(): boolean {
    const { ipcache } = this.#deps;
    const moves = this.#moves;
    this.#moves = [];
    for (const { ip, to } of moves) {
      if (to) ipcache.upsert(hostPrefix(ip), "fqdn", owner, { identity: to.id });
      else ipcache.delete(hostPrefix(ip), "fqdn", owner);
    }
    return moves.every(isGain);
  }

  /** Gives up identities without addresses; true when there were some: commit the engine. */
  dropEmptyClasses(): boolean {
    const gone = this.classes.sweep();
    for (const { id } of gone) this.#deps.engine.deleteIdentity(id);
    return gone.length > 0;
  }

  /** All that has to outlive this process. */
  saved(): SavedNames {
    const inUse = [...this.#deps.engine.dnsRules.all()];
    const ids = new Set(inUse.map(({ id }) => id));
    return {
      classes: [...this.classes.classes()].map(savedClass),
      rules: [...inUse, ...this.#restoredRules.filter(({ id }) => !ids.has(id))],
      entries: [...this.cache.entries()],
    };
  }
}

/** What allowed the address before still does; rules on prefixes look at it as before. */
function isGain({ from, to }: FqdnMove): boolean {
  if (to === undefined) return false;
  if (from === undefined) return true;
  return (
    prefixEqual(from.prefix, to.prefix) && from.selectors.every((selector) => to.selectors.includes(selector))
  );
}

function savedClass({ id, selectors, prefix }: { id: number; selectors: readonly string[]; prefix: Prefix }) {
  return { id, selectors, prefix: formatPrefix(prefix) };
}
