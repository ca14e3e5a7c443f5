import { errorText, type Logger } from "@axoneme/base";
import { defaultPool, type PoolChoice } from "@axoneme/ipam";
import type { CiliumPodIPPool, ListWatchHandlers } from "@axoneme/kube";
import { compileLabelSelector, type LabelSelectorObject, plainLabels } from "@axoneme/loadbalancer";

const annotation = {
  both: "ipam.cilium.io/ip-pool",
  v4: "ipam.cilium.io/ipv4-pool",
  v6: "ipam.cilium.io/ipv6-pool",
} as const;

type Words = Readonly<Record<string, string>>;

/** Pools that annotations name; a family they say nothing of is absent. */
export function poolsAsked(annotations: Words | undefined): Partial<PoolChoice> | undefined {
  const v4 = annotations?.[annotation.v4] ?? annotations?.[annotation.both];
  const v6 = annotations?.[annotation.v6] ?? annotations?.[annotation.both];
  if (v4 === undefined && v6 === undefined) return undefined;
  return { ...(v4 === undefined ? {} : { v4 }), ...(v6 === undefined ? {} : { v6 }) };
}

/** A pod and its namespace as far as the choice of pools goes. */
export interface PoolSubject {
  readonly asked: Partial<PoolChoice> | undefined;
  readonly labels: Words;
  readonly namespaceAsked: Partial<PoolChoice> | undefined;
  readonly namespaceLabels: Words;
}

/** Chooses pools for pods: by annotation of the pod or its namespace, by the one pool that selects it, or `default`. */
export class PoolChooser {
  readonly #pools = new Map<string, CiliumPodIPPool>();
  readonly #log: Logger;

  constructor(log: Logger) {
    this.#log = log;
  }

  /** For a ListWatch of CiliumPodIPPool. */
  handlers(): ListWatchHandlers<CiliumPodIPPool> {
    const upsert = (pool: CiliumPodIPPool) => void this.#pools.set(pool.metadata?.name ?? "", pool);
    return {
      onAdd: upsert,
      onUpdate: upsert,
      onDelete: ({ metadata }) => void this.#pools.delete(metadata?.name ?? ""),
    };
  }

  choose(subject: PoolSubject): PoolChoice {
    const { asked, namespaceAsked } = subject;
    return {
      v4: asked?.v4 ?? namespaceAsked?.v4 ?? this.#selecting(subject, "ipv4") ?? defaultPool,
      v6: asked?.v6 ?? namespaceAsked?.v6 ?? this.#selecting(subject, "ipv6") ?? defaultPool,
    };
  }

  /** The only pool of the family that selects the pod; of more than one, none. */
  #selecting(subject: PoolSubject, family: "ipv4" | "ipv6"): string | undefined {
    const names = [...this.#pools.values()]
      .filter((pool) => pool.spec[family] !== undefined && this.#selects(pool, subject))
      .map(({ metadata }) => metadata?.name ?? "");
    if (names.length > 1)
      this.#log.warn({ pools: names }, "several pools select a pod: it gets the default one");
    return names.length === 1 ? names[0] : undefined;
  }

  #selects({ metadata, spec }: CiliumPodIPPool, { labels, namespaceLabels }: PoolSubject): boolean {
    const { podSelector, namespaceSelector } = spec;
    if (!podSelector && !namespaceSelector) return false;
    const matches = (selector: typeof podSelector, words: Words) =>
      compileLabelSelector(selector as LabelSelectorObject | undefined)(plainLabels(words));
    try {
      return matches(podSelector, labels) && matches(namespaceSelector, namespaceLabels);
    } catch (error) {
      this.#log.warn({ pool: metadata?.name, err: errorText(error) }, "a selector of a pool makes no sense");
      return false;
    }
  }
}
