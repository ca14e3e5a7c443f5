import { setImmediate as nextTurn } from "node:timers/promises";
import type { Clock } from "@axoneme/base";
import { at, type FlowResolver, type RawStore } from "@axoneme/flow";

/** How long a namespace is listed after its last flow. */
const keptMs = 3_600_000;
/** Records looked at before others get their turn. */
const sliceRecords = 65_536;

/**
 * The namespaces seen in flows of the last hour. Looks at identities and endpoint ids of raw records, each record once;
 * call `sweep` more often than the store turns over.
 */
export class SeenNamespaces {
  readonly #store: RawStore;
  readonly #resolver: Pick<FlowResolver, "identityById" | "endpointById">;
  readonly #clock: Clock;
  readonly #lastMs = new Map<string, number>();
  #next = 0;
  #sweeping: Promise<void> | undefined;

  constructor(store: RawStore, resolver: Pick<FlowResolver, "identityById" | "endpointById">, clock: Clock) {
    this.#store = store;
    this.#resolver = resolver;
    this.#clock = clock;
  }

  /** Sorted names. */
  async list(): Promise<string[]> {
    await this.sweep();
    return [...this.#lastMs.keys()].sort();
  }

  /** Takes in the records that came since the last time, and forgets old namespaces. */
  sweep(): Promise<void> {
    this.#sweeping ??= this.#sweep().finally(() => {
      this.#sweeping = undefined;
    });
    return this.#sweeping;
  }

  async #sweep(): Promise<void> {
    const end = this.#store.nextSeq;
    while (this.#next < end) {
      const from = Math.max(this.#next, this.#store.oldestSeq);
      const to = Math.min(end, from + sliceRecords);
      this.#look(from, to);
      this.#next = to;
      if (to < end) await nextTurn();
    }
    const limit = this.#clock.now() - keptMs;
    for (const [name, ms] of this.#lastMs) if (ms < limit) this.#lastMs.delete(name);
  }

  #look(from: number, to: number): void {
    const peers = new Map<number, number>();
    for (let seq = from; seq < to; seq++) {
      const record = this.#store.at(seq);
      if (record === undefined) continue;
      const { view, offset } = record;
      // Identity and endpoint id in one number: most records repeat what was seen before.
      peers.set(
        view.getUint32(offset + at.srcIdentity, true) * 0x10000 + view.getUint16(offset + at.srcEp, true),
        seq,
      );
      peers.set(
        view.getUint32(offset + at.dstIdentity, true) * 0x10000 + view.getUint16(offset + at.dstEp, true),
        seq,
      );
    }
    for (const [peer, seq] of peers) {
      const identity = Math.floor(peer / 0x10000);
      const endpoint = peer % 0x10000;
      this.#seen(this.#resolver.identityById(identity)?.namespace, seq);
      if (endpoint !== 0) this.#seen(this.#resolver.endpointById(endpoint, identity)?.namespace, seq);
    }
  }

  #seen(name: string | undefined, seq: number): void {
    if (name === undefined || name === "") return;
    const ms = Number(this.#store.timeNs(seq) / 1_000_000n);
    this.#lastMs.set(name, Math.max(ms, this.#lastMs.get(name) ?? 0));
  }
}
