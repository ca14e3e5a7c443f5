import type { ExistingRows, LbChange } from "@axoneme/loadbalancer";
import type { DatapathMaps } from "./maps.ts";

/** Writes the changes of a Service in their order: each is one atomic row operation. */
export function applyServiceChanges(maps: DatapathMaps, changes: readonly LbChange[]): void {
  for (const change of changes) applyServiceChange(maps, change);
}

function applyServiceChange(maps: DatapathMaps, change: LbChange): void {
  switch (change.op) {
    case "put-backend":
      maps.backends.put(change.id, change.row);
      break;
    case "put-slots":
      for (const [slot, backendId] of change.backendIds.entries())
        maps.slots.put({ slotsId: change.offset, slot }, backendId);
      break;
    case "put-service": {
      const { key, row } = change;
      const { serviceId: frontendId, slotsOff: slotsId, count, affinityTimeoutS, flags, algorithm } = row;
      maps.frontends.put(frontendId, { addr: key.addr, port: key.port, proto: key.proto });
      maps.services.put(key, { frontendId, slotsId, count, affinityTimeoutS, flags, algorithm });
      break;
    }
    case "delete-service":
      maps.services.delete(change.key);
      break;
    case "delete-backend":
      maps.backends.delete(change.id);
      break;
    default:
      break; // ranges and skips have no map yet
  }
}

/** What an earlier agent left in the service maps. */
export function readServiceRows(maps: DatapathMaps): ExistingRows {
  const slots: number[] = [];
  for (const [{ slotsId, slot }, backendId] of maps.slots.entries()) slots[slotsId + slot] = backendId;
  return {
    services: maps.services.entries().map(([key, { frontendId, slotsId, ...row }]) => ({
      key,
      row: { ...row, serviceId: frontendId, slotsOff: slotsId, slots: row.count, forwarding: 0 },
    })),
    slots: Uint32Array.from(slots),
    backends: maps.backends.entries().map(([id, row]) => ({ id, row: { ...row, serviceId: 0, flags: 0 } })),
    ranges: [],
    skips: [],
  };
}
