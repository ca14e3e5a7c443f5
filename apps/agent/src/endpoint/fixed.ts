import {
  AxonError,
  backoff,
  delay,
  errorText,
  KeyedQueue,
  type Logger,
  parseIp,
  parsePrefix,
} from "@axoneme/base";
import { CniCode, CniError, type EndpointRecord, type PodRef } from "@axoneme/endpoint";
import {
  type FixedAsk,
  type FixedPool,
  type FixedStore,
  giveBackFixed,
  type Holder,
  isOf,
  type PodName,
  sameHolder,
  takeFixed,
} from "@axoneme/ipam";
import type { FixedAddress, FixedAddressPool, ListWatchHandlers } from "@axoneme/kube";
import { compileLabelSelector, plainLabels } from "@axoneme/loadbalancer";
import type { FixedWish } from "./fixed-wish.ts";
import type { PodFacts } from "./pods.ts";

/** A pod of this node that has fixed addresses. */
export interface FixedHere {
  readonly pod: PodName;
  readonly podUid: string;
  readonly addresses: readonly string[];
}

/** What fixed addresses need around them. */
export interface FixedDeps {
  readonly store: FixedStore;
  readonly nodeName: string;
  /** Families pods of this node have. */
  readonly families: readonly (4 | 6)[];
  /** Whether nothing runs on a node any more, as far as the API server knows. */
  readonly nodeIsDead: (node: string) => Promise<boolean>;
  readonly namespaceLabels: (namespace: string) => Readonly<Record<string, string>>;
  readonly log: Logger;
}

/**
 * Addresses that stay with a pod's name, whatever node it runs on. This agent takes them for pods that come, gives them
 * back when their endpoints are gone, and ends endpoints whose addresses went to another node while it was away.
 */
export class FixedAddresses {
  readonly #deps: FixedDeps;
  readonly #queue = new KeyedQueue<string>();
  readonly #pools = new Map<string, FixedAddressPool>();
  /** FixedAddresses that name this node as holder. */
  readonly #bindings = new Map<string, FixedAddress>();
  /** Which attachment has a pod's addresses here. */
  readonly #attachments = new Map<string, string>();
  #isOpen = false;
  #stopped = false;
  /** Called when pools came or went. */
  onPools: () => void = () => undefined;
  /** The endpoint of a pod that has fixed addresses. */
  here: (pod: PodName) => FixedHere | undefined = () => undefined;
  /** Ends an endpoint whose addresses are another's. */
  evict: (pod: PodName) => Promise<void> = () => Promise.resolve();

  constructor(deps: FixedDeps) {
    this.#deps = deps;
  }

  /** For a ListWatch of FixedAddressPool. */
  poolHandlers(): ListWatchHandlers<FixedAddressPool> {
    const upsert = (pool: FixedAddressPool) => {
      this.#pools.set(pool.metadata?.name ?? "", pool);
      this.onPools();
    };
    return {
      onAdd: upsert,
      onUpdate: upsert,
      onDelete: ({ metadata }) => {
        this.#pools.delete(metadata?.name ?? "");
        this.onPools();
      },
    };
  }

  /** For a ListWatch of the FixedAddresses that this node holds: one that another node takes is deleted from it. */
  bindingHandlers(): ListWatchHandlers<FixedAddress> {
    const upsert = (binding: FixedAddress) => {
      this.#bindings.set(keyOf(nameOf(binding)), binding);
      this.#recheck(nameOf(binding));
    };
    return {
      onAdd: upsert,
      onUpdate: upsert,
      onDelete: (binding) => {
        this.#bindings.delete(keyOf(nameOf(binding)));
        this.#recheck(nameOf(binding));
      },
    };
  }

