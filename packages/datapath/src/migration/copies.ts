import { layouts, PolicyVerdict } from "@axoneme/abi";
import { type BatchError, BpfError, BpfMap, MapFlag, MapType } from "@axoneme/bpf";
import type { ConvertedRows, RowConversion } from "./convert.ts";
import type { MapChange } from "./plan.ts";

const E2BIG = 7;
const chunkSize = 8192;
const slot = new Uint8Array(4);

/** Rows that programs write; one that finds no room is decided again, or was the oldest anyway. */
const ofConnections: ReadonlySet<string> = new Set([
  "ax_affinity",
  "ax_ct",
  "ax_frags",
  "ax_nat",
  "ax_process_ids",
  "ax_processes",
  "ax_sock_fwd",
  "ax_sock_rev",
  "ax_svc_flows",
]);

/** The rows of one map on their way into its successor, again and again while programs go on writing the old one. */
export class MapCopy {
  readonly name: string;
  readonly #old: BpfMap;
  readonly #next: BpfMap;
  readonly #conversion: RowConversion;
  readonly #seen = new Set<string>();
  /** Rows without a place in the new map. */
  dropped = 0;

  constructor(name: string, old: BpfMap, next: BpfMap, conversion: RowConversion) {
    this.name = name;
    this.#old = old;
    this.#next = next;
    this.#conversion = conversion;
  }

  /** Whether programs write rows too: the others are the agent's, which does nothing else meanwhile. */
  get isLive(): boolean {
    return ofConnections.has(this.name);
  }

  /** Rows copied so far. */
  get rows(): number {
    return this.#seen.size;
  }

  /** Writes all rows as they are now. */
  all(): void {
    for (const { keys, values, count } of this.#old.chunks(chunkSize)) {
      const rows = this.#convert(keys, values, count);
      this.#put(rows);
      for (let i = 0; i < rows.count; i++) this.#seen.add(keyText(rows.keys, i, this.#conversion.keySize));
    }
  }

  /**
   * Writes rows that were not there the last time, over what the next programs have made of the same connection
   * meanwhile: they did not know where it had gone.
   * @returns how many.
   */
  added(): number {
    const before = this.#seen.size;
    const { keySize, valueSize } = this.#conversion;
    for (const { keys, values, count } of this.#old.chunks(chunkSize)) {
      const rows = this.#convert(keys, values, count);
      for (let i = 0; i < rows.count; i++) {
        const text = keyText(rows.keys, i, keySize);
        if (this.#seen.has(text)) continue;
        this.#seen.add(text);
        const key = rows.keys.subarray(i * keySize, (i + 1) * keySize);
        const value = rows.values.subarray(i * valueSize, (i + 1) * valueSize);
        this.#put({ keys: key, values: value, count: 1 });
      }
    }
    return this.#seen.size - before;
  }

  close(): void {
    this.#old.close();
    this.#next.close();
  }

  #convert(keys: Uint8Array, values: Uint8Array, count: number): ConvertedRows {
    const rows = this.#conversion.rows(keys, values, count);
    const { valueSize } = this.#conversion;
    const view = new DataView(rows.values.buffer, rows.values.byteOffset, rows.values.byteLength);
    for (let i = 0; i < rows.count; i++) {
      // Decided by other programs: these fill in what is theirs, at its next packet.
      if (this.name === "ax_ct") view.setUint32(i * valueSize + layouts.Ct.fields.epoch[0], 0, true);
      // It meant more than we understand: whoever asks is refused until the agent has written its own rows.
      if (this.name === "ax_policy" && rows.isLess[i])
        view.setUint8(i * valueSize + layouts.PolicyRow.fields.verdict[0], PolicyVerdict.DENY);
    }
    return rows;
  }

  #put({ keys, values, count }: Pick<ConvertedRows, "keys" | "values" | "count">): void {
    const { keySize, valueSize } = this.#conversion;
    for (let done = 0; done < count; ) {
      try {
        const [restKeys, restValues] = [keys.subarray(done * keySize), values.subarray(done * valueSize)];
        this.#next.putBatch(restKeys, restValues, count - done);
        return;
      } catch (error) {
        if (!(error instanceof BpfError)) throw error;
        if (error.errno !== E2BIG || !this.isLive) throw error;
        this.dropped++;
        done += (error as BatchError).index + 1;
      }
    }
  }
}

function keyText(keys: Uint8Array, i: number, size: number): string {
  return Buffer.from(keys.buffer, keys.byteOffset + i * size, size).toString("latin1");
}

/**
 * Opens what is pinned for copying into its successor, with which it shares nothing.
 * @param next the new map; of a growing one the outer, which gets its first inner map here.
 */
export function openCopy(
  change: MapChange,
  conversion: RowConversion,
  pinned: string,
  next: BpfMap,
): MapCopy {
  const outer = BpfMap.openPinned(pinned);
  if (!change.grows) return new MapCopy(change.name, outer, next.copy(), conversion);
  try {
    const id = outer.get(slot);
    const old = BpfMap.openById(new DataView((id ?? slot).buffer).getUint32(0, true));
    const { name, keySize, valueSize } = { name: change.name, ...sizes(conversion) };
    const flags = old.info.type === MapType.HASH ? MapFlag.NO_PREALLOC : MapFlag.INNER_MAP;
    const inner = BpfMap.create({
      ...{ name, type: old.info.type, keySize, valueSize, flags },
      maxEntries: old.maxEntries,
    });
    const fd = new Uint8Array(4);
    new DataView(fd.buffer).setUint32(0, inner.fd, true);
    next.put(slot, fd);
    return new MapCopy(change.name, old, inner, conversion);
  } finally {
    outer.close();
  }
}

function sizes({ keySize, valueSize }: RowConversion): { keySize: number; valueSize: number } {
  return { keySize, valueSize };
}
