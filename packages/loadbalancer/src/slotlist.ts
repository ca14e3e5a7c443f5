/** Backends a frontend chooses from, and where they stand in `ax_slots`. */
export interface SlotList {
  /** First slot; -1 = not written. */
  offset: number;
  /** Slots it takes. */
  readonly size: number;
  /** Ids, ascending. */
  ids: readonly number[];
  algorithm: number;
  /** Maglev weights in the order of `ids`; undefined = all 1. */
  weights: readonly number[] | undefined;
  /** Service rows in the maps that name it. */
  users: number;
  /** What a restored list holds, until a service is found to want just that. */
  content: Uint32Array | undefined;
  /** Takes its place where there is no room for it. */
  fallback: SlotList | undefined;
}
