import { type Clock, systemClock, type Timer } from "@axoneme/base";
import {
  type IdentityCache,
  type Labels,
  type PodClaim,
  PodClasses,
  RelevantKeys,
  type Renumbered,
  withPorts,
} from "@axoneme/identity";
import type { NamedPort } from "../endpoint/pods.ts";
import type { AgentConfig } from "../options.ts";
import type { IpcacheWriter } from "./ipcache.ts";
import type { PolicyModule } from "./policy.ts";

/** Whose pods: those of this node, or those of others. */
export type PodKind = "local" | "remote";

/** A pod that goes by another number, by the key it was stated under. */
export interface PodMove {
  readonly key: string;
  readonly from: number;
  readonly to: number;
}

/** What this works with. */
export interface PodIdentityDeps {
  readonly identities: IdentityCache;
  readonly policy: PolicyModule;
  readonly ipcacheWriter: IpcacheWriter;
  /** First number for classes of this node: above every one in the kernel. */
  readonly firstNumber: number;
  readonly clock?: Clock;
}

/** How long the rows of a class that nobody goes by stay: it may be wanted again at once. */
const idleMs = 1000;
/** Longest and shortest time between two looks for keys that are named no more. */
const sweepMs = { least: 250, most: 60_000 };

/**
 * Keeps the numbers of pods such that each stands for labels that answer every selector in force as the pod's own
 * do, and keeps the order: rows of a number, then pods that carry it, then the policy that needed it; away in reverse.
 */
export class PodIdentities {
  readonly #deps: PodIdentityDeps;
  readonly #clock: Clock;
  readonly #relevant: RelevantKeys;
  /** How long a key stays relevant after the last policy that names it. */
  readonly #mergeDelayMs: number;
  readonly #classes: PodClasses;
  readonly #movers = new Map<PodKind, (moves: readonly PodMove[]) => void>();
  /** When a policy last named the key. */
  readonly #named = new Map<string, number>();
  #idleTimer: Timer | undefined;
  #sweepTimer: Timer | undefined;
  /** Told after each look for keys that are named no more: identities of local pods may be finer than needed. */
  onSweep: () => void = () => undefined;

  constructor(config: Pick<AgentConfig, "identityMode" | "identityMergeDelay">, deps: PodIdentityDeps) {
    this.#deps = deps;
    this.#clock = deps.clock ?? systemClock;
    this.#relevant = new RelevantKeys(config.identityMode);
    this.#mergeDelayMs = config.identityMergeDelay * 1000;
    this.#classes = new PodClasses(deps.identities, this.#relevant, deps.firstNumber);
    deps.policy.beforeNaming = (keys) => this.#move(this.#classes.need(keys));
    deps.identities.changes.on(({ id, labels }) => {
      if (labels) deps.policy.addIdentities([{ id, labels }]);
      this.#move(this.#classes.identityChanged(id));
      if (labels) return;
      deps.ipcacheWriter.flush();
      deps.policy.deleteIdentities([id]);
    });
  }

  /** Who changes the rows of pods of a kind. When it returns, packets carry the new numbers. */
  onMove(kind: PodKind, mover: (moves: readonly PodMove[]) => void): void {
    this.#movers.set(kind, mover);
  }

  /** Begins to forget keys that no policy names any more. */
  start(): void {
    const every = Math.min(sweepMs.most, Math.max(sweepMs.least, this.#mergeDelayMs / 4));
    this.#sweepTimer = this.#clock.setTimer(every, () => {
      this.start();
      this.#sweep();
    });
  }

  stop(): void {
    this.#sweepTimer?.cancel();
    this.#idleTimer?.cancel();
  }

  /** States a pod. The number to be written for it, whose policy rows are there. */
  set(kind: PodKind, key: string, claim: PodClaim): number {
    const number = this.#classes.set(nameOf(kind, key), claim);
    this.#settle();
    return number;
  }

  /** Forgets a pod whose rows are gone. */
  delete(kind: PodKind, key: string): void {
    this.#classes.delete(nameOf(kind, key));
    this.#settle();
  }

  /** The number a pod goes by. */
  numberOf(kind: PodKind, key: string): number | undefined {
    return this.#classes.numberOf(nameOf(kind, key));
  }

  /** The labels an identity for such a pod should have. */
  wanted(labels: Labels, ports: readonly NamedPort[]): Labels {
    return this.#classes.wanted(withPorts(labels, ports));
  }

  /** The labels behind a number, be it of the cluster or a class of this node. */
  labelsOf(number: number): Labels | undefined {
    return this.#deps.identities.get(number)?.labels ?? this.#classes.labelsOf(number);
  }

  /** Classes that only this node knows. */
  own(): Iterable<{ id: number; labels: Labels }> {
    return this.#classes.own();
  }

  /** Label keys by which policies tell pods apart, besides those that always do. */
  keys(): string[] {
    return [...this.#relevant.named()].sort();
  }

  #move(moves: readonly Renumbered[]): void {
    this.#settle();
    for (const [kind, mover] of this.#movers) {
      const own = moves.filter(({ pod }) => pod.startsWith(localPrefix) === (kind === "local"));
      const skip = nameOf(kind, "").length;
      if (own.length > 0) mover(own.map(({ pod, from, to }) => ({ key: pod.slice(skip), from, to })));
    }
  }

  /** New numbers get their rows at once; those of nobody lose them a while later. */
  #settle(): void {
    const fresh = this.#classes.takeFresh();
    if (fresh.length > 0) this.#deps.policy.addIdentities(fresh);
    if (!this.#classes.hasIdle || this.#idleTimer !== undefined) return;
    this.#idleTimer = this.#clock.setTimer(idleMs, () => {
      this.#idleTimer = undefined;
      this.#dropIdle();
    });
  }

  #dropIdle(): void {
    const { ipcacheWriter, policy } = this.#deps;
    ipcacheWriter.flush();
    if (ipcacheWriter.problem === undefined) policy.deleteIdentities(this.#classes.takeIdle());
    else this.#settle();
  }

  #sweep(): void {
    const { policy } = this.#deps;
    const now = this.#clock.now();
    const unnamed: string[] = [];
    for (const key of this.#relevant.named()) {
      if (policy.namesKey(key) || !this.#named.has(key)) this.#named.set(key, now);
      else if (now - (this.#named.get(key) ?? now) >= this.#mergeDelayMs) unnamed.push(key);
    }
    for (const key of unnamed) this.#named.delete(key);
    if (unnamed.length > 0) this.#move(this.#classes.drop(unnamed));
    this.onSweep();
  }
}

const localPrefix = "local ";

/** Those of other nodes, of which there are many, keep their key: the same text is not held twice. */
function nameOf(kind: PodKind, key: string): string {
  return kind === "local" ? localPrefix + key : key;
}
