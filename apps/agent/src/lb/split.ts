import { ipKey, prefixKey } from "@axoneme/base";
import type { FrontendKey, LbChange } from "@axoneme/loadbalancer";

/** A frontend as a Map key. */
export function frontendName({ addr, port, proto, scope }: FrontendKey): string {
  return `${ipKey(addr)}/${port}/${proto}/${scope}`;
}

/** Changes that name no Service by themselves, and that no row of the same commit names either. */
const nobody = 0;

/**
 * Takes a commit apart by Service port, each part in its order. A row that goes belongs to the Service that holds the
 * frontend's earlier changes (`holders`, by {@link frontendName}), so that it cannot overtake them.
 */
export function splitByService(
  changes: readonly LbChange[],
  holders: ReadonlyMap<string, number> = new Map(),
): Map<number, LbChange[]> {
  const parts = new Map<number, LbChange[]>();
  for (const change of changes) {
    const id = ownerOf(change, holders);
    const part = parts.get(id);
    if (part) part.push(change);
    else parts.set(id, [change]);
  }
  return parts;
}

function ownerOf(change: LbChange, holders: ReadonlyMap<string, number>): number {
  switch (change.op) {
    case "put-backend":
    case "delete-backend":
      return change.row.serviceId;
    case "put-service":
      // Another Service has the frontend's earlier changes: they go first.
      return holders.get(frontendName(change.key)) ?? change.row.serviceId;
    case "delete-service":
      return holders.get(frontendName(change.key)) ?? nobody;
    default:
      return change.serviceId;
  }
}

/** The order in which rows of one Service may be written without a reader meeting a half. */
const stages: Readonly<Record<LbChange["op"], number>> = {
  "put-backend": 0,
  "put-slots": 1,
  "put-range": 2,
  "put-skip": 2,
  "put-service": 3,
  "delete-service": 4,
  "delete-range": 5,
  "delete-skip": 5,
  "delete-backend": 6,
};

/** Held changes of one Service in brief: of several that concern one row the last, in the order of a commit. */
export function compact(changes: readonly LbChange[]): LbChange[] {
  const last = new Map<string, LbChange>();
  for (const change of changes) {
    const key = rowOf(change);
    last.delete(key);
    last.set(key, change);
  }
  const named = new Set<number>();
  for (const change of last.values()) if (change.op === "put-service") named.add(change.row.slotsOff);
  return [...last.values()]
    .filter((change) => change.op !== "put-slots" || named.has(change.offset))
    .sort((a, b) => stages[a.op] - stages[b.op]);
}

function rowOf(change: LbChange): string {
  switch (change.op) {
    case "put-backend":
    case "delete-backend":
      return `backend ${change.id}`;
    case "put-slots":
      return `slots ${change.offset}`;
    case "put-service":
    case "delete-service":
      return `service ${frontendName(change.key)}`;
    case "put-range":
    case "delete-range":
      return `range ${change.serviceId} ${prefixKey(change.prefix)}`;
    default:
      return `skip ${change.serviceId} ${ipKey(change.client)}`;
  }
}