  /** Prefixes of all pools: addresses of the cluster. */
  get cidrs() {
    return [...this.#pools.values()].flatMap((pool) => poolOf(pool).cidrs);
  }

  /**
   * The addresses of a pod that asks for fixed ones.
   * @param attachment which takes them: giving back for an earlier one of the same pod does nothing from now on.
   * @throws CniError saying what is in the way.
   */
  async take(pod: PodRef, { uid }: PodFacts, wish: FixedWish, attachment: string): Promise<string[]> {
    const ask = this.#ask(pod, uid, wish);
    return this.#queue.run(keyOf(pod), async () => {
      this.#attachments.set(keyOf(pod), attachment);
      try {
        return await takeFixed(this.#deps.store, ask);
      } catch (cause) {
        const isRefused = cause instanceof AxonError && cause.code === "ipam.fixed";
        const known = isRefused ? undefined : this.#known(ask);
        if (known) return known;
        // Whatever the store did in the end.
        this.#giveBack(pod, ask.holder, attachment);
        throw new CniError(CniCode.tryAgainLater, errorText(cause), "", { cause });
      }
    });
  }

  /** An endpoint is gone: its pod's addresses are for whoever has the pod's name next. Done as soon as it can be. */
  giveBack(record: Pick<EndpointRecord, "pod" | "fixed">, attachment: string): void {
    const { pod, fixed } = record;
    if (!pod || !fixed) return;
    this.#giveBack(pod, { node: this.#deps.nodeName, podUid: fixed.podUid }, attachment);
  }

  /** Everything was listed and the endpoints of before are there: settles what happened while no agent ran. */
  open(all: readonly FixedHere[]): void {
    this.#isOpen = true;
    for (const { pod } of all) this.#recheck(pod);
    for (const binding of this.#bindings.values()) {
      const pod = nameOf(binding);
      const { holder } = binding.spec;
      if (holder?.node !== this.#deps.nodeName || this.here(pod)?.podUid === holder.podUid) continue;
      this.#giveBack(pod, holder, "");
    }
  }

  /** Gives up what is pending; the next agent finds it. */
  stop(): void {
    this.#stopped = true;
  }

  #ask(pod: PodName, podUid: string, wish: FixedWish): FixedAsk {
    const { nodeName, families, nodeIsDead } = this.#deps;
    if (wish.problem !== undefined) throw new CniError(CniCode.invalidConfig, wish.problem);
    return {
      pod: { namespace: pod.namespace, name: pod.name },
      holder: { node: nodeName, podUid },
      owner: wish.owner,
      addresses: wish.addresses,
      pool: this.#poolFor(pod, wish),
      families,
      // Of this node: the endpoint of before was removed before this was asked.
      isGone: async ({ node }) => node === nodeName || (await nodeIsDead(node)),
    };
  }

  #poolFor({ namespace, name }: PodName, wish: FixedWish): FixedPool {
    const admitting = [...this.#pools.values()].filter((pool) => this.#admits(pool, namespace));
    const fitting = admitting
      .map(poolOf)
      .filter((pool) => wish.pool === undefined || pool.name === wish.pool)
      .filter((pool) => wish.addresses.every((address) => isOf(pool, parseIp(address))));
    const [found] = fitting;
    if (found && fitting.length === 1) return found;
    const wanted = [wish.pool && `pool ${wish.pool}`, ...wish.addresses].filter(Boolean).join(", ");
    const which = found ? fitting.map((pool) => pool.name).join(", ") : "none";
    throw new CniError(
      CniCode.noAddress,
      `no single FixedAddressPool for the pod ${namespace}/${name}${wanted ? ` (${wanted})` : ""}: ${which} of those ` +
        "open to its namespace fits; make one, or name one in its annotation ipam.axoneme.io/fixed-pool",
    );
  }

  #admits({ metadata, spec }: FixedAddressPool, namespace: string): boolean {
    if (spec.disabled === true) return false;
    try {
      const selects = compileLabelSelector(
        spec.namespaceSelector as Parameters<typeof compileLabelSelector>[0],
      );
      return selects(plainLabels(this.#deps.namespaceLabels(namespace)));
    } catch (error) {
      this.#deps.log.warn(
        { pool: metadata?.name, err: errorText(error) },
        "a namespace selector makes no sense",
      );
      return false;
    }
  }

