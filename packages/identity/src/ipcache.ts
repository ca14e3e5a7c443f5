import { Emitter, type Ip, Lpm, type Prefix, prefixKey } from "@axoneme/base";

/** Who says so, strongest first. */
export const ipcacheSources = [
  "kube-apiserver",
  "local",
  "kvstore",
  "custom-resource",
  "k8s",
  "clustermesh",
  "directory",
  "api",
  "fqdn",
  "generated",
  "restored",
  "unspec",
] as const;
export type IpcacheSource = (typeof ipcacheSources)[number];

/** What is known of a prefix. */
export interface IpcacheEntry {
  identity: number;
  /** The node that hosts it: tunnel endpoint or native next hop. */
  nodeIp?: Ip;
  /** `nodeIp` is on the native device's link. */
  direct?: boolean;
  /** For people: the pod, and all of its labels as lines where they are known. */
  pod?: { namespace: string; name: string; labels?: readonly string[] };
}

/** A prefix's strongest entry changed: `entry` absent = the prefix is gone. */
export interface IpcacheChange {
  prefix: Prefix;
  previous: IpcacheEntry | undefined;
  entry: IpcacheEntry | undefined;
}

interface Claim {
  strength: number;
  source: IpcacheSource;
  owner: string;
  entry: IpcacheEntry;
}

const STRENGTH = new Map<string, number>(
  ipcacheSources.map((source, i) => [source, ipcacheSources.length - i]),
);

/**
 * Prefixes and their identities from several sources: for each prefix the strongest source wins, within a
 * source the latest owner. An owner takes back only what it said itself, so a late delete of a pod whose
 * address went to another pod does no harm. Look-up is by longest prefix.
 */
export class Ipcache {
  readonly changes = new Emitter<IpcacheChange>();
  readonly #claims = new Map<string, Claim[]>();
  readonly #best = new Lpm<Claim>();

  get size(): number {
    return this.#best.size;
  }

  /** States what `owner` (a pod, a node, a policy: any stable text) of `source` knows of a prefix. */
  upsert(prefix: Prefix, source: IpcacheSource, owner: string, entry: IpcacheEntry): void {
    const key = prefixKey(prefix);
    const others = (this.#claims.get(key) ?? []).filter((c) => c.source !== source || c.owner !== owner);
    const claim = { strength: STRENGTH.get(source) ?? 0, source, owner, entry };
    // Strongest first; among equals the newest first.
    const at = others.findIndex((other) => other.strength <= claim.strength);
    others.splice(at < 0 ? others.length : at, 0, claim);
    this.#settle(prefix, key, others);
  }

  /** Takes back what `owner` of `source` said; the next strongest entry takes over. */
  delete(prefix: Prefix, source: IpcacheSource, owner: string): void {
    const key = prefixKey(prefix);
    const claims = this.#claims.get(key);
    if (claims === undefined) return;
    this.#settle(
      prefix,
      key,
      claims.filter((claim) => claim.source !== source || claim.owner !== owner),
    );
  }

  #settle(prefix: Prefix, key: string, claims: Claim[]): void {
    const previous = this.#best.get(prefix)?.entry;
    const best = claims[0];
    if (best === undefined) {
      this.#claims.delete(key);
      this.#best.delete(prefix);
    } else {
      this.#claims.set(key, claims);
      this.#best.set(prefix, best);
    }
    if (!sameEntry(previous, best?.entry)) this.changes.emit({ prefix, previous, entry: best?.entry });
  }

  /** The strongest entry of exactly this prefix. */
  get(prefix: Prefix): (IpcacheEntry & { source: IpcacheSource }) | undefined {
    const claim = this.#best.get(prefix);
    return claim && { ...claim.entry, source: claim.source };
  }

  /** The entry of the longest prefix that holds the address. */
  lookup(ip: Ip): (IpcacheEntry & { prefix: Prefix; source: IpcacheSource }) | undefined {
    const found = this.#best.lookup(ip);
    return found && { ...found.value.entry, prefix: found.prefix, source: found.value.source };
  }

  /** The strongest entry of the longest prefix that holds all of this one. */
  cover(prefix: Prefix): (IpcacheEntry & { prefix: Prefix; source: IpcacheSource }) | undefined {
    let found: { prefix: Prefix; value: Claim } | undefined;
    for (const around of this.#best.covering(prefix)) found = around; // the longest comes last
    return found && { ...found.value.entry, prefix: found.prefix, source: found.value.source };
  }

  /** All prefixes inside of one, itself too, with the identity of their strongest entry. */
  *inside(prefix: Prefix): Generator<{ prefix: Prefix; identity: number }> {
    for (const { prefix: inner, value } of this.#best.inside(prefix))
      yield { prefix: inner, identity: value.entry.identity };
  }

  /** All prefixes with their strongest entry. */
  *entries(): Generator<IpcacheEntry & { prefix: Prefix; source: IpcacheSource }> {
    for (const { prefix, value } of this.#best.entries())
      yield { ...value.entry, prefix, source: value.source };
  }
}

function sameEntry(a: IpcacheEntry | undefined, b: IpcacheEntry | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  if (a.identity !== b.identity || (a.direct ?? false) !== (b.direct ?? false)) return false;
  if (a.pod?.name !== b.pod?.name || a.pod?.namespace !== b.pod?.namespace) return false;
  if (!sameLines(a.pod?.labels, b.pod?.labels)) return false;
  return a.nodeIp?.toString() === b.nodeIp?.toString();
}

function sameLines(a: readonly string[] = [], b: readonly string[] = []): boolean {
  return a === b || (a.length === b.length && a.every((line, i) => line === b[i]));
}
