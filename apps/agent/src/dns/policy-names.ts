import type { Prefix } from "@axoneme/base";
import type { DnsRuleSet, Policy } from "@axoneme/policy";

/** Policies that send queries to the DNS proxy: the redirect is written when there is somebody to serve it. */
export interface Redirects {
  /** True: the policy waits, and is put in force as it was told last as soon as a proxy serves, or has not for long. */
  holds(policy: Policy): boolean;
  /** A policy is gone: it waits no more. */
  forget(key: string): void;
  /** Resolves when these policies may be put in force. */
  ready(policies: readonly Policy[]): Promise<void>;
}

/** What the policy module tells of, and asks about, DNS names. */
export interface PolicyNames {
  /** A policy is about to be in force in this form: the names of its old and its new form are looked at. */
  hold(key: string, policy: Policy): void;
  /** A policy is in force in this form, or in none. */
  keepOnly(key: string, policy: Policy | undefined): void;
  /** Rules name a prefix. */
  prefixAdded(prefix: Prefix): void;
  /** No rule names a prefix any more. */
  prefixRemoved(prefix: Prefix): void;
  /** Gives the engine the identities that learned addresses are to have; false: nothing changes. */
  plan(): boolean;
  /**
   * Policy rows of what was planned are in the kernel. True: addresses only gained by it, so that what was decided of
   * their connections holds.
   */
  publish(): boolean;
  /** Rows are about to name these rule sets. */
  rulesAdded(sets: readonly DnsRuleSet[]): void;
  /** No row names these rule sets any more. */
  rulesRemoved(ids: readonly number[]): void;
  /** An endpoint is gone. */
  endpointGone(endpoint: number): void;
}

const nothing = (): void => undefined;

/** Without DNS. */
export const noNames: PolicyNames = {
  hold: nothing,
  keepOnly: nothing,
  prefixAdded: nothing,
  prefixRemoved: nothing,
  plan: () => false,
  publish: () => false,
  rulesAdded: nothing,
  rulesRemoved: nothing,
  endpointGone: nothing,
};