  /** What the pod has as far as this node knows: enough while the API server is away. */
  #known({ pod, holder, addresses }: FixedAsk): string[] | undefined {
    const spec = this.#bindings.get(keyOf(pod))?.spec;
    if (!spec || !sameHolder(spec.holder, holder)) return undefined;
    const bound = spec.addresses ?? [];
    return addresses.every((address) => bound.includes(address)) && bound.length > 0 ? [...bound] : undefined;
  }

  #giveBack(pod: PodName, holder: Holder, attachment: string): void {
    const key = keyOf(pod);
    this.#bindings.delete(key);
    this.#background(key, async () => {
      const now = this.#attachments.get(key);
      if (now !== undefined && now !== attachment) return;
      await giveBackFixed(this.#deps.store, pod, holder, new Date().toISOString());
      this.#attachments.delete(key);
    });
  }

  /** Whether an endpoint here still has its addresses; if not, it ends. */
  #recheck(pod: PodName): void {
    if (!this.#isOpen || this.#isBound(this.here(pod))) return;
    this.#background(keyOf(pod), async () => {
      const here = this.here(pod);
      if (here === undefined || this.#isBound(here)) return;
      if (await this.#isStillOurs(here)) return;
      this.#deps.log.warn(
        { pod: keyOf(pod), addresses: here.addresses },
        "the pod's fixed addresses are another node's now: its network here ends",
      );
      // Not awaited: what ends it may be behind an ADD that waits for its turn here.
      this.evict(pod).catch((err: unknown) => this.#deps.log.error({ err, pod: keyOf(pod) }, "not ended"));
    });
  }

  #isBound(here: FixedHere | undefined): boolean {
    if (here === undefined) return true;
    const spec = this.#bindings.get(keyOf(here.pod))?.spec;
    return this.#agrees(here, spec);
  }

  #agrees({ podUid, addresses }: FixedHere, spec: FixedAddress["spec"] | undefined): boolean {
    const held = sameHolder(spec?.holder, { node: this.#deps.nodeName, podUid });
    return held && addresses.every((address) => spec?.addresses?.includes(address));
  }

  async #isStillOurs(here: FixedHere): Promise<boolean> {
    const { store, nodeName } = this.#deps;
    const binding = await store.binding(here.pod);
    if (this.#agrees(here, binding?.value as FixedAddress["spec"] | undefined)) return true;
    if (binding?.value.holder) return false;
    // Somebody deleted the binding of a running pod: it is made again, unless the address is another's already.
    const { pool: name = "" } = binding?.value ?? {};
    const pool = { name, cidrs: [] };
    const holder = { node: nodeName, podUid: here.podUid };
    const ask = { pod: here.pod, holder, owner: undefined, addresses: here.addresses, pool, families: [] };
    try {
      await takeFixed(store, { ...ask, isGone: () => Promise.resolve(false) });
      return true;
    } catch (error) {
      if (error instanceof AxonError && error.code === "ipam.fixed") return false;
      throw error;
    }
  }

  /** Behind what is being done for the pod; failures are tried again. */
  #background(key: string, work: () => Promise<void>): void {
    const wait = backoff({ baseMs: 100, maxMs: 2000 });
    const attempt = async (): Promise<void> => {
      if (this.#stopped) return;
      try {
        await this.#queue.run(key, work);
      } catch (error) {
        if (wait.attempt === 3)
          this.#deps.log.warn({ pod: key }, `fixed address not settled yet: ${errorText(error)}`);
        await delay(wait.next());
        await attempt();
      }
    };
    attempt().catch((err: unknown) => this.#deps.log.error({ err, pod: key }, "fixed address given up"));
  }
}

function poolOf({ metadata, spec }: FixedAddressPool): FixedPool {
  return { name: metadata?.name ?? "", cidrs: spec.cidrs.map(parsePrefix) };
}

function nameOf({ metadata }: FixedAddress): PodName {
  return { namespace: metadata?.namespace ?? "", name: metadata?.name ?? "" };
}

function keyOf({ namespace, name }: PodName): string {
  return `${namespace}/${name}`;
}
