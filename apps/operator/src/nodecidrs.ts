import type { HealthReporter, Module } from "@axoneme/app";
import { AxonError, errorText, formatPrefix, type Logger, type Prefix, parsePrefix } from "@axoneme/base";
import { ClusterPool } from "@axoneme/ipam";
import { type CiliumNode, isConflict, isNotFound, type KubeClient, resources } from "@axoneme/kube";
import { fieldManager } from "./crds.ts";
import type { EventRecorder } from "./eventrecorder.ts";
import type { OperatorConfig } from "./options.ts";
import type { Sources } from "./sources.ts";
import { WorkQueue } from "./workqueue.ts";

/** A CiliumNode with this annotation set to "true" is left alone. */
const ignoreAnnotation = "ipam.cilium.io/ignore";

/** What this module needs around it. */
export interface Surroundings {
  client: KubeClient;
  sources: Sources;
  events: EventRecorder;
  log: Logger;
  /** Aborts when we no longer lead. */
  signal: AbortSignal;
}

/** The pool that the configuration describes. Throws `ipam.pool`, `prefix.invalid`. */
export function clusterPool(config: OperatorConfig): ClusterPool {
  const v4 = config.clusterPoolIpv4Cidrs.map((text) => ({
    cidr: parsePrefix(text),
    maskSize: config.clusterPoolIpv4MaskSize,
  }));
  const v6 = config.clusterPoolIpv6Cidrs.map((text) => ({
    cidr: parsePrefix(text),
    maskSize: config.clusterPoolIpv6MaskSize,
  }));
  return new ClusterPool([...v4, ...v6]);
}

/**
 * Gives each CiliumNode its pod CIDRs: `spec.ipam.podCIDRs`. The objects are the only record: what they say is
 * taken over before anything is given out, and a write that finds the object changed is done again on the new.
 */
export class NodeCidrs implements Module {
  readonly name = "node-cidrs";
  readonly #pool: ClusterPool;
  readonly #around: Surroundings;
  readonly #queue: WorkQueue;
  /** Nodes that got nothing because the pool was empty. */
  readonly #starving = new Set<string>();
  #unsubscribe: () => void = () => undefined;
  #health: HealthReporter | undefined;

