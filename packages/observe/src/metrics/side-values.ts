import { type PeerFacts, type Side, SideLabels } from "./context.ts";
import { InternedValues } from "./interned.ts";
import type { PeerTable } from "./peers.ts";
import type { ContextSpec } from "./spec.ts";

/** Directions a value may differ by. */
const directions = 3;

/** The values of a metric's labels about one side, as numbers; remembered for each peer. */
export class SideValuesOf {
  readonly side: Side;
  readonly labels: SideLabels;
  readonly #values: InternedValues;
  readonly #onPod: (pod: string) => void;
  /** By place in the peer table and direction: the number, and the version of the peer it was made for. */
  #peers: PeerTable | undefined;
  #ids = new Int32Array(0);
  #versions = new Int32Array(0);

  /** @param onPod told of every pod that a value is made for, when it is looked up */
  constructor(side: Side, spec: ContextSpec, limit: number, onPod: (pod: string) => void) {
    this.side = side;
    this.labels = new SideLabels(side, spec);
    this.#values = new InternedValues(limit);
    this.#onPod = onPod;
  }

  /** Number of the values for a peer; -1 when there are too many. */
  idOf(peers: PeerTable, place: number, direction: number): number {
    if (this.#peers !== peers) {
      this.#peers = peers;
      this.#ids = new Int32Array(peers.places * directions);
      this.#versions = new Int32Array(peers.places * directions).fill(-1);
    }
    const at = place * directions + (this.labels.directed ? direction : 0);
    const version = peers.versionOf(place);
    if (this.#versions[at] === version) return this.#ids[at] ?? -1;
    const facts = peers.factsOf(place);
    const id = facts === undefined ? -1 : this.idFor(facts, direction);
    this.#ids[at] = id;
    this.#versions[at] = version;
    return id;
  }

  /** As idOf, for what is not in the table. */
  idFor(facts: PeerFacts, direction: number): number {
    const values = this.labels.valuesOf(facts, direction);
    if (values.pod !== undefined) this.#onPod(values.pod);
    return this.#values.idOf(values);
  }

  textsOf(id: number): readonly string[] {
    return this.#values.textsOf(id);
  }

  /** Forgets values of pods; the numbers that were theirs. */
  drop(pods: ReadonlySet<string>): ReadonlySet<number> {
    const dropped = this.#values.drop(pods);
    if (dropped.size > 0) this.#versions.fill(-1);
    return dropped;
  }
}
