import type { Backend } from "@axoneme/abi";
import type { Ip, Prefix } from "@axoneme/base";
import type { BackendRow, ExistingRows, FrontendKey, LbChange, ServiceRow } from "@axoneme/loadbalancer";
import type { DatapathMaps } from "./maps.ts";
import { dumpedSlots, writeSlots } from "./slots.ts";

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

/** What an earlier agent left in the service maps. */
export function readServiceRows(maps: DatapathMaps): ExistingRows {
  const services = maps.services.entries().map(([key, row]): { key: FrontendKey; row: ServiceRow } => ({
    key,
    row,
  }));
  return {
    services,
    ...dumpedSlots(maps.slots),
    backends: maps.backends.entries().map(([id, row]): { id: number; row: BackendRow } => ({ id, row })),
    ranges: maps.sourceRanges.entries().map(([{ prefixlen, serviceId, addr }]) => ({
      serviceId,
      prefix: { ip: addr, length: prefixlen - rangePrefix },
    })),
    skips: maps.skips.entries().map(([{ serviceId, client }]) => ({ serviceId, client })),
  };
}
