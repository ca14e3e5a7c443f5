import { formatPrefix, isV4Prefix, type Prefix, parsePrefix, prefixKey } from "@axoneme/base";
import type { Kernel } from "@axoneme/datapath";
import {
  type Ipcache,
  type IpcacheChange,
  isLocalIdentity,
  type LocalIdentities,
  reserved,
  worldOf,
} from "@axoneme/identity";
import type { PolicyEngine } from "@axoneme/policy";
import type { PolicyNames } from "../dns/policy-names.ts";
import type { IpcacheWriter } from "./ipcache.ts";
import type { AddressPlaces } from "./places.ts";

/** The map of prefixes. */
export type PrefixTables = Pick<Kernel["maps"], "cidrs">;

/** What this works with. */
export interface NamedPrefixesDeps {
  readonly engine: Pick<
    PolicyEngine,
    "addIdentity" | "deleteIdentity" | "addPrefix" | "deletePrefix" | "neededCidrs"
  >;
  readonly kernel: Pick<Kernel, "changed"> & { readonly maps: PrefixTables };
  readonly localIdentities: LocalIdentities;
  readonly ipcache: Ipcache;
  readonly ipcacheWriter: Pick<IpcacheWriter, "flush">;
  readonly names: Pick<PolicyNames, "prefixAdded" | "prefixRemoved">;
  readonly places: AddressPlaces;
}

const owner = "policy";
const source = "generated";
const everything = ["0.0.0.0/0", "::/0"].map(parsePrefix);

/**
 * Prefixes that rules name. Each has a number, by which rules know the addresses in it, whoever owns them (`ax_cidrs`); what is
 * outside of the cluster also has it as its identity, with the prefix for a label (`ax_ipcache`).
 */
export class NamedPrefixes {
  readonly #deps: NamedPrefixesDeps;
  readonly #known = new Map<string, Prefix>();
  /** Those an earlier agent left, until it is known whether rules name them. */
  readonly #restored = new Map<string, Prefix>();
  /** Addresses are about to count for a prefix that is new, by its number, and no longer for another. */
  onSplit: (from: number, to: number) => void = () => undefined;

