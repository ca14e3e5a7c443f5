import { encodeSlot, layouts, slotSize } from "@axoneme/abi";
import { parseIp } from "@axoneme/base";
import { type LbChange, type SlotSource, slotEntries } from "@axoneme/loadbalancer";
import type { GrowingMap } from "./growing-map.ts";

type PutSlots = Extract<LbChange, { op: "put-slots" }>;

const [idAt] = layouts.Slot.fields.id;

/** Writes all these ranges with one batch. */
export function writeSlots(slots: GrowingMap, changes: readonly PutSlots[]): void {
  const count = changes.reduce((sum, change) => sum + widthOf(change), 0);
  const keys = new Uint32Array(count);
  const values = new Uint8Array(count * slotSize);
  const view = new DataView(values.buffer);
  let at = 0;
  let end = 0;
  for (const change of changes) {
    const width = widthOf(change);
    for (let i = 0; i < width; i++) keys[at + i] = change.offset + i;
    encodeRange(change, view, at * slotSize);
    at += width;
    end = Math.max(end, change.offset + width);
  }
  slots.reserve(end);
  slots.putBatch(new Uint8Array(keys.buffer), values, count);
}

function widthOf({ backends, table }: PutSlots): number {
  return backends.length + Math.ceil((table?.length ?? 0) / slotEntries);
}

/** The backends, and behind them the table. */
function encodeRange({ serviceId, backends, table }: PutSlots, view: DataView, from: number): void {
  let at = from;
  for (const { id, address, port } of backends) {
    encodeSlot({ addr: parseIp(address), port, id, serviceId }, view, at);
    at += slotSize;
  }
  table?.forEach((index, entry) => {
    view.setUint16(at + offsetOf(entry), index, true);
  });
}

/** Bytes from the start of a table to one of its entries. */
function offsetOf(entry: number): number {
  return Math.floor(entry / slotEntries) * slotSize + (entry % slotEntries) * 2;
}

/** Reads slots one by one, as they are in the kernel now. */
export function kernelSlots(slots: GrowingMap): SlotSource {
  const index = new Uint32Array(1);
  const key = new Uint8Array(index.buffer);
  const read = (offset: number, count: number): DataView => {
    const bytes = new Uint8Array(count * slotSize);
    for (let i = 0; i < count; i++) {
      index[0] = offset + i;
      bytes.set(slots.get(key) ?? [], i * slotSize);
    }
    return new DataView(bytes.buffer);
  };
  return sourceOf(read);
}

/** All slots at once: for many ranges. Of a range beyond the end there is what lies before it. */
export function dumpedSlots(slots: GrowingMap): { readonly slots: SlotSource; readonly slotsUsed: number } {
  const { values, count } = slots.dump();
  const read = (offset: number, wanted: number): DataView => {
    const there = values.subarray(offset * slotSize, Math.min(count, offset + wanted) * slotSize);
    return new DataView(there.buffer, there.byteOffset, there.byteLength);
  };
  const last = values.subarray(0, count * slotSize).findLastIndex((byte) => byte !== 0);
  return { slots: sourceOf(read), slotsUsed: Math.floor(last / slotSize) + 1 };
}

function sourceOf(read: (offset: number, count: number) => DataView): SlotSource {
  return {
    ids: (offset, count) => {
      const view = read(offset, count);
      const length = Math.min(count, view.byteLength / slotSize);
      return Uint32Array.from({ length }, (_, i) => view.getUint32(i * slotSize + idAt, true));
    },
    table: (offset, entries) => {
      const view = read(offset, Math.ceil(entries / slotEntries));
      const length = Math.min(entries, (view.byteLength / slotSize) * slotEntries);
      return Uint16Array.from({ length }, (_, entry) => view.getUint16(offsetOf(entry), true));
    },
  };
}
