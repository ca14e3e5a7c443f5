import type { ChangeSet } from "./changes.ts";
import { maglevSizeFor, maglevTable } from "./maglev.ts";
import { Algorithm, type ExistingRows, type ServiceRow, slotsTaken } from "./rows.ts";
import type { LoadBalancerSettings } from "./settings.ts";
import type { SlotList } from "./slotlist.ts";
import { SlotAllocator } from "./slots.ts";
import type { Entry, Unit } from "./unit.ts";

/** A list that is not written, with what is known of it. */
function newList(known: Pick<SlotList, "size" | "width"> & Partial<SlotList>): SlotList {
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
const emptyList = newList({ size: 0, width: 0, offset: 0 });

/** Backends that an entry of a Maglev table can tell apart. */
const mostInTable = 1 << 16;

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
    const size = maglev ? maglevSizeFor(ids.length, this.#settings.maglevTableSize) : ids.length;
    const list = newList({
      size,
      width: slotsTaken({ algorithm, count: ids.length, slots: size }),
      ids,
      algorithm,
      weights: weighted ? sorted.map(({ weight }) => weight) : undefined,
    });
    return known.find((candidate) => sameList(candidate, list)) ?? this.#adopt(list, restored, unit);
  }

  /** After a restart a list may be in the maps already, known by any of its frontends. */
  #adopt(list: SlotList, restored: readonly SlotList[], unit: Unit): SlotList {
    if (restored.length === 0) return list;
    const { ids, algorithm, weights } = list;
    const alike = restored.filter(({ content }) => content !== undefined && equalNumbers(content.ids, ids));
    if (alike.length === 0) return list;
    const table = alike.some(({ size }) => size === list.size) ? this.tableOf(list, unit) : undefined;
    const same = alike.find(({ size, content }) => size === list.size && sameTable(content?.table, table));
    if (same !== undefined) return Object.assign(same, { ids, algorithm, weights, content: undefined });
    // A former agent may have found no room for the table.
    const bare = algorithm === Algorithm.maglev ? alike.find(({ content }) => !content?.table) : undefined;
    if (bare !== undefined) list.fallback = Object.assign(bare, { ids, content: undefined });
    return list;
  }

  /** The Maglev table of a list, if it has one: indexes of its backends. */
  tableOf({ algorithm, ids, size }: SlotList, unit: Unit): Uint16Array | undefined {
    if (algorithm === Algorithm.random) return undefined;
    return Uint16Array.from(maglevTable(unit.entriesOf(ids), unit.proto, size, this.#settings.maglevSeed));
  }

  /**
   * Writes a list that is not in the maps. Where there is no room for a Maglev table, the bare list of backends
   * takes its place; undefined = not even that.
   */
  place(list: SlotList, unit: Unit, changes: ChangeSet): SlotList | undefined {
    if (list.offset >= 0) return list;
    const offset = isTooLong(list) ? undefined : this.allocator.allocate(list.width);
    if (offset !== undefined) {
      list.offset = offset;
      const backends = unit.entriesOf(list.ids);
      changes.add({ op: "put-slots", offset, serviceId: unit.id, backends, table: this.tableOf(list, unit) });
      // Freed again with the commit, should it turn out that no row names it.
      this.#released.add(list);
      return list;
    }
    if (list.algorithm === Algorithm.random) return undefined;
    const { ids } = list;
    list.fallback ??= newList({ size: ids.length, width: ids.length, ids });
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
      this.allocator.free({ offset: list.offset, size: list.width });
      list.offset = -1;
    }
    this.#released.clear();
  }

  /** Takes over the lists of restored rows, by offset. */
  restore(
    rows: readonly ServiceRow[],
    { slots, slotsUsed }: Pick<ExistingRows, "slots" | "slotsUsed">,
  ): Map<number, SlotList> {
    const lists = new Map<number, SlotList>();
    for (const row of [...rows].sort((a, b) => a.slotsOff - b.slotsOff)) {
      const { slotsOff, slots: size, count, algorithm } = row;
      if (size === 0 || lists.has(slotsOff)) continue;
      // A range that runs into its neighbour was not written by us: its row is written anew, the rest left alone.
      if (slotsOff < this.allocator.slotsNeeded) continue;
      const width = slotsTaken(row);
      this.allocator.adopt({ offset: slotsOff, size: width });
      const table = algorithm === Algorithm.maglev ? slots.table(slotsOff + count, size) : undefined;
      const content = { ids: slots.ids(slotsOff, count), table };
      lists.set(slotsOff, newList({ offset: slotsOff, size, width, content }));
    }
    // What the former agent freed in its last second may still be read.
    this.allocator.skipTo(slotsUsed);
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

function isTooLong({ algorithm, ids }: SlotList): boolean {
  return algorithm === Algorithm.maglev && ids.length > mostInTable;
}

function sameTable(a: Uint16Array | undefined, b: Uint16Array | undefined): boolean {
  return a === undefined || b === undefined ? a === b : equalNumbers(a, b);
}

function equalNumbers(a: ArrayLike<number>, b: ArrayLike<number>): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}
