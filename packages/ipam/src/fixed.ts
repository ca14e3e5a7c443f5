import {
  AxonError,
  formatIp,
  type Ip,
  ipFromBigInt,
  type Prefix,
  parseIp,
  prefixContains,
} from "@axoneme/base";
import { familyOf, type Range, usable } from "./addresspool.ts";
import type { Binding, FixedStore, Holder, PodName, Stored } from "./fixedstore.ts";

/** A pool of addresses that stay with pods' names. */
export interface FixedPool {
  readonly name: string;
  readonly cidrs: readonly Prefix[];
}

/** What a pod asks for. */
export interface FixedAsk {
  readonly pod: PodName;
  readonly holder: Holder;
  readonly owner: Binding["owner"];
  /** Those addresses, in their proper form; empty: any of the pool. */
  readonly addresses: readonly string[];
  /** Where they come from. */
  readonly pool: FixedPool;
  /** Families the node has. */
  readonly families: readonly (4 | 6)[];
  /** Whether a pod that had the addresses no longer uses them, though nobody gave them back: its node died. */
  readonly isGone: (holder: Holder) => Promise<boolean>;
}

/** How often a write may find that somebody else was quicker. */
const maxAttempts = 20;

/**
 * Gives a pod the addresses of its name. An address is taken once the claim that is named after it exists, and is a
 * pod's once its binding lists it; every step can be done again after a crash, by whoever comes next.
 * @throws AxonError `ipam.fixed` naming what is in the way; what the store throws.
 */
export async function takeFixed(store: FixedStore, ask: FixedAsk): Promise<string[]> {
  const { pod, owner, pool, holder } = ask;
  for (let attempt = 0; attempt < maxAttempts; attempt++) {
    const fresh = { pool: pool.name, ...(owner && { owner }) };
    const before = (await store.binding(pod)) ?? (await store.createBinding(pod, fresh));
    if (before === undefined) continue;
    await checkHolder(before, ask);
    const addresses = await claimAll(store, before, ask);
    if (addresses === undefined) continue;
    if (await store.updateBinding(pod, before, { ...fresh, addresses, holder })) return addresses;
  }
  throw new AxonError("ipam.fixed", `others keep changing the fixed address of ${nameOf(pod)}`);
}

/**
 * Notes that a pod no longer uses its addresses. They stay bound to its name.
 * @param now RFC 3339.
 */
export async function giveBackFixed(
  store: FixedStore,
  pod: PodName,
  holder: Holder,
  now: string,
): Promise<void> {
  for (let attempt = 0; attempt < maxAttempts; attempt++) {
    const before = await store.binding(pod);
    if (before === undefined || !sameHolder(before.value.holder, holder)) return;
    const { holder: _, ...rest } = before.value;
    if (await store.updateBinding(pod, before, { ...rest, releasedAt: now })) return;
  }
  throw new AxonError("ipam.fixed", `others keep changing the fixed address of ${nameOf(pod)}`);
}

/**
 * Frees a claim that no binding lists; false when one does, or something changed meanwhile.
 * @param claim as read before this is called.
 */
export async function freeClaim(
  store: FixedStore,
  claim: NonNullable<Awaited<ReturnType<FixedStore["claim"]>>>,
): Promise<boolean> {
  const { address, uid } = claim.value;
  const binding = await store.binding(claim.value);
  if (binding?.uid === uid) {
    if (binding.value.addresses?.includes(address) === true) return false;
    // Whoever read the binding before and is about to list the address will find it changed.
    const fenced = { ...binding.value, fence: claim.version };
    if (!(await store.updateBinding(claim.value, binding, fenced))) return false;
  }
  // Whoever has read it since has touched the claim.
  return store.deleteClaim(claim);
}

/** Whether two holders are one pod on one node. */
export function sameHolder(a: Holder | undefined, b: Holder | undefined): boolean {
  return a !== undefined && b !== undefined && a.node === b.node && a.podUid === b.podUid;
}

async function checkHolder({ value }: Stored<Binding>, ask: FixedAsk): Promise<void> {
  const { holder } = value;
  if (holder === undefined || sameHolder(holder, ask.holder) || (await ask.isGone(holder))) return;
  throw new AxonError(
    "ipam.fixed",
    `${(value.addresses ?? []).join(", ")} of ${nameOf(ask.pod)} is still in use on node ${holder.node}: ` +
      "its agent gives it back when the pod's sandbox is gone there, or the node has to be shut down or removed",
  );
}

