import { MinHeap } from "@axoneme/base";

/** How much is kept, and for how long. */
export interface CacheLimits {
  /** Addresses of one name that one endpoint may use; when more are learned, the one that ends first ends now. */
  readonly perName: number;
  /** Addresses under names of one endpoint, those that have ended but are kept included. */
  readonly perEndpoint: number;
  /** Shorter TTLs count as this long, milliseconds. */
  readonly minTtlMs: number;
  /** How long an address stays at least after its end, milliseconds: connections that begin at the last moment. */
  readonly graceMs: number;
}

/** An address under a name, whoever learned it. `name` has the final dot. */
export interface NamedAddress {
  readonly ip: string;
  readonly name: string;
}

/** What an endpoint learned. Times are milliseconds. */
export interface CacheEntry extends NamedAddress {
  readonly endpoint: number;
  /** As the answer had it, seconds. */
  readonly ttl: number;
  /** Of the latest answer. */
  readonly learnedAt: number;
  readonly expiresAt: number;
}

/** Pairs that are known now and were not, or are not known to anybody any more. */
export interface CacheChange {
  readonly added: NamedAddress[];
  readonly removed: NamedAddress[];
}

/** What became of pairs in one call, whatever the order in which it happened. */
class Net {
  readonly #pairs = new Map<string, { pair: NamedAddress; by: number }>();

  count({ ip, name }: NamedAddress, by: 1 | -1): void {
    const key = pairKey({ ip, name });
    const seen = this.#pairs.get(key) ?? { pair: { ip, name }, by: 0 };
    seen.by += by;
    this.#pairs.set(key, seen);
  }

  take(): CacheChange {
    const all = [...this.#pairs.values()];
    const of = (by: number) => all.filter((seen) => seen.by === by).map(({ pair }) => pair);
    return { added: of(1), removed: of(-1) };
  }
}

class Entry implements CacheEntry {
  readonly endpoint: number;
  readonly name: string;
  readonly ip: string;
  ttl = 0;
  learnedAt = 0;
  expiresAt = 0;
  /** When it was last seen in use after its end; 0: not yet. */
  usedAt = 0;
  dead = false;
  /** Its place in the queue of those that end; 0: none. */
  queuedAt = 0;

  constructor(endpoint: number, name: string, ip: string) {
    this.endpoint = endpoint;
    this.name = name;
    this.ip = ip;
  }
}

interface Queued {
  readonly entry: Entry;
  readonly at: number;
}

class Name {
  readonly entries = new Map<string, Entry>();
  alive = 0;
}

class EndpointCache {
  readonly names = new Map<string, Name>();
  readonly byIp = new Map<string, Set<Entry>>();
  /** In the order in which they ended. */
  readonly dead = new Set<Entry>();
  /** By the time at which they were to end when they were queued: a later answer moves the end, not the place. */
  readonly ending = new MinHeap<Queued>((a, b) => a.at < b.at);
  size = 0;
}

/**
 * What endpoints learned from DNS answers: name -> addresses with their TTLs, per endpoint. An address whose TTL is over
 * is dead: it stays as long as a connection uses it, and goes with a sweep that finds it unused. Where a limit is met the
 * dead go first, the oldest of those that nobody was seen to use before all others.
 */
export class DnsCache {
  readonly #limits: CacheLimits;
  readonly #endpoints = new Map<number, EndpointCache>();
  /** How many endpoints know an address under a name. */
  readonly #users = new Map<string, number>();
  #size = 0;

  constructor(limits: CacheLimits) {
    this.#limits = limits;
  }

  /** Entries, dead ones included. */
  get size(): number {
    return this.#size;
  }

