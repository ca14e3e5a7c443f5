import type { PolicyKey, PolicyRow } from "@axoneme/abi";
import { ipKey } from "@axoneme/base";
import type { Kernel } from "@axoneme/datapath";
import { classScope, isClassIdentity } from "@axoneme/identity";

const hostLength = 128;

/**
 * The numbers an earlier agent has written. Its policies know these and no others: before a pod goes by another
 * number, that number is given their rows. So the old policies answer as before until the new ones take their place.
 */
export class Handover {
  readonly #kernel: Kernel;
  readonly #byIp = new Map<string, number>();
  /** Numbers that packets carry, or that were carried over: their rows mean something. */
  readonly #carried = new Set<number>();
  /** Policies above it are of the agent that starts: they know its numbers. */
  readonly #lastPolicyId: number;
  #rows: Map<number, [PolicyKey, PolicyRow][]> | undefined;
  /** First number for classes of this node: above all that an earlier agent has used. */
  readonly firstNumber: number;

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
    for (const [{ addr, prefixlen }, { identity }] of kernel.maps.ipcache.entries()) {
      if (prefixlen === hostLength) this.#byIp.set(ipKey(addr), identity);
      this.#carried.add(identity);
    }
    for (const [, { identity }] of kernel.maps.endpoints.entries()) this.#carried.add(identity);
    // Rows of a number that nobody carries any more would speak for whom it is given to next.
    const used = new Set(this.#carried);
    let lastPolicyId = 0;
    for (const [{ identity, policyId }] of kernel.maps.policy.entries()) {
      used.add(identity);
      lastPolicyId = Math.max(lastPolicyId, policyId);
    }
    this.#lastPolicyId = lastPolicyId;
    const classes = [...used].filter(isClassIdentity);
    this.firstNumber = classes.reduce((next, id) => Math.max(next, id + 1), classScope.first);
  }

  /** An address is about to go by another number than the earlier agent gave it. */
  carryAddress(ip: Uint8Array, to: number): void {
    const from = this.#byIp.get(ipKey(ip));
    if (from !== undefined) this.carry(from, to);
  }

  /** What went by one number is about to go by another. One that others go by already has rows of its own. */
  carry(from: number, to: number): void {
    if (from === to || this.#carried.has(to)) return;
    this.#carried.add(to);
    const all = this.#allRows();
    const rows = (all.get(from) ?? []).map(([key, row]): [PolicyKey, PolicyRow] => [
      { ...key, identity: to },
      row,
    ]);
    // Nobody goes by it: what the old policies say of it is about its labels, not about this pod.
    const { policy } = this.#kernel.maps;
    policy.deleteAll((all.get(to) ?? []).map(([key]) => key));
    policy.putAll(rows);
    // It may be carried on from there.
    all.set(to, rows);
  }

  /** Once everything is under new policies. */
  end(): void {
    this.#byIp.clear();
    this.#rows = undefined;
  }

  #allRows(): Map<number, [PolicyKey, PolicyRow][]> {
    if (this.#rows !== undefined) return this.#rows;
    this.#rows = new Map();
    for (const [key, row] of this.#kernel.maps.policy.entries()) {
      if (key.policyId > this.#lastPolicyId) continue;
      const rows = this.#rows.get(key.identity) ?? [];
      rows.push([key, row]);
      this.#rows.set(key.identity, rows);
    }
    return this.#rows;
  }
}
