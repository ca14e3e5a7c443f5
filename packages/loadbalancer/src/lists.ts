import type { ChangeSet } from "./changes.ts";
import { maglevSizeFor, maglevTable } from "./maglev.ts";
import { Algorithm } from "./rows.ts";
import type { LoadBalancerSettings } from "./settings.ts";
import type { SlotList } from "./slotlist.ts";
import { SlotAllocator } from "./slots.ts";
import type { Entry, Unit } from "./unit.ts";

/** A list that is not written, with what is known of it. */
function newList(known: Pick<SlotList, "size"> & Partial<SlotList>): SlotList {
  return {
    offset: -1,
    ids: [],
    algorithm: Algorithm.random,
    weights: undefined,
    users: 0,
    content: undefined,
    fallback: undefined,
    ...known,
  };
}

/** Of all rows that choose from nothing; its users are not counted. */
const emptyList = newList({ size: 0, offset: 0 });

/** The lists in `ax_slots`. One that changes gets a fresh range; the old one is freed when no row names it. */
export class ListStore {
  readonly allocator: SlotAllocator;
  readonly #settings: LoadBalancerSettings;
  readonly #released = new Set<SlotList>();

  constructor(settings: LoadBalancerSettings, maxSlots: number) {
    this.#settings = settings;
    this.allocator = new SlotAllocator(maxSlots);
  }

  /** The list of these backends: one of `known` (or the restored ones) that says the same, else a new one. */
  listOf(
    entries: readonly Entry[],
    algorithm: number,
    known: readonly SlotList[],
    restored: readonly SlotList[],
    unit: Unit,
  ): SlotList {
    if (entries.length === 0) return emptyList;
    const sorted = entries.length > 1 ? [...entries].sort((a, b) => a.id - b.id) : entries;
    const ids = sorted.map(({ id }) => id);
    const maglev = algorithm === Algorithm.maglev;
    const weighted = maglev && sorted.some(({ weight }) => weight !== 1);
    const list = newList({
      size: maglev ? maglevSizeFor(ids.length, this.#settings.maglevTableSize) : ids.length,
      ids,
      algorithm,
      weights: weighted ? sorted.map(({ weight }) => weight) : undefined,
    });
    return known.find((candidate) => sameList(candidate, list)) ?? this.#adopt(list, restored, unit);
  }

  /** After a restart a list may be in the maps already, known by any of its frontends. */
  #adopt(list: SlotList, restored: readonly SlotList[], unit: Unit): SlotList {
    if (restored.length === 0) return list;
    const holding = (content: ArrayLike<number>): SlotList | undefined =>
      restored.find((one) => one.content !== undefined && equalNumbers(one.content, content));
    const { ids, algorithm, weights } = list;
    const same = restored.some(({ size }) => size === list.size)
      ? holding(this.contentOf(list, unit))
      : undefined;
    if (same !== undefined) return Object.assign(same, { ids, algorithm, weights, content: undefined });
    // A former agent may have found no room for the table.
    const bare = algorithm === Algorithm.maglev ? holding(ids) : undefined;
    if (bare !== undefined) list.fallback = Object.assign(bare, { ids, content: undefined });
    return list;
  }

  /** What stands in the slots. */
  contentOf(list: SlotList, unit: Unit): Uint32Array | readonly number[] {
    if (list.algorithm === Algorithm.random) return list.ids;
    const backends = unit.entriesOf(list.ids);
    const { proto } = unit;
    const table = maglevTable(backends, proto, list.size, this.#settings.maglevSeed);
    for (let slot = 0; slot < table.length; slot++) table[slot] = backends[table[slot] ?? 0]?.id ?? 0;
    return table;
  }

  /**
   * Writes a list that is not in the maps. Where there is no room for a Maglev table, the bare list of backends
   * takes its place; undefined = not even that.
   */
  place(list: SlotList, unit: Unit, changes: ChangeSet): SlotList | undefined {
    if (list.offset >= 0) return list;
    const offset = this.allocator.allocate(list.size);
    if (offset !== undefined) {
      list.offset = offset;
      changes.add({ op: "put-slots", offset, backendIds: this.contentOf(list, unit) });
      // Freed again with the commit, should it turn out that no row names it.
      this.#released.add(list);
      return list;
    }
    if (list.algorithm === Algorithm.random) return undefined;
    const { ids } = list;
    list.fallback ??= newList({ size: ids.length, ids });
    return this.place(list.fallback, unit, changes);
  }

  /** The list of a row that chooses from nothing. */
  get empty(): SlotList {
    return emptyList;
  }

  /** One row less names the list. */
  release(list: SlotList): void {
    list.users--;
    this.#released.add(list);
  }

  /** At the end of a commit: a list that one row gave up may have been taken by another. */
  sweep(): void {
    for (const list of this.#released) {
      if (list.users > 0 || list.offset < 0 || list.size === 0) continue;
      this.allocator.free({ offset: list.offset, size: list.size });
      list.offset = -1;
    }
    this.#released.clear();
  }

  /** Takes over the lists of restored rows, by offset. */
  restore(
    rows: readonly { readonly slotsOff: number; readonly slots: number }[],
    slots: Uint32Array,
  ): Map<number, SlotList> {
    const lists = new Map<number, SlotList>();
    for (const { slotsOff, slots: size } of [...rows].sort((a, b) => a.slotsOff - b.slotsOff)) {
      if (size === 0 || lists.has(slotsOff)) continue;
      // A range that runs into its neighbour was not written by us: its row is written anew, the rest left alone.
      if (slotsOff < this.allocator.slotsNeeded) continue;
      this.allocator.adopt({ offset: slotsOff, size });
      const content = slots.subarray(slotsOff, slotsOff + size);
      lists.set(slotsOff, newList({ offset: slotsOff, size, content }));
    }
    // What the former agent freed in its last second may still be read.
    this.allocator.skipTo(slots.findLastIndex((id) => id !== 0) + 1);
    return lists;
  }
}

function sameList(a: SlotList, b: SlotList): boolean {
  return (
    a.algorithm === b.algorithm &&
    a.size === b.size &&
    equalNumbers(a.ids, b.ids) &&
    (a.weights === b.weights ||
      (a.weights !== undefined && b.weights !== undefined && equalNumbers(a.weights, b.weights)))
  );
}

function equalNumbers(a: ArrayLike<number>, b: ArrayLike<number>): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}
