import type { Backend } from "@axoneme/abi";
import type { Ip, Prefix } from "@axoneme/base";
import type { BackendRow, ExistingRows, FrontendKey, LbChange, ServiceRow } from "@axoneme/loadbalancer";
import type { GrowingMap } from "./growing-map.ts";
import type { DatapathMaps } from "./maps.ts";

/** Bits of a source range's key before its address: the service id. */
const rangePrefix = 32;

/**
 * Writes changes of Services in their order. Neighbouring changes of one kind are independent of each other and go
 * into one batch; a change of another kind waits for them.
 */
export function applyServiceChanges(maps: DatapathMaps, changes: readonly LbChange[]): void {
  for (let from = 0; from < changes.length; ) {
    const op = changes[from]?.op;
    let to = from + 1;
    while (to < changes.length && changes[to]?.op === op) to++;
    applyRun(maps, changes.slice(from, to));
    from = to;
  }
}

/** The changes of one kind. */
function of<Op extends LbChange["op"]>(run: readonly LbChange[], op: Op): Extract<LbChange, { op: Op }>[] {
  return run.filter((change): change is Extract<LbChange, { op: Op }> => change.op === op);
}

/** Changes of one kind. */
function applyRun(maps: DatapathMaps, run: readonly LbChange[]): void {
  switch (run[0]?.op) {
    case "put-backend":
      maps.backends.putAll(of(run, "put-backend").map(({ id, row }): [number, Backend] => [id, row]));
      break;
    case "put-slots":
      writeSlots(maps.slots, of(run, "put-slots"));
      break;
    case "put-service":
      maps.services.putAll(of(run, "put-service").map(({ key, row }) => [key, row]));
      break;
    case "delete-service":
      maps.services.deleteAll(of(run, "delete-service").map(({ key }) => key));
      break;
    case "put-range":
      for (const { serviceId, prefix } of of(run, "put-range"))
        maps.sourceRanges.put(rangeKey(serviceId, prefix), 1);
      break;
    case "delete-range":
      for (const { serviceId, prefix } of of(run, "delete-range"))
        maps.sourceRanges.delete(rangeKey(serviceId, prefix));
      break;
    case "put-skip":
      for (const { serviceId, client } of of(run, "put-skip")) maps.skips.put({ serviceId, client }, 1);
      break;
    case "delete-skip":
      for (const { serviceId, client } of of(run, "delete-skip")) maps.skips.delete({ serviceId, client });
      break;
    case "delete-backend":
      maps.backends.deleteAll(of(run, "delete-backend").map(({ id }) => id));
      break;
  }
}

function rangeKey(
  serviceId: number,
  { ip, length }: Prefix,
): { prefixlen: number; serviceId: number; addr: Ip } {
  return { prefixlen: rangePrefix + length, serviceId, addr: ip };
}

/** One batch for all ranges of slots. */
function writeSlots(slots: GrowingMap, changes: readonly Extract<LbChange, { op: "put-slots" }>[]): void {
  const count = changes.reduce((sum, { backendIds }) => sum + backendIds.length, 0);
  const keys = new Uint32Array(count);
  const values = new Uint32Array(count);
  let at = 0;
  let end = 0;
  for (const { offset, backendIds } of changes) {
    for (let i = 0; i < backendIds.length; i++) keys[at + i] = offset + i;
    values.set(backendIds, at);
    at += backendIds.length;
    end = Math.max(end, offset + backendIds.length);
  }
  slots.reserve(end);
  slots.putBatch(new Uint8Array(keys.buffer), new Uint8Array(values.buffer), count);
}

/** What an earlier agent left in the service maps. */
export function readServiceRows(maps: DatapathMaps): ExistingRows {
  const services = maps.services.entries().map(([key, row]): { key: FrontendKey; row: ServiceRow } => ({
    key,
    row,
  }));
  const { values, count } = maps.slots.dump();
  const ids = new Uint32Array(count);
  new Uint8Array(ids.buffer).set(values.subarray(0, count * 4));
  return {
    services,
    slots: ids,
    backends: maps.backends.entries().map(([id, row]): { id: number; row: BackendRow } => ({ id, row })),
    ranges: maps.sourceRanges.entries().map(([{ prefixlen, serviceId, addr }]) => ({
      serviceId,
      prefix: { ip: addr, length: prefixlen - rangePrefix },
    })),
    skips: maps.skips.entries().map(([{ serviceId, client }]) => ({ serviceId, client })),
  };
}
