import type { Logger } from "@axoneme/base";
import { isConflict, isNotFound, type KubeClient, resources } from "@axoneme/kube";
import { heartbeatAnnotation, type IdentityRow, type Sources } from "./sources.ts";

/** Which identities to mark and which to remove. Pure; times are milliseconds of one clock. */
export class IdentityUsage {
  readonly #timeoutMs: number;
  readonly #lastUse = new Map<string, number>();

  constructor(timeoutMs: number) {
    this.#timeoutMs = timeoutMs;
  }

  /** An endpoint names this identity, or did until now. */
  used(identity: string, now: number): void {
    this.#lastUse.set(identity, now);
  }

  /**
   * An identity that nobody has used for the timeout is first marked, and removed at a later sweep if it is still
   * marked then: an agent that takes it up in between removes the mark.
   */
  sweep(identities: Iterable<IdentityRow>, inUse: ReadonlySet<string>, now: number): Sweep {
    const result: Sweep = { mark: [], unmark: [], remove: [], alive: 0 };
    const present = new Set<string>();
    for (const identity of identities) {
      present.add(identity.name);
      if (inUse.has(identity.name)) this.#lastUse.set(identity.name, now);
      // First seen: its age before us is unknown.
      const last = this.#lastUse.get(identity.name) ?? now;
      this.#lastUse.set(identity.name, last);
      const unused = now - last >= this.#timeoutMs;
      if (!unused) result.alive++;
      if (unused) (identity.marked ? result.remove : result.mark).push(identity);
      else if (identity.marked && inUse.has(identity.name)) result.unmark.push(identity);
    }
    for (const name of this.#lastUse.keys()) if (!present.has(name)) this.#lastUse.delete(name);
    return result;
  }
}

export interface Sweep {
  mark: IdentityRow[];
  /** Marked by a former leader although in use. */
  unmark: IdentityRow[];
  remove: IdentityRow[];
  /** Identities that stay. */
  alive: number;
}

export interface IdentityGcOptions {
  timeoutMs: number;
  ratePerMinute: number;
}

/** Removes CiliumIdentities that no CiliumEndpoint has used for a while. */
export class IdentityGc {
  readonly #client: KubeClient;
  readonly #sources: Sources;
  readonly #usage: IdentityUsage;
  readonly #options: IdentityGcOptions;
  readonly #log: Logger;
  readonly #signal: AbortSignal;
  /** Of the last sweep. */
  readonly counts = { alive: 0, removed: 0, runs: 0, failures: 0 };

  constructor(
    around: { client: KubeClient; sources: Sources; log: Logger; signal: AbortSignal },
    options: IdentityGcOptions,
  ) {
    this.#client = around.client;
    this.#sources = around.sources;
    this.#log = around.log;
    this.#signal = around.signal;
    this.#options = options;
    this.#usage = new IdentityUsage(options.timeoutMs);
    this.#sources.onIdentityUse.on((identity) => this.#usage.used(identity, performance.now()));
  }

  async sweep(): Promise<void> {
    // A copy that lags might miss a new endpoint: better to keep too much.
    if (this.#sources.stale) return;
    const inUse = new Set([...this.#sources.endpoints.store.values()].map((row) => row.identity));
    const found = this.#usage.sweep(this.#sources.identities.store.values(), inUse, performance.now());
    this.counts.alive = found.alive;
    this.counts.removed = 0;
    this.counts.runs++;
    try {
      for (const identity of found.unmark) await this.#mark(identity, null);
      for (const identity of found.mark) await this.#mark(identity, new Date().toISOString());
      await this.#removeAll(found.remove);
    } catch (error) {
      this.counts.failures++;
      throw error;
    }
    if (found.remove.length > 0)
      this.#log.info({ removed: this.counts.removed }, "unused identities removed");
  }

  async #mark(identity: IdentityRow, value: string | null): Promise<void> {
    const { resourceVersion } = identity;
    const patch = { metadata: { resourceVersion, annotations: { [heartbeatAnnotation]: value } } };
    const identities = this.#client.resource(resources.ciliumidentities);
    await tolerate(identities.patch(identity.name, patch, { signal: this.#signal }));
  }

  async #removeAll(unused: readonly IdentityRow[]): Promise<void> {
    let began = performance.now();
    for (const [index, identity] of unused.entries()) {
      if (index > 0 && index % this.#options.ratePerMinute === 0) {
        await new Promise((resolve) => setTimeout(resolve, Math.max(0, began + 60_000 - performance.now())));
        began = performance.now();
      }
      this.#signal.throwIfAborted();
      // The version stands for "still marked": taking the identity up removes the mark and makes a conflict.
      const preconditions = { uid: identity.uid, resourceVersion: identity.resourceVersion };
      const identities = this.#client.resource(resources.ciliumidentities);
      const removed = await tolerate(
        identities.delete(identity.name, { preconditions, signal: this.#signal }),
      );
      if (removed) this.counts.removed++;
    }
  }
}

/** False when the object has changed or gone meanwhile, which is as good. */
export async function tolerate(write: Promise<unknown>): Promise<boolean> {
  try {
    await write;
    return true;
  } catch (error) {
    if (isConflict(error) || isNotFound(error)) return false;
    throw error;
  }
}