  /** Takes an answer in. Addresses in the one text form of their family; `name` with the final dot. */
  learn(
    endpoint: number,
    name: string,
    addresses: readonly { readonly ip: string; readonly ttl: number }[],
    now: number,
  ): CacheChange & { fresh: CacheEntry[] } {
    const change = new Net();
    const fresh: CacheEntry[] = [];
    const cache = this.#endpoints.get(endpoint) ?? new EndpointCache();
    this.#endpoints.set(endpoint, cache);
    for (const { ip, ttl } of addresses) {
      const expiresAt = now + Math.max(ttl * 1000, this.#limits.minTtlMs);
      const known = cache.names.get(name)?.entries.get(ip);
      const entry = known ?? this.#insert(cache, endpoint, name, ip, change);
      if (known === undefined) fresh.push(entry);
      this.#prolong(
        cache,
        entry,
        ttl,
        now,
        known === undefined ? expiresAt : Math.max(expiresAt, entry.expiresAt),
      );
      this.#limitName(cache, name, entry, now);
      if (cache.size > this.#limits.perEndpoint) this.#evict(cache, change);
    }
    return { ...change.take(), fresh };
  }

  /** Puts back what was known before a restart; nothing of it ends before `notBefore`. */
  restore(entries: Iterable<CacheEntry>, notBefore: number): NamedAddress[] {
    const added: NamedAddress[] = [];
    for (const { endpoint, name, ip, ttl, learnedAt, expiresAt } of entries) {
      const change = this.learn(endpoint, name, [{ ip, ttl: 0 }], learnedAt);
      added.push(...change.added);
      const cache = this.#endpoints.get(endpoint);
      const entry = cache?.names.get(name)?.entries.get(ip);
      if (cache && entry) this.#prolong(cache, entry, ttl, learnedAt, Math.max(expiresAt, notBefore));
    }
    return added;
  }

  /** What is dead by now, to be looked for among the connections. */
  dead(now: number): CacheEntry[] {
    return [...this.#endpoints.values()].flatMap((cache) => {
      for (let first = this.#firstToEnd(cache); first !== undefined && first.expiresAt <= now; ) {
        this.#end(cache, first);
        first = this.#firstToEnd(cache);
      }
      return [...cache.dead];
    });
  }

  /** Removes those of `dead` that are not in use and have not been learned again; the pairs that are gone. */
  sweep(dead: readonly CacheEntry[], isUsed: (entry: CacheEntry) => boolean, now: number): NamedAddress[] {
    const change = new Net();
    for (const { endpoint, name, ip } of dead) {
      const cache = this.#endpoints.get(endpoint);
      const entry = cache?.names.get(name)?.entries.get(ip);
      if (cache === undefined || entry === undefined || !entry.dead) continue;
      if (isUsed(entry)) entry.usedAt = now;
      else if (now - entry.expiresAt >= this.#limits.graceMs) this.#remove(cache, entry, change);
    }
    return change.take().removed;
  }

  /** Removes all that an endpoint learned: it is gone. */
  forgetEndpoint(endpoint: number): NamedAddress[] {
    return this.remove((entry) => entry.endpoint === endpoint, endpoint);
  }

  /** Removes entries, in use or not; `endpoint`: only of one. */
  remove(isMeant: (entry: CacheEntry) => boolean, endpoint?: number): NamedAddress[] {
    const change = new Net();
    for (const entry of [...this.entries(endpoint)]) {
      const cache = this.#endpoints.get(entry.endpoint);
      const own = cache?.names.get(entry.name)?.entries.get(entry.ip);
      if (cache && own && isMeant(own)) this.#remove(cache, own, change);
    }
    return change.take().removed;
  }

  /** Names under which an endpoint knows an address, without the final dot. */
  namesOf(endpoint: number, ip: string): string[] {
    const entries = this.#endpoints.get(endpoint)?.byIp.get(ip) ?? [];
    return [...entries].map(({ name }) => name.slice(0, -1)).sort();
  }

  /** All entries, or those of one endpoint. `isDead`: kept for the connections that use it. */
  *entries(endpoint?: number): Generator<CacheEntry & { readonly isDead: boolean }> {
    const caches = endpoint === undefined ? this.#endpoints.values() : [this.#endpoints.get(endpoint)];
    for (const cache of caches) {
      for (const { entries } of cache?.names.values() ?? []) {
        for (const entry of entries.values()) {
          const { endpoint: of, name, ip, ttl, learnedAt, expiresAt, dead } = entry;
          yield { endpoint: of, name, ip, ttl, learnedAt, expiresAt, isDead: dead };
        }
      }
    }
  }

  /** Figures of one endpoint each. */
  *figures(): Generator<{ endpoint: number; names: number; addresses: number; dead: number }> {
    for (const [endpoint, { names, byIp, dead }] of this.#endpoints) {
      yield { endpoint, names: names.size, addresses: byIp.size, dead: dead.size };
    }
  }

  // --- within ------------------------------------------------------------------------------------------------------

  #insert(cache: EndpointCache, endpoint: number, name: string, ip: string, change: Net): Entry {
    const entry = new Entry(endpoint, name, ip);
    const known = cache.names.get(name) ?? new Name();
    cache.names.set(name, known);
    known.entries.set(ip, entry);
    known.alive++;
    const same = cache.byIp.get(ip) ?? new Set();
    cache.byIp.set(ip, same.add(entry));
    cache.size++;
    this.#size++;
    const key = pairKey(entry);
    const users = this.#users.get(key) ?? 0;
    this.#users.set(key, users + 1);
    if (users === 0) change.count(entry, 1);
    return entry;
  }