  constructor(deps: NamedPrefixesDeps) {
    this.#deps = deps;
    deps.ipcache.changes.on((change) => this.#followCluster(change));
  }

  /**
   * Takes over what is in the kernel, with the numbers that were restored. What no rule names counts for the world of its
   * family, so that no short IPv6 prefix holds IPv4 addresses.
   */
  start(dualStack: boolean): void {
    const { kernel, localIdentities, engine, places, names } = this.#deps;
    for (const prefix of everything) this.#put(prefix, worldOf(isV4Prefix(prefix), dualStack).id);
    for (const [{ addr, prefixlen }, number] of kernel.maps.cidrs.entries()) {
      const prefix = { ip: addr.slice(), length: prefixlen };
      const identity = localIdentities.get(prefix);
      if (identity?.id !== number) continue;
      this.#restored.set(prefixKey(prefix), prefix);
      this.#known.set(prefixKey(prefix), prefix);
      engine.addIdentity(identity.id, identity.labels);
      engine.addPrefix(prefix, identity.id);
      names.prefixAdded(prefix);
      places.beforePrefix(prefix, number);
      this.#identify(prefix, number);
    }
    places.settle();
  }

  /** The prefix that a number stands for. */
  textOf(number: number): string {
    const prefix = this.#deps.localIdentities.prefixOf(number);
    if (prefix !== undefined) return formatPrefix(prefix);
    return number === reserved.worldIpv6 ? "::/0" : number === reserved.worldIpv4 ? "0.0.0.0/0" : "world";
  }

  /** A prefix gets its number: rules reach it from now on. No address counts for it yet. */
  learn(prefix: Prefix): void {
    const { engine, localIdentities, names } = this.#deps;
    const { id, labels } = localIdentities.acquire(prefix);
    if (isLocalIdentity(id)) {
      engine.addIdentity(id, labels);
      engine.addPrefix(prefix, id);
    }
    names.prefixAdded(prefix);
  }

  /** The rows of its number are in the kernel: addresses count for it from now on. */
  announce(prefixes: readonly Prefix[]): void {
    const { localIdentities, ipcacheWriter } = this.#deps;
    ipcacheWriter.flush();
    for (const prefix of prefixes) {
      const identity = localIdentities.get(prefix);
      if (identity === undefined) continue;
      this.#known.set(prefixKey(prefix), prefix);
      this.#put(prefix, identity.id);
      this.#identify(prefix, identity.id);
    }
  }

  /** No rule names it any more. */
  forget(prefix: Prefix): void {
    if (this.#restored.delete(prefixKey(prefix))) this.#deps.localIdentities.acquire(prefix);
    const { engine, ipcache, ipcacheWriter, kernel, localIdentities, names, places } = this.#deps;
    this.#known.delete(prefixKey(prefix));
    ipcache.delete(prefix, source, owner);
    ipcacheWriter.flush();
    places.beforePrefix(prefix, undefined);
    kernel.maps.cidrs.delete(keyOf(prefix));
    kernel.changed();
    places.settle();
    const gone = localIdentities.release(prefix);
    if (gone) {
      engine.deletePrefix(prefix);
      engine.deleteIdentity(gone.id);
    }
    names.prefixRemoved(prefix);
  }

  /** All policies are in force: removes the numbers of prefixes that no rule names, which an earlier agent left. */
  prune(): void {
    const { engine, localIdentities } = this.#deps;
    const needed = new Set(engine.neededCidrs().map(prefixKey));
    for (const [key, prefix] of this.#restored) {
      if (!needed.has(key)) this.forget(prefix);
      else localIdentities.acquire(prefix);
    }
    this.#restored.clear();
    this.#pruneRows();
  }

  #pruneRows(): void {
    const { maps } = this.#deps.kernel;
    const known = new Set([...this.#known.values(), ...everything].map(prefixKey));
    const stale = maps.cidrs
      .entries()
      .map(([key]) => key)
      .filter(({ addr, prefixlen }) => !known.has(prefixKey({ ip: addr, length: prefixlen })));
    if (stale.length === 0) return;
    maps.cidrs.deleteAll(stale);
    this.#deps.kernel.changed();
  }

  #put(prefix: Prefix, number: number): void {
    const { kernel, places } = this.#deps;
    if (kernel.maps.cidrs.get(keyOf(prefix)) !== number) this.onSplit(places.numberAround(prefix), number);
    places.beforePrefix(prefix, number);
    kernel.maps.cidrs.put(keyOf(prefix), number);
    kernel.changed();
    places.settle();
  }

  /** Within the addresses of pods the prefix changes nothing about who they are, known or not, and how they are reached. */
  #identify(prefix: Prefix, identity: number): void {
    const { ipcache } = this.#deps;
    const around = parent(prefix) && ipcache.cover(parent(prefix) ?? prefix);
    const isOfPods = around?.identity === reserved.unmanaged;
    const { nodeIp, direct } = around ?? {};
    const entry = isOfPods
      ? { identity: reserved.unmanaged, ...(nodeIp && { nodeIp }), ...(direct && { direct }) }
      : { identity };
    ipcache.upsert(prefix, source, owner, entry);
  }

  /** Addresses became those of a node's pods, or ceased to be. */
  #followCluster({ prefix, previous, entry }: IpcacheChange): void {
    if (prefix.length === 128 || this.#known.size === 0) return;
    const concerned = [previous, entry].some((one) => one?.identity === reserved.unmanaged);
    if (!concerned) return;
    const { ipcache, localIdentities } = this.#deps;
    for (const { prefix: inner } of [...ipcache.inside(prefix)]) {
      const named = inner.length > prefix.length ? this.#known.get(prefixKey(inner)) : undefined;
      const identity = named && localIdentities.get(named);
      if (named && identity) this.#identify(named, identity.id);
    }
  }
}

function keyOf({ ip, length }: Prefix): { prefixlen: number; addr: Uint8Array } {
  return { prefixlen: length, addr: ip };
}

/** The prefix that is one bit shorter. */
function parent({ ip, length }: Prefix): Prefix | undefined {
  return length === 0 ? undefined : { ip, length: length - 1 };
}