  constructor(pool: ClusterPool, around: Surroundings) {
    this.#pool = pool;
    this.#around = around;
    this.#queue = new WorkQueue(
      (name) => this.#reconcile(name),
      (name, error) => this.#failed(name, error),
    );
  }

  start(health: HealthReporter): void {
    this.#health = health;
    const { sources } = this.#around;
    const nodes = [...sources.ciliumNodes.store.values()];
    const held = nodes.map((node) => ({ node: nameOf(node), cidrs: readCidrs(node) }));
    for (const { node, error } of this.#pool.restore(held)) {
      this.#around.log.error({ node, err: error.message }, "two nodes have overlapping pod CIDRs");
    }
    for (const { metadata } of sources.fixedPools.store.values()) this.#keepOut(metadata?.name ?? "");
    const unsubscribe = [
      sources.onCiliumNode.on((name) => this.#queue.add(name)),
      sources.onFixedPool.on((name) => this.#keepOut(name)),
    ];
    this.#unsubscribe = () => {
      for (const each of unsubscribe) each();
    };
    for (const node of nodes) this.#queue.add(nameOf(node));
    health.ok();
  }

  async stop(): Promise<void> {
    this.#unsubscribe();
    await this.#queue.stop();
  }

  /** Blocks, pieces in all and free. */
  usage(): ReturnType<ClusterPool["usage"]> {
    return this.#pool.usage();
  }

  /** How many nodes wait for a CIDR. */
  get starving(): number {
    return this.#starving.size;
  }

  /** No node gets a part of a FixedAddressPool. */
  #keepOut(name: string): void {
    const owner = `FixedAddressPool ${name}`;
    this.#pool.release(owner);
    for (const text of this.#around.sources.fixedPools.store.get(name)?.spec.cidrs ?? []) {
      try {
        this.#pool.reserve(owner, parsePrefix(text));
      } catch (error) {
        this.#around.log.error(
          { pool: name, err: errorText(error) },
          "a pool of fixed addresses overlaps pod CIDRs",
        );
      }
    }
  }

  async #reconcile(name: string): Promise<void> {
    const node = this.#around.sources.ciliumNodes.store.get(name);
    if (node === undefined) return this.#release(name);
    if (node.metadata?.annotations?.[ignoreAnnotation] === "true") return;
    const wanted = await this.#wanted(name, node);
    if (wanted === undefined) return;
    const present = node.spec.ipam?.podCIDRs ?? [];
    const next = wanted.map(formatPrefix);
    if (present.length !== next.length || next.some((cidr) => !present.includes(cidr))) {
      await this.#write(node, next);
    } else await this.#setError(node, "");
    this.#report();
  }

  /** The node's CIDRs; undefined when it can have none, which is then in its status. */
  async #wanted(name: string, node: CiliumNode): Promise<Prefix[] | undefined> {
    const held = readCidrs(node);
    this.#starving.delete(name);
    try {
      if (held.length > 0) {
        // The object is right, also where a person changed it.
        this.#pool.release(name);
        for (const cidr of held) this.#pool.reserve(name, cidr);
      }
      this.#pool.allocate(name);
      const asked = node.spec.ipam?.pools?.requested?.find(({ pool }) => pool === "default")?.needed;
      this.#extend(name, asked);
      return [...this.#pool.cidrsOf(name)];
    } catch (error) {
      if (!(error instanceof AxonError)) throw error;
      if (error.code === "ipam.exhausted") this.#starving.add(name);
      this.#report();
      await this.#setError(node, error.message);
      return undefined;
    }
  }

  /** More CIDRs for a node whose addresses run out. What it has it keeps, whether there are more or not. */
  #extend(name: string, asked: { "ipv4-addrs"?: number; "ipv6-addrs"?: number } | undefined): void {
    try {
      this.#pool.fill(name, 4, asked?.["ipv4-addrs"] ?? 0);
      this.#pool.fill(name, 6, asked?.["ipv6-addrs"] ?? 0);
    } catch (error) {
      if (!(error instanceof AxonError)) throw error;
      this.#around.log.warn(
        { node: name, err: error.message },
        "no further pod CIDR for a node that asks for one",
      );
      this.#starving.add(name);
    }
  }

  async #write(node: CiliumNode, podCIDRs: string[]): Promise<void> {
    const { client, signal, log } = this.#around;
    // The version makes it a conflict when another leader, or a person, was quicker.
    const patch = {
      metadata: { resourceVersion: node.metadata?.resourceVersion },
      spec: { ipam: { podCIDRs } },
    };
    try {
      await client.resource(resources.ciliumnodes).patch(nameOf(node), patch, { fieldManager, signal });
      log.info({ node: nameOf(node), podCIDRs }, "pod CIDRs handed out");
    } catch (error) {
      // The watch brings the newer object, or its end, and with it the next try.
      if (!isConflict(error) && !isNotFound(error)) throw error;
    }
  }

  async #setError(node: CiliumNode, text: string): Promise<void> {
    const { client, signal, events, log } = this.#around;
    const present = node.status?.ipam?.["operator-status"]?.error ?? "";
    if (present === text) return;
    const patch = { status: { ipam: { "operator-status": { error: text === "" ? null : text } } } };
    try {
      const options = { subresource: "status", fieldManager, signal };
      await client.resource(resources.ciliumnodes).patch(nameOf(node), patch, options);
    } catch (error) {
      if (isNotFound(error)) return;
      throw error;
    }
    if (text === "") return;
    log.error({ node: nameOf(node), err: text }, "no pod CIDRs for a node");
    await events.warn(resources.ciliumnodes, node, "PodCIDRAllocationFailed", text);
  }

  #release(name: string): void {
    const released = this.#pool.release(name);
    this.#starving.delete(name);
    if (released.length === 0) return;
    this.#around.log.info({ node: name, podCIDRs: released.map(formatPrefix) }, "pod CIDRs taken back");
    for (const starving of this.#starving) this.#queue.add(starving);
  }

  #failed(name: string, error: unknown): void {
    this.#around.log.warn({ node: name, err: errorText(error) }, "could not write pod CIDRs; trying again");
    this.#health?.degraded(`pod CIDRs of ${name}: ${errorText(error)}`);
  }

  #report(): void {
    if (this.#starving.size === 0) this.#health?.ok();
    else this.#health?.degraded(`the pool is empty: ${this.#starving.size} nodes wait for a pod CIDR`);
  }
}

function nameOf(node: CiliumNode): string {
  return node.metadata?.name ?? "";
}

/** What cannot be read is left out: the agent of that node says so in its own status. */
function readCidrs(node: CiliumNode): Prefix[] {
  return (node.spec?.ipam?.podCIDRs ?? []).flatMap((text) => {
    try {
      return [parsePrefix(text)];
    } catch (error) {
      if (error instanceof AxonError) return [];
      throw error;
    }
  });
}
