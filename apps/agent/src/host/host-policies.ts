import { errorText, type Logger } from "@axoneme/base";
import type { KubeObject } from "@axoneme/kube";
import { isHostPolicy, type Policy, policyKey } from "@axoneme/policy";
import type { Lifeline } from "./lifelines.ts";
import type { HostRecord } from "./record.ts";

/** A policy object and its normal form. */
export interface HostPolicy {
  readonly policy: Policy;
  readonly object: KubeObject;
}

/** What became of a change, for the objects' status and events. */
export type TrialState = "OnTrial" | "Reverted" | "Confirmed";

/** How policies are put in force, and what is told. */
export interface HostPolicyDeps {
  /** What the API says of a policy; undefined: it is not there. */
  readonly wanted: (key: string) => HostPolicy | undefined;
  readonly parse: (object: KubeObject) => Policy;
  readonly enforce: (policy: Policy) => void;
  readonly withdraw: (ref: Policy["ref"]) => void;
  readonly setLabels: (labels: Readonly<Record<string, string>>) => void;
  /** What must not be cut off, at this moment. */
  readonly lifelines: () => Lifeline[];
  /** Tells of a change by its policies; undefined: nothing is to be told of them any more. */
  readonly tell: (policies: readonly HostPolicy[], state: TrialState | undefined, message: string) => void;
  readonly record: { read(): HostRecord; write(record: HostRecord): void };
  readonly trialMs: number;
  readonly log: Logger;
}

/** Set on a policy, its changes need no trial: somebody knows what they cut off. */
export const confirmedAnnotation = "policy.axoneme.io/confirmed";

interface State {
  readonly policies: ReadonlyMap<string, HostPolicy>;
  readonly labels: Readonly<Record<string, string>>;
}

interface Trial {
  /** What was in force before. */
  readonly good: State;
  /** What could be reached under it. */
  readonly baseline: readonly Lifeline[];
  readonly until: number;
  readonly timer: NodeJS.Timeout;
  /** What is refused now, less what was seen to work all the same. */
  cut: Set<Lifeline>;
  readonly lost: readonly string[];
}

/** How often what was cut off by the policy's word is tried. */
const checkEveryMs = 2000;
/** Lifelines named in a message. */
const mostNamed = 5;

/**
 * Puts changes of host policies in force, and takes back those that lock the node out. A change (of policies about this
 * node, or of the labels they select it by) that refuses what was let through before is on trial: in force, but only
 * until its time is up, unless somebody confirms it, or all it refuses is seen to work nevertheless. All host policies
 * are one unit: what is taken back is the whole of what changed.
 */
export class HostPolicies {
  readonly #deps: HostPolicyDeps;
  #applied: State = { policies: new Map(), labels: {} };
  #wantedLabels: Readonly<Record<string, string>> = {};
  /** Keys of all policies about nodes that there are, and of those in force. */
  readonly #keys = new Set<string>();
  #rejected: ReadonlyMap<string, string> = new Map();
  #trial: Trial | undefined;
  #reverted = "";
  #open = false;

  constructor(deps: HostPolicyDeps) {
    this.#deps = deps;
  }

  /** Whether a policy's coming and going is for `changed` to see to. */
  takes(policy: Policy): boolean {
    return isHostPolicy(policy) || this.#keys.has(policyKey(policy.ref));
  }

