import type { Logger } from "@axoneme/base";
import { freeClaim, giveBackFixed } from "@axoneme/ipam";
import {
  type AddressClaim,
  type FixedAddress,
  type KubeClient,
  KubeFixedStore,
  resources,
} from "@axoneme/kube";
import type { Sources } from "./sources.ts";

/** What the sweep works with. */
export interface FixedGcParts {
  readonly client: KubeClient;
  readonly sources: Pick<Sources, "stale" | "nodes" | "endpoints">;
  readonly log: Logger;
  readonly signal: AbortSignal;
  /** How long addresses stay with the name of a pod that is gone, in milliseconds. */
  readonly graceMs: number;
}

/**
 * Frees fixed addresses that nobody needs: those of a name without a pod, once the StatefulSet that made the pod is gone
 * (or has fewer replicas) and a grace period is over; and claims that no FixedAddress lists.
 */
export class FixedGc {
  readonly #parts: FixedGcParts;
  readonly #store: KubeFixedStore;
  /** Claims without a FixedAddress at the last sweep, as they were. */
  #candidates = new Set<string>();

  constructor(parts: FixedGcParts) {
    this.#parts = parts;
    this.#store = new KubeFixedStore(parts.client, parts.signal);
  }

  async sweep(): Promise<void> {
    const { client, sources, signal } = this.#parts;
    if (sources.stale) return;
    // Claims first: what binds one is then at least as new.
    const claims = (await client.resource(resources.addressclaims).list({ signal })).items;
    const bindings = (await client.resource(resources.fixedaddresses).list({ signal })).items;
    for (const binding of bindings) await this.#sweepBinding(binding);
    await this.#sweepClaims(claims, bindings);
  }

  async #sweepBinding({ metadata, spec }: FixedAddress): Promise<void> {
    const pod = { namespace: metadata?.namespace ?? "", name: metadata?.name ?? "" };
    if (await this.#isNeeded(pod, spec.owner)) return;
    const now = new Date().toISOString();
    if (spec.holder) {
      // Its agent gives them back; a node that is gone has none.
      if (!this.#parts.sources.nodes.store.get(spec.holder.node))
        await giveBackFixed(this.#store, pod, spec.holder, now);
      return;
    }
    const before = {
      value: spec,
      version: metadata?.resourceVersion ?? "",
      uid: metadata?.uid ?? "",
    };
    if (spec.releasedAt === undefined) {
      await this.#store.updateBinding(pod, before, { ...spec, releasedAt: now });
      return;
    }
    if (Date.now() - Date.parse(spec.releasedAt) < this.#parts.graceMs) return;
    // The version stands for "still unused": a pod that takes them makes a conflict.
    if (!(await this.#store.deleteBinding(pod, before))) return;
    this.#parts.log.info(
      { pod: `${pod.namespace}/${pod.name}`, addresses: spec.addresses },
      "fixed address freed",
    );
  }

  async #isNeeded(
    { namespace, name }: { namespace: string; name: string },
    owner: FixedAddress["spec"]["owner"],
  ): Promise<boolean> {
    const { client, sources, signal } = this.#parts;
    if (sources.endpoints.store.get(name, namespace)) return true;
    if (await client.resource(resources.pods).find(name, { namespace, signal })) return true;
    if (owner?.kind !== "StatefulSet") return false;
    const set = await client.resource(resources.statefulsets).find(owner.name, { namespace, signal });
    if (set?.metadata?.uid !== owner.uid) return false;
    const ordinal = Number(name.slice(owner.name.length + 1)) - (set.spec?.ordinals?.start ?? 0);
    return ordinal < (set.spec?.replicas ?? 1);
  }

  /** A claim is made before the binding lists it: only one that has waited for a whole round is looked at. */
  async #sweepClaims(claims: readonly AddressClaim[], bindings: readonly FixedAddress[]): Promise<void> {
    const bound = new Set(
      bindings.flatMap(({ metadata, spec }) =>
        (spec.addresses ?? []).map((address) => `${metadata?.uid ?? ""} ${address}`),
      ),
    );
    const candidates = new Set<string>();
    for (const { metadata, spec } of claims) {
      if (bound.has(`${spec.uid} ${spec.address}`)) continue;
      const { uid = "", resourceVersion: version = "" } = metadata ?? {};
      const mark = `${uid} ${version}`;
      candidates.add(mark);
      if (!this.#candidates.has(mark)) continue;
      if (await freeClaim(this.#store, { value: spec, version, uid }))
        this.#parts.log.info({ address: spec.address }, "claim of an address that no pod has removed");
    }
    this.#candidates = candidates;
  }
}
