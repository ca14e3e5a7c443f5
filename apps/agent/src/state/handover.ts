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
  #rows: Rows | undefined;
  #isOver = false;
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
    this.#copy("identity", from, to);
  }

  /** Addresses that counted for one prefix, by its number, are about to count for another that is new. */
  carryPrefix(from: number, to: number): void {
    if (this.#isOver || from === to) return;
    this.#copy("cidr", from, to);
  }

  /** Nobody goes by it: what the old policies say of it is about others than these. */
  #copy(part: "identity" | "cidr", from: number, to: number): void {
    const { policy } = this.#kernel.maps;
    const all = this.#allRows();
    const gone = [...all.get(`${part} ${to}`)];
    const rows = [...all.get(`${part} ${from}`)].map(([key, row]): Row => [{ ...key, [part]: to }, row]);
    policy.deleteAll(gone.map(([key]) => key));
    policy.putAll(rows);
    // They may be carried on from there.
    for (const row of gone) all.delete(row);
    for (const row of rows) all.add(row);
  }

  /** Once everything is under new policies. */
  end(): void {
    this.#byIp.clear();
    this.#rows = undefined;
    this.#isOver = true;
  }

  #allRows(): Rows {
    if (this.#rows !== undefined) return this.#rows;
    this.#rows = new Rows();
    for (const row of this.#kernel.maps.policy.entries()) {
      if (row[0].policyId <= this.#lastPolicyId) this.#rows.add(row);
    }
    return this.#rows;
  }
}

type Row = [PolicyKey, PolicyRow];

/** Rows by what they say of whom. */
class Rows {
  readonly #byPart = new Map<string, Set<Row>>();

  get(part: string): Iterable<Row> {
    return this.#byPart.get(part) ?? [];
  }

  add(row: Row): void {
    for (const part of partsOf(row)) this.#byPart.set(part, (this.#byPart.get(part) ?? new Set()).add(row));
  }

  delete(row: Row): void {
    for (const part of partsOf(row)) this.#byPart.get(part)?.delete(row);
  }
}

function partsOf([{ identity, cidr }]: Row): string[] {
  return [`identity ${identity}`, `cidr ${cidr}`];
}
