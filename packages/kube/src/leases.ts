import { randomUUID } from "node:crypto";
import { hostname } from "node:os";
import { AxonError, childLogger, type Logger, silentLogger } from "@axoneme/base";
import type { Lease } from "kubernetes-types/coordination/v1";
import type { KubeClient } from "./client.ts";
import { isAlreadyExists, isConflict, isNotFound } from "./errors.ts";
import { resources } from "./known.ts";
import { pause } from "./pause.ts";

export interface ElectionOptions {
  /** Name and namespace of the lease. */
  name: string;
  namespace: string;
  /** Who we are; default: host name and a random part, so that a restarted process is another candidate. */
  identity?: string;
  /** How long others wait after the leader's last sign of life (default 15 s). */
  leaseDurationMs?: number;
  /** The leader resigns when it could not renew for so long (default 10 s; below leaseDurationMs). */
  renewDeadlineMs?: number;
  /** Time between tries (default 2 s). */
  retryMs?: number;
  log?: Logger;
}

export interface ElectionHandlers {
  /** We lead; `signal` aborts when we no longer do. */
  onElected(signal: AbortSignal): void;
  /**
   * We led and no longer do: stop writing at once. Also called by `stop`, which gives the lease up only when the
   * returned promise has settled.
   */
  onLost?(reason: string): void | Promise<void>;
  /** Another identity was seen to lead. */
  onLeader?(identity: string): void;
}

/** A candidacy; see {@link elect}. */
export interface Election {
  readonly identity: string;
  readonly leading: boolean;
  /** Who leads as far as we know; "" for nobody. */
  readonly leader: string;
  /**
   * Ends the candidacy and gives the lease up, so that the next leader need not wait. With `keep` the lease stays as
   * it is: whoever comes back under the same identity before it runs out leads on as if nothing had been.
   */
  stop(options?: { keep?: boolean }): Promise<void>;
}

/**
 * Stands for election on a coordination.k8s.io/v1 Lease. Clocks are not compared between machines: a lease is
 * free when it did not change for its duration, measured here since we last saw it change. After a lost lead
 * the candidacy goes on.
 */
export function elect(client: KubeClient, options: ElectionOptions, handlers: ElectionHandlers): Election {
  return new Candidate(client, options, handlers);
}

/** As the contract names it. */
export const Leases = { elect };

class Candidate implements Election {
  readonly identity: string;
  readonly #client: KubeClient;
  readonly #options: Required<Omit<ElectionOptions, "identity" | "log">>;
  readonly #handlers: ElectionHandlers;
  readonly #log: Logger;
  readonly #stop = new AbortController();
  readonly #done: Promise<void>;
  #term: AbortController | undefined;
  #lease: Lease | undefined;
  #seenAt = 0;
  #renewedAt = 0;
  #leader = "";

  constructor(client: KubeClient, options: ElectionOptions, handlers: ElectionHandlers) {
    const { identity, log, ...given } = options;
    this.#options = { leaseDurationMs: 15_000, renewDeadlineMs: 10_000, retryMs: 2_000, ...given };
    const { leaseDurationMs, renewDeadlineMs, retryMs, name, namespace } = this.#options;
    if (!(retryMs < renewDeadlineMs && renewDeadlineMs < leaseDurationMs)) {
      throw new AxonError("kube.misuse", "an election needs retryMs < renewDeadlineMs < leaseDurationMs");
    }
    this.identity = identity ?? `${hostname()}_${randomUUID().slice(0, 8)}`;
    this.#client = client;
    this.#handlers = handlers;
    this.#log = childLogger(log ?? silentLogger, { lease: `${namespace}/${name}`, identity: this.identity });
    this.#done = this.#run();
  }

  get leading(): boolean {
    return this.#term !== undefined;
  }

  get leader(): string {
    return this.#leader;
  }

  async stop({ keep = false }: { keep?: boolean } = {}): Promise<void> {
    this.#stop.abort();
    await this.#lose("stopped");
    await this.#done;
    if (!keep) await this.#release();
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      const deadline = this.#resignTimer();
      try {
        await this.#try();
      } catch (error) {
        if (!signal.aborted && !isConflict(error) && !isAlreadyExists(error)) {
          this.#log.warn({ err: error }, "cannot read or write the lease");
        }
      } finally {
        clearTimeout(deadline);
      }
      if (this.leading && this.#sinceRenewal() >= this.#options.renewDeadlineMs)
        void this.#lose("could not renew in time");
      if (!signal.aborted) await this.#pause(signal);
    }
  }

  /** A leader whose renewal hangs must resign on time, not when the call returns. */
  #resignTimer(): NodeJS.Timeout | undefined {
    if (!this.leading) return undefined;
    const left = this.#options.renewDeadlineMs - this.#sinceRenewal();
    return setTimeout(() => void this.#lose("could not renew in time"), Math.max(0, left));
  }