  /** A policy that `takes` claims came, changed or went. */
  changed(key: string): void {
    this.#keys.add(key);
    if (this.#open) this.#turn();
  }

  /** The node's labels are others. */
  labelsChanged(labels: Readonly<Record<string, string>>): void {
    this.#wantedLabels = labels;
    if (!this.#open) return;
    if (this.#keys.size > 0) this.#turn();
    else this.#bring({ ...this.#applied, labels });
  }

  /**
   * All policies and labels are known. Puts in force what was before this agent, calls `commit`, which writes it, and
   * goes on to what is wanted now.
   */
  open(commit: () => void): void {
    const { record, parse, enforce, log } = this.#deps;
    const { inForce, labels, rejected, unsettled } = record.read();
    const policies = new Map<string, HostPolicy>();
    for (const [key, object] of Object.entries(inForce)) {
      this.#keys.add(key);
      policies.set(key, { policy: parse(object), object });
    }
    this.#applied = { policies, labels: labels ?? this.#wantedLabels };
    this.#deps.setLabels(this.#applied.labels);
    for (const { policy } of policies.values()) enforce(policy);
    this.#rejected = new Map(Object.entries(rejected));
    commit();
    this.#open = true;
    if (unsettled) {
      log.warn({}, "a change of host policies was on trial when the last agent ended: it is taken back");
      this.#reverted = "it was on trial when the agent ended";
      this.#tellReverted();
      this.#write(this.#applied, this.#rejected, false);
    }
    this.#turn();
  }

  /**
   * Makes the change that is on trial, or was taken back, stay.
   * @param name of one of its policies. @returns the names of all; empty: no such change.
   */
  confirm(name: string): string[] {
    const policies = this.#about(this.#differing(this.#trial?.good ?? this.#applied));
    if (!policies.some(({ policy }) => policy.ref.name === name)) return [];
    this.#apply();
    this.#settle();
    const names = policies.map(({ policy }) => policy.ref.name);
    this.#deps.tell(policies, "Confirmed", "confirmed by hand: the change stays");
    this.#deps.log.info({ policies: names }, "a change of host policies was confirmed");
    return names;
  }

  /** What is to be said of a policy, in lists; undefined: it is in force as the API has it. */
  messageOf(key: string): string | undefined {
    if (!this.#keys.has(key)) return undefined;
    const how = "axon policy confirm makes it stay";
    if (this.#trial && concerns(this.#differing(this.#trial.good), key))
      return `on trial until ${new Date(this.#trial.until).toISOString()}, would cut off ${named(this.#trial.lost)}: ${how}`;
    if (concerns([...this.#rejected.keys()], key))
      return `taken back on this node: ${this.#reverted}; ${how}`;
    return undefined;
  }

  /** Ends the watching; what is on trial is taken back by the next agent. */
  stop(): void {
    if (this.#trial) clearInterval(this.#trial.timer);
  }

  /** Goes to what is wanted, if that is something new. */
  #turn(): void {
    const differing = this.#differing(this.#applied);
    if (differing.length === 0 && !this.#trial && this.#rejected.size > 0) this.#settle();
    if (differing.every((key) => this.#isRejected(key))) return;
    const good = this.#trial?.good ?? this.#applied;
    const baseline = this.#trial?.baseline ?? this.#deps.lifelines().filter((line) => line.isAllowed());
    const changed = this.#differing(good);
    // Were the agent to die in the middle, the next one finds what was good.
    this.#write(good, new Map(changed.map((key) => [key, this.#wantedText(key)])), true);
    this.#apply();
    const cut = baseline.filter((line) => !line.isAllowed());
    const confirmed = changed.every((key) => this.#isConfirmed(key));
    if (cut.length === 0 || confirmed) this.#settle();
    else this.#try(good, baseline, cut, changed);
  }

  #try(
    good: State,
    baseline: readonly Lifeline[],
    cut: readonly Lifeline[],
    changed: readonly string[],
  ): void {
    const { trialMs, log } = this.#deps;
    const before = this.#trial;
    if (before) clearInterval(before.timer);
    const timer = setInterval(() => void this.#check(), Math.min(checkEveryMs, trialMs)).unref();
    const lost = cut.map(({ what }) => what);
    const until = before?.until ?? Date.now() + trialMs;
    this.#trial = { good, baseline, until, timer, cut: new Set(cut), lost };
    const message = `cuts off ${named(lost)}; taken back at ${new Date(until).toISOString()} unless confirmed: axon policy confirm <name>`;
    log.warn({ policies: changed, lost: lost.slice(0, mostNamed) }, "a change of host policies is on trial");
    this.#tell(changed, "OnTrial", message);
  }

  async #check(): Promise<void> {
    const trial = this.#trial;
    if (!trial) return;
    const proofs = [...trial.cut].map(async (line) => {
      if (await line.isProven()) trial.cut.delete(line);
    });
    await Promise.all(proofs).catch((error: unknown) =>
      this.#deps.log.warn(
        { err: errorText(error) },
        "could not look whether a host policy cuts anything off",
      ),
    );
    if (this.#trial !== trial) return;
    if (trial.cut.size === 0) {
      const changed = this.#differing(trial.good);
      this.#settle();
      this.#tell(changed, "Confirmed", "what it should cut off goes on: the change stays");
    } else if (Date.now() >= trial.until) this.#revert(trial);
  }

  #revert({ good, cut, timer }: Trial): void {
    clearInterval(timer);
    this.#trial = undefined;
    const changed = this.#differing(good);
    this.#rejected = new Map(changed.map((key) => [key, this.#wantedText(key)]));
    this.#bring(good);
    this.#write(good, this.#rejected, false);
    this.#reverted = `it was about to cut off ${named([...cut].map(({ what }) => what))}`;
    this.#deps.log.error(
      { policies: changed },
      `a change of host policies was taken back: ${this.#reverted}`,
    );
    this.#tellReverted();
  }

  #tellReverted(): void {
    this.#tell([...this.#rejected.keys()], "Reverted", `not in force on this node: ${this.#reverted}`);
  }

  /** What is wanted is in force, and stays. */
  #settle(): void {
    if (this.#trial) clearInterval(this.#trial.timer);
    const noted = this.#trial !== undefined || this.#rejected.size > 0;
    this.#trial = undefined;
    this.#rejected = new Map();
    const policies = new Map([...this.#applied.policies].filter(([, { policy }]) => isHostPolicy(policy)));
    for (const key of this.#keys) if (!policies.has(key)) this.#keys.delete(key);
    this.#applied = { ...this.#applied, policies };
    this.#write(this.#applied, new Map(), false);
    if (noted) this.#deps.tell([...this.#applied.policies.values()], undefined, "");
  }

  #apply(): void {
    const policies = new Map<string, HostPolicy>();
    for (const key of this.#keys) {
      const wanted = this.#deps.wanted(key);
      if (wanted) policies.set(key, wanted);
    }
    this.#bring({ policies, labels: this.#wantedLabels });
  }

  /** From what is in force to another state: what it adds before what it takes away. */
  #bring(to: State): void {
    const { enforce, withdraw, setLabels } = this.#deps;
    const from = this.#applied;
    this.#applied = to;
    for (const [key, { policy }] of to.policies) {
      if (textOf(from.policies.get(key)) !== textOf(to.policies.get(key))) enforce(policy);
    }
    for (const [key, { policy }] of from.policies) if (!to.policies.has(key)) withdraw(policy.ref);
    if (JSON.stringify(from.labels) !== JSON.stringify(to.labels)) setLabels(to.labels);
  }

  /** Keys whose wanted version is another than that of a state. */
  #differing(state: State): string[] {
    const keys = new Set([...this.#keys, ...state.policies.keys()]);
    const differing = [...keys].filter((key) => this.#wantedText(key) !== textOf(state.policies.get(key)));
    return JSON.stringify(state.labels) === JSON.stringify(this.#wantedLabels)
      ? differing
      : [...differing, labelsKey];
  }

  #wantedText(key: string): string {
    if (key === labelsKey) return JSON.stringify(this.#wantedLabels);
    return textOf(this.#deps.wanted(key));
  }

  #isRejected(key: string): boolean {
    return this.#rejected.get(key) === this.#wantedText(key) && !this.#isConfirmed(key);
  }

  /** Of labels: of all policies that may select the node by them. */
  #isConfirmed(key: string): boolean {
    if (key === labelsKey) return [...this.#keys].every((one) => this.#isConfirmed(one));
    return this.#deps.wanted(key)?.object.metadata?.annotations?.[confirmedAnnotation] === "true";
  }

  #policyOf(key: string): HostPolicy | undefined {
    return this.#deps.wanted(key) ?? this.#trial?.good.policies.get(key) ?? this.#applied.policies.get(key);
  }

  #tell(keys: readonly string[], state: TrialState, message: string): void {
    this.#deps.tell(this.#about(keys), state, message);
  }

  /** The policies of a change; of a change of labels all: which of them select the node by it is not looked at. */
  #about(keys: readonly string[]): HostPolicy[] {
    const about = keys.includes(labelsKey) ? new Set([...this.#keys, ...keys]) : keys;
    return [...about].map((key) => this.#policyOf(key)).filter((policy) => policy !== undefined);
  }

  #write(inForce: State, rejected: ReadonlyMap<string, string>, unsettled: boolean): void {
    this.#deps.record.write({
      inForce: Object.fromEntries([...inForce.policies].map(([key, { object }]) => [key, object])),
      labels: inForce.labels,
      rejected: Object.fromEntries(rejected),
      unsettled,
    });
  }
}

/** Stands for the node's labels among the keys of policies. */
const labelsKey = "labels of the node";

function concerns(changed: readonly string[], key: string): boolean {
  return changed.includes(key) || changed.includes(labelsKey);
}

/** Equal for versions that say the same. */
function textOf(held: HostPolicy | undefined): string {
  return held === undefined ? "" : JSON.stringify(held.policy.specs);
}

function named(lost: readonly string[]): string {
  const more = lost.length > mostNamed ? ` and ${lost.length - mostNamed} more` : "";
  return `${lost.slice(0, mostNamed).join(", ")}${more}`;
}
