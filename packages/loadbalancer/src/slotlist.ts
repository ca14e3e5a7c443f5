/** Backends a frontend chooses from, and where they stand in `ax_slots`. */
export interface SlotList {
  /** First slot; -1 = not written. */
  offset: number;
  /** What is chosen among: backends, or the entries of a Maglev table. */
  readonly size: number;
  /** Slots it takes. */
  readonly width: number;
  /** Ids, ascending. */
  ids: readonly number[];
  algorithm: number;
  /** Maglev weights in the order of `ids`; undefined = all 1. */
  weights: readonly number[] | undefined;
  /** Service rows in the maps that name it. */
  users: number;
  /** What a restored list holds, until a service is found to want just that. */
  content: { readonly ids: Uint32Array; readonly table: Uint16Array | undefined } | undefined;
  /** Takes its place where there is no room for it. */
  fallback: SlotList | undefined;
}