  #prolong(cache: EndpointCache, entry: Entry, ttl: number, learnedAt: number, expiresAt: number): void {
    entry.ttl = ttl;
    entry.learnedAt = learnedAt;
    if (entry.dead) {
      entry.dead = false;
      entry.usedAt = 0;
      cache.dead.delete(entry);
      const name = cache.names.get(entry.name);
      if (name) name.alive++;
    }
    entry.expiresAt = expiresAt;
    // A place before the end is put right when it comes up.
    if (entry.queuedAt !== 0 && entry.queuedAt <= expiresAt) return;
    entry.queuedAt = expiresAt;
    cache.ending.push({ entry, at: expiresAt });
  }

  #limitName(cache: EndpointCache, name: string, newest: Entry, now: number): void {
    const known = cache.names.get(name);
    if (known === undefined || known.alive <= this.#limits.perName) return;
    let first: Entry | undefined;
    for (const entry of known.entries.values()) {
      if (entry.dead || entry === newest) continue;
      if (first === undefined || entry.expiresAt < first.expiresAt) first = entry;
    }
    if (first === undefined) return;
    first.expiresAt = Math.min(first.expiresAt, now);
    this.#end(cache, first);
  }

  /** The entry that ends first. Places in the queue that are out of date are put right on the way. */
  #firstToEnd({ ending }: EndpointCache): Entry | undefined {
    for (let top = ending.peek(); top !== undefined; top = ending.peek()) {
      const { entry, at } = top;
      const isCurrent = entry.queuedAt === at;
      if (isCurrent && !entry.dead && entry.expiresAt === at) return entry;
      ending.pop();
      if (!isCurrent) continue;
      entry.queuedAt = entry.dead ? 0 : entry.expiresAt;
      if (!entry.dead) ending.push({ entry, at: entry.expiresAt });
    }
    return undefined;
  }

  #end(cache: EndpointCache, entry: Entry): void {
    entry.dead = true;
    cache.dead.add(entry);
    const name = cache.names.get(entry.name);
    if (name) name.alive--;
  }

  #evict(cache: EndpointCache, change: Net): void {
    let oldest: Entry | undefined;
    for (const entry of cache.dead) {
      oldest ??= entry;
      if (entry.usedAt !== 0) continue;
      oldest = entry;
      break;
    }
    const victim = oldest ?? this.#firstToEnd(cache);
    if (victim !== undefined) this.#remove(cache, victim, change);
  }

  #remove(cache: EndpointCache, entry: Entry, change: Net): void {
    const { endpoint, name, ip } = entry;
    const known = cache.names.get(name);
    known?.entries.delete(ip);
    if (known && !entry.dead) known.alive--;
    if (known?.entries.size === 0) cache.names.delete(name);
    const same = cache.byIp.get(ip);
    same?.delete(entry);
    if (same?.size === 0) cache.byIp.delete(ip);
    cache.dead.delete(entry);
    entry.dead = true; // for its place in the queue
    cache.size--;
    this.#size--;
    if (cache.size === 0) this.#endpoints.delete(endpoint);
    const key = pairKey(entry);
    const users = (this.#users.get(key) ?? 1) - 1;
    if (users > 0) this.#users.set(key, users);
    else {
      this.#users.delete(key);
      change.count(entry, -1);
    }
  }
}

function pairKey({ ip, name }: NamedAddress): string {
  return `${ip} ${name}`;
}
