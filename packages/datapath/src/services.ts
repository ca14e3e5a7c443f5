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
    case "put-slot":
      maps.slots.put({ slotsId: change.slotsId, slot: change.slot }, change.backendId);
      break;
    case "put-frontend": {
      const { addr, port, proto } = change.key;
      maps.frontends.put(change.id, { addr, port, proto });
      break;
    }
    case "put-service":
      maps.services.put(change.key, { ...change.row, algorithm: 0 });
      break;
    case "delete-service":
      maps.services.delete(change.key);
      break;
    case "delete-frontend":
      maps.frontends.delete(change.id);
      break;
    case "delete-slots":
      for (let slot = 0; slot < change.count; slot++) maps.slots.delete({ slotsId: change.slotsId, slot });
      break;
    case "delete-backend":
      maps.backends.delete(change.id);
      break;
  }
}

/** What an earlier agent left in the service maps. */
export function readServiceRows(maps: DatapathMaps): ExistingRows {
  return {
    services: maps.services.entries().map(([key, row]) => ({ key, row })),
    slots: maps.slots.entries().map(([{ slotsId, slot }, backendId]) => ({ slotsId, slot, backendId })),
    backends: maps.backends.entries().map(([id, row]) => ({ id, row })),
    frontends: maps.frontends.entries().map(([id, row]) => ({ id, key: { ...row, scope: 0 } })),
  };
}