/** Claims what the binding lacks. Undefined: something changed meanwhile, look again. */
async function claimAll(
  store: FixedStore,
  binding: Stored<Binding>,
  ask: FixedAsk,
): Promise<string[] | undefined> {
  const asked = new Set(ask.addresses);
  const kept = (binding.value.addresses ?? []).filter((text) =>
    asked.size > 0 ? asked.has(text) : isOf(ask.pool, parseIp(text)),
  );
  const got = [...kept];
  for (const address of ask.addresses) {
    if (got.includes(address)) continue;
    const claimed = await claimOne(store, binding, ask, address);
    if (claimed === "changed") return undefined;
    if (claimed !== "ours") throw taken(address, claimed);
    got.push(address);
  }
  for (const family of asked.size > 0 ? [] : ask.families) {
    if (got.some((text) => familyOf(parseIp(text)) === family)) continue;
    if (!ask.pool.cidrs.some(({ ip }) => familyOf(ip) === family)) continue;
    got.push(await claimAny(store, binding, ask, family));
  }
  return got.sort((a, b) => familyOf(parseIp(a)) - familyOf(parseIp(b)));
}

/** Ours, whose it is, or that it changed under our hands. */
async function claimOne(
  store: FixedStore,
  { uid, version }: Stored<Binding>,
  { pod, pool }: FixedAsk,
  address: string,
): Promise<"ours" | "changed" | PodName> {
  const claim = { address, ...pod, uid, pool: pool.name, touched: version };
  if (await store.createClaim(claim)) return "ours";
  const held = await store.claim(address);
  if (held === undefined) return "changed";
  if (held.value.uid !== uid) return held.value;
  // Of a try that did not get to its end. Touched, so that nobody frees it as a left-over from now on.
  return (await store.updateClaim(held, claim)) ? "ours" : "changed";
}

async function claimAny(
  store: FixedStore,
  binding: Stored<Binding>,
  ask: FixedAsk,
  family: 4 | 6,
): Promise<string> {
  const claims = (await store.claims(ask.pool.name)).filter(
    ({ address }) => familyOf(parseIp(address)) === family,
  );
  const own = claims.filter(({ uid }) => uid === binding.uid).map(({ address }) => address);
  const passed = new Set(claims.map(({ address }) => address));
  const ranges = ask.pool.cidrs.filter(({ ip }) => familyOf(ip) === family).map(usable);
  for (const address of candidates(ranges, own, passed, nameOf(ask.pod))) {
    const claimed = await claimOne(store, binding, ask, address);
    if (claimed === "ours") return address;
    passed.add(address);
  }
  const where = ask.pool.cidrs.filter(({ ip }) => familyOf(ip) === family).length;
  throw new AxonError(
    "ipam.fixed",
    `all IPv${family} addresses of FixedAddressPool ${ask.pool.name} (${where} prefixes) are taken; ` +
      "add a prefix to it or delete FixedAddresses that nobody needs",
  );
}

/** First those an earlier try left, then the free ones from a place on that depends on the pod's name. */
function* candidates(
  ranges: readonly Range[],
  own: readonly string[],
  passed: ReadonlySet<string>,
  seed: string,
): Generator<string> {
  yield* own;
  const capacity = ranges.reduce((sum, { first, last }) => sum + last - first + 1n, 0n);
  if (capacity === 0n) return;
  const start = BigInt(hash(seed)) % capacity;
  // Each step past the free ones was somebody's claim: more than there are claims means all are taken.
  for (let step = 0n; step < capacity; step++) {
    const text = formatIp(nth(ranges, (start + step) % capacity));
    if (!passed.has(text)) yield text;
  }
}

function nth(ranges: readonly Range[], index: bigint): Ip {
  let rest = index;
  for (const { first, last } of ranges) {
    if (rest <= last - first) return ipFromBigInt(first + rest);
    rest -= last - first + 1n;
  }
  throw new AxonError("ipam.fixed", `there is no address number ${index}`);
}

/** FNV-1a, 32 bits. */
function hash(text: string): number {
  let value = 0x811c9dc5;
  for (let at = 0; at < text.length; at++) value = Math.imul(value ^ text.charCodeAt(at), 0x01000193) >>> 0;
  return value;
}

/** Whether an address may be given out of the pool. */
export function isOf({ cidrs }: FixedPool, ip: Ip): boolean {
  return cidrs.some((cidr) => prefixContains(cidr, ip));
}

function taken(address: string, holder: PodName): AxonError {
  return new AxonError(
    "ipam.fixed",
    `${address} belongs to the pod ${nameOf(holder)}; ask for another one, or delete the FixedAddress ${nameOf(holder)}`,
  );
}

function nameOf({ namespace, name }: PodName): string {
  return `${namespace}/${name}`;
}
