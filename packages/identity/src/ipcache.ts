import { Emitter, type Ip, Lpm, type Prefix } from "@axoneme/base";

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
  readonly source: IpcacheSource;
  readonly owner: string;
  readonly entry: IpcacheEntry;
}

/** What is said of a prefix, strongest first. Of nearly all of them only one says something: then that alone. */
type Claims = Claim | Claim[];

const STRENGTH = new Map<string, number>(
  ipcacheSources.map((source, i) => [source, ipcacheSources.length - i]),
);
const strengthOf = ({ source }: Claim): number => STRENGTH.get(source) ?? 0;

/**
 * Prefixes and their identities from several sources: for each prefix the strongest source wins, within a
 * source the latest owner. An owner takes back only what it said itself, so a late delete of a pod whose
 * address went to another pod does no harm. Look-up is by longest prefix.
 */
export class Ipcache {
  readonly changes = new Emitter<IpcacheChange>();
  readonly #claims = new Lpm<Claims>();

  get size(): number {
    return this.#claims.size;
  }

  /** States what `owner` (a pod, a node, a policy: any stable text) of `source` knows of a prefix. */
  upsert(prefix: Prefix, source: IpcacheSource, owner: string, entry: IpcacheEntry): void {
    const before = this.#claims.get(prefix);
    const others = listOf(before).filter((c) => c.source !== source || c.owner !== owner);
    const claim = { source, owner, entry };
    // Strongest first; among equals the newest first.
    const at = others.findIndex((other) => strengthOf(other) <= strengthOf(claim));
    others.splice(at < 0 ? others.length : at, 0, claim);
    this.#settle(prefix, before, others);
  }

  /** Takes back what `owner` of `source` said; the next strongest entry takes over. */
  delete(prefix: Prefix, source: IpcacheSource, owner: string): void {
    const claims = this.#claims.get(prefix);
    if (claims === undefined) return;
    this.#settle(
      prefix,
      claims,
      listOf(claims).filter((claim) => claim.source !== source || claim.owner !== owner),
    );
  }

  #settle(prefix: Prefix, before: Claims | undefined, claims: Claim[]): void {
    const previous = before && bestOf(before)?.entry;
    const [best, second] = claims;
    if (best === undefined) this.#claims.delete(prefix);
    else this.#claims.set(prefix, second === undefined ? best : claims);
    if (!sameEntry(previous, best?.entry)) this.changes.emit({ prefix, previous, entry: best?.entry });
  }

  /** The strongest entry of exactly this prefix. */
  get(prefix: Prefix): SourcedEntry | undefined {
    const claims = this.#claims.get(prefix);
    return claims && sourced(claims);
  }

  /** The entry of the longest prefix that holds the address. */
  lookup(ip: Ip): (SourcedEntry & { prefix: Prefix }) | undefined {
    const found = this.#claims.lookup(ip);
    return found && { ...sourced(found.value), prefix: found.prefix };
  }

  /** The strongest entry of the longest prefix that holds all of this one. */
  cover(prefix: Prefix): (SourcedEntry & { prefix: Prefix }) | undefined {
    let found: { prefix: Prefix; value: Claims } | undefined;
    for (const around of this.#claims.covering(prefix)) found = around; // the longest comes last
    return found && { ...sourced(found.value), prefix: found.prefix };
  }

  /** All prefixes inside of one, itself too, with the identity of their strongest entry. */
  *inside(prefix: Prefix): Generator<{ prefix: Prefix; identity: number }> {
    for (const { prefix: inner, value } of this.#claims.inside(prefix))
      yield { prefix: inner, identity: sourced(value).identity };
  }

  /** All prefixes with their strongest entry. */
  *entries(): Generator<SourcedEntry & { prefix: Prefix }> {
    for (const { prefix, value } of this.#claims.entries()) yield { ...sourced(value), prefix };
  }
}

type SourcedEntry = IpcacheEntry & { source: IpcacheSource };

function listOf(claims: Claims | undefined): Claim[] {
  return claims === undefined ? [] : Array.isArray(claims) ? claims : [claims];
}

function bestOf(claims: Claims): Claim | undefined {
  return Array.isArray(claims) ? claims[0] : claims;
}

function sourced(claims: Claims): SourcedEntry {
  const { entry, source } = bestOf(claims) ?? { entry: { identity: 0 }, source: "unspec" };
  return { ...entry, source };
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
