/** Why a Service has, or has not, the addresses it asks for: the reason of its condition. */
export type Reason =
  | "satisfied"
  | "no_pool"
  | "out_of_ips"
  | "already_allocated"
  | "pool_selector_mismatch"
  | "pool_not_in_use"
  | "invalid_request";

/** How a Service's request stands. */
export interface Verdict {
  readonly satisfied: boolean;
  readonly reason: Reason;
  readonly message: string;
}

export const satisfied: Verdict = { satisfied: true, reason: "satisfied", message: "" };

/** Not everything asked for was given. */
export function unsatisfied(reason: Exclude<Reason, "satisfied">, message: string): Verdict {
  return { satisfied: false, reason, message };
}