  #sinceRenewal(): number {
    return performance.now() - this.#renewedAt;
  }

  async #try(): Promise<void> {
    const { name, namespace, renewDeadlineMs } = this.#options;
    const options = { namespace, signal: this.#stop.signal, deadlineMs: renewDeadlineMs };
    const leases = this.#client.resource(resources.leases);
    // A leader writes on what it wrote last; a conflict makes it look again.
    if (!this.leading || this.#lease === undefined) this.#observe(await leases.find(name, options));
    if (!this.leading && !this.#free()) return;
    const startedAt = performance.now();
    try {
      const next = this.#claim();
      const written =
        this.#lease === undefined ? await leases.create(next, options) : await leases.update(next, options);
      this.#observe(written);
      this.#renewedAt = startedAt;
      this.#win();
    } catch (error) {
      if (isConflict(error) || isNotFound(error)) await this.#lookAgain(options);
      throw error;
    }
  }

  /** Somebody else wrote the lease: if it is no longer ours, the lead is over. */
  async #lookAgain(options: { namespace: string; signal: AbortSignal; deadlineMs: number }): Promise<void> {
    this.#observe(await this.#client.resource(resources.leases).find(this.#options.name, options));
    if (this.leading && this.#leader !== this.identity)
      void this.#lose(`${this.#leader || "nobody"} holds the lease`);
  }

  #observe(lease: Lease | undefined): void {
    if (lease?.metadata?.resourceVersion !== this.#lease?.metadata?.resourceVersion)
      this.#seenAt = performance.now();
    this.#lease = lease;
    const leader = lease?.spec?.holderIdentity ?? "";
    if (leader !== this.#leader) {
      this.#leader = leader;
      if (leader !== "" && leader !== this.identity) this.#handlers.onLeader?.(leader);
    }
  }

  #free(): boolean {
    if (this.#leader === "" || this.#leader === this.identity) return true;
    const durationS = this.#lease?.spec?.leaseDurationSeconds;
    const durationMs = durationS === undefined ? this.#options.leaseDurationMs : durationS * 1000;
    return performance.now() - this.#seenAt >= durationMs;
  }

  #claim(): Lease {
    const { name, namespace, leaseDurationMs } = this.#options;
    const before = this.#lease?.spec;
    const mine = before?.holderIdentity === this.identity;
    const now = microTime();
    return {
      apiVersion: "coordination.k8s.io/v1",
      kind: "Lease",
      metadata: { ...this.#lease?.metadata, name, namespace },
      spec: {
        holderIdentity: this.identity,
        // Whole seconds, never less than we mean.
        leaseDurationSeconds: Math.ceil(leaseDurationMs / 1000),
        acquireTime: mine ? (before.acquireTime ?? now) : now,
        renewTime: now,
        leaseTransitions: (before?.leaseTransitions ?? 0) + (mine || before === undefined ? 0 : 1),
      },
    };
  }

  #win(): void {
    if (this.leading || this.#stop.signal.aborted) return;
    this.#term = new AbortController();
    this.#log.info({}, "elected");
    this.#handlers.onElected(this.#term.signal);
  }

  async #lose(reason: string): Promise<void> {
    const term = this.#term;
    if (term === undefined) return;
    this.#term = undefined;
    this.#log.info({ reason }, "no longer leading");
    term.abort();
    try {
      await this.#handlers.onLost?.(reason);
    } catch (error) {
      this.#log.error({ err: error }, "onLost failed");
    }
  }

  /** Empties the lease, so that the next candidate need not wait. */
  async #release(): Promise<void> {
    const { name, namespace, retryMs } = this.#options;
    // Also where tries follow each other closely, a slow server is given the time for one answer.
    const options = { namespace, deadlineMs: Math.max(retryMs, 500) };
    const leases = this.#client.resource(resources.leases);
    // A renewal cut short by `stop` may or may not have been written: look before each try.
    for (let tries = 0; this.#lease !== undefined && tries < 3; tries++) {
      try {
        const lease = await leases.find(name, options);
        if (lease?.spec?.holderIdentity !== this.identity) return;
        const spec = { ...lease.spec, holderIdentity: "", leaseDurationSeconds: 1, renewTime: microTime() };
        await leases.update({ ...lease, spec }, options);
        return;
      } catch (error) {
        if (isConflict(error)) continue;
        // Harmless: the others wait for the lease to run out.
        return this.#log.warn({ err: error }, "could not give the lease up");
      }
    }
  }

  #pause(signal: AbortSignal): Promise<void> {
    // Candidates must not knock all at the same moment.
    const ms = this.#options.retryMs * (this.leading ? 1 : 1 + 0.2 * Math.random());
    return pause(ms, signal);
  }
}

/** meta/v1 MicroTime of now. */
function microTime(): string {
  return new Date().toISOString().replace("Z", "000Z");
}
