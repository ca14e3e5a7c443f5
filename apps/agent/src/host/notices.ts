import { backoff, delay, errorText, KeyedQueue, type Logger } from "@axoneme/base";
import { type EventRecorder, isNotFound, type KubeClient, type KubeObject } from "@axoneme/kube";
import { ciliumClusterwideNetworkPolicies } from "../state/objects.ts";
import type { HostPolicy, TrialState } from "./host-policies.ts";

/** Conditions of policies are one a node: of type `host.axoneme.io/<node>`. */
const conditionDomain = "host.axoneme.io";

/**
 * Tells of host policies on trial, in events and in a condition of the policy's status that is this node's own. What
 * cannot be written yet, since it is just the API server that was cut off, is written when it can be.
 */
export class HostPolicyNotices {
  readonly #client: KubeClient;
  readonly #events: EventRecorder;
  readonly #node: string;
  readonly #log: Logger;
  readonly #queue = new KeyedQueue<string>();
  readonly #wanted = new Map<string, readonly object[]>();
  #stopped = false;

  constructor(client: KubeClient, events: EventRecorder, node: string, log: Logger) {
    this.#client = client;
    this.#events = events;
    this.#node = node;
    this.#log = log;
  }

  /** Says what became of a change; without a state, that there is nothing to be said any more. */
  tell(policies: readonly HostPolicy[], state: TrialState | undefined, message: string): void {
    for (const { object } of policies) {
      const { name = "", uid } = object.metadata ?? {};
      if (state !== undefined) {
        const subject = {
          apiVersion: "cilium.io/v2",
          kind: "CiliumClusterwideNetworkPolicy",
          namespace: "",
          name,
          uid,
        };
        const type = state === "Confirmed" ? "Normal" : "Warning";
        this.#events.record(subject, type, `HostPolicy${state}`, `node ${this.#node}: ${message}`);
      }
      this.#want(name, state === undefined ? [] : [this.#condition(state, message)]);
    }
  }

  /** Gives up what is pending. */
  stop(): void {
    this.#stopped = true;
    this.#events.stop();
  }

  #condition(state: TrialState, message: string): object {
    return {
      type: `${conditionDomain}/${this.#node}`,
      status: state === "Confirmed" ? "True" : "False",
      reason: state,
      message,
      lastTransitionTime: new Date().toISOString().replace(/\.\d+Z$/, "Z"),
    };
  }

  #want(name: string, conditions: readonly object[]): void {
    const waiting = this.#wanted.has(name);
    this.#wanted.set(name, conditions);
    if (waiting) return;
    this.#queue
      .run(name, () => this.#write(name))
      .catch((error: unknown) => this.#log.error({ policy: name }, `status given up: ${errorText(error)}`));
  }

  async #write(name: string): Promise<void> {
    const wait = backoff({ baseMs: 200, maxMs: 10_000 });
    while (!this.#stopped) {
      const conditions = this.#wanted.get(name);
      try {
        await this.#apply(name, conditions ?? []);
        if (this.#wanted.get(name) === conditions) {
          this.#wanted.delete(name);
          return;
        }
        wait.reset();
      } catch (error) {
        this.#log.debug({ policy: name, err: errorText(error) }, "status not written yet");
        await delay(wait.next());
      }
    }
  }

  /** A policy that is gone has no status. */
  async #apply(name: string, conditions: readonly object[]): Promise<void> {
    const policies = this.#client.resource(ciliumClusterwideNetworkPolicies);
    const object = { metadata: { name }, status: { conditions } } as KubeObject;
    try {
      await policies.applyStatus(object, { fieldManager: `axoneme-agent-${this.#node}`, force: true });
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
  }
}
