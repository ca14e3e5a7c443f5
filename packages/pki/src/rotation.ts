import { certificateFacts } from "./facts.ts";
import type { KeyPair } from "./issue.ts";

/** A CA that renews itself. All of it is in one Secret. */
export interface Authority {
  /** Signs. */
  readonly active: KeyPair;
  /** Is trusted already and signs once everybody has had the time to learn of it. */
  readonly next?: KeyPair & { readonly sinceMs: number };
  /** Signed what may still be in use. */
  readonly previous?: string;
}

/**
 * What is due with a CA: nothing; `stage` a new one beside it (everybody learns to trust it before it signs);
 * `promote` the staged one; `forget` the previous one, which has expired.
 */
export function caDue(
  { active, next, previous }: Authority,
  nowMs: number,
  times: { readonly renewBeforeMs: number; readonly overlapMs: number },
): "nothing" | "stage" | "promote" | "forget" {
  const facts = certificateFacts(active.certificate);
  const endMs = facts?.notAfterMs ?? 0;
  if (next !== undefined)
    return nowMs - next.sinceMs >= times.overlapMs || endMs <= nowMs ? "promote" : "nothing";
  if (endMs - nowMs < times.renewBeforeMs) return "stage";
  const formerEnd = previous === undefined ? Infinity : (certificateFacts(previous)?.notAfterMs ?? 0);
  return formerEnd <= nowMs ? "forget" : "nothing";
}

/** Certificates of all CAs that are trusted now, PEM. */
export function trustBundle({ active, next, previous }: Authority): string {
  return [active.certificate, next?.certificate, previous]
    .flatMap((pem) => (pem === undefined ? [] : [`${pem.trim()}\n`]))
    .join("");
}
