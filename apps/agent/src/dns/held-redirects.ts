import type { Logger } from "@axoneme/base";
import { type Policy, policyKey } from "@axoneme/policy";
import type { Redirects } from "./policy-names.ts";
import type { ProxyClient } from "./proxy-client.ts";

/**
 * A policy waits this long for a proxy. Then it is put in force without one: what it denies is denied, and names are
 * not resolved until a proxy serves. Milliseconds.
 */
const longestMs = 5000;

/** Whether rules of the policy send queries to the proxy. */
function redirects({ specs }: Policy): boolean {
  return specs.some(({ rules }) => rules.some(({ dns }) => dns !== undefined));
}

/**
 * Policies with DNS rules that came while no proxy served, in the form told last. What was in force before stays
 * meanwhile: a redirect to nobody would lose the queries of those it is about.
 */
export class HeldRedirects implements Redirects {
  readonly #client: Pick<ProxyClient, "isConnected" | "mayServe" | "whenServing" | "onServing">;
  readonly #enforce: (policy: Policy) => void;
  readonly #log: Logger;
  readonly #held = new Map<string, Policy>();
  #timer: NodeJS.Timeout | undefined;

  constructor(
    client: Pick<ProxyClient, "isConnected" | "mayServe" | "whenServing" | "onServing">,
    enforce: (policy: Policy) => void,
    log: Logger,
  ) {
    this.#client = client;
    this.#enforce = enforce;
    this.#log = log;
    client.onServing = () => this.#release();
  }

  holds(policy: Policy): boolean {
    const key = policyKey(policy.ref);
    if (!this.#client.mayServe || this.#client.isConnected || !redirects(policy)) {
      this.#held.delete(key);
      return false;
    }
    this.#held.set(key, policy);
    this.#timer ??= setTimeout(() => {
      this.#log.error(
        { policies: [...this.#held.keys()] },
        "no DNS proxy serves: policies with DNS rules are put in force, and names are not resolved under them",
      );
      this.#release();
    }, longestMs).unref();
    return true;
  }

  forget(key: string): void {
    this.#held.delete(key);
  }

  async ready(policies: readonly Policy[]): Promise<void> {
    if (this.#client.mayServe && policies.some(redirects)) await this.#client.whenServing(longestMs);
  }

  #release(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const held = [...this.#held.values()];
    this.#held.clear();
    for (const policy of held) this.#enforce(policy);
  }
}
