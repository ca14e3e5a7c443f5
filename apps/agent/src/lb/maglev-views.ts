import { formatIp } from "@axoneme/base";
import { protocolName } from "@axoneme/flow";
import { Algorithm, type FrontendView } from "@axoneme/loadbalancer";
import type { MaglevView } from "@axoneme/observe";
import type { DecisionRows } from "./kernel-rows.ts";
import { socketOf } from "./views.ts";

/** The Maglev tables in the kernel, one for each range of slots. */
export function maglevViews(frontends: readonly FrontendView[], rows: DecisionRows): MaglevView[] {
  const tables = new Map<number, { first: FrontendView; frontends: string[] }>();
  for (const view of frontends) {
    const { row, key } = view;
    if (row.algorithm !== Algorithm.maglev || row.slots === 0) continue;
    const table = tables.get(row.slotsOff) ?? { first: view, frontends: [] };
    tables.set(row.slotsOff, table);
    table.frontends.push(`${socketOf(key)}/${protocolName(key.proto)}`);
  }
  return [...tables.values()].map(({ first, frontends: texts }) => ({
    namespace: first.namespace,
    name: first.name,
    frontends: texts,
    size: first.row.slots,
    backends: sharesOf(first, rows),
  }));
}

function sharesOf({ row }: FrontendView, rows: DecisionRows): MaglevView["backends"] {
  const counts = new Map<number, number>();
  for (const id of rows.choices(row)) counts.set(id, (counts.get(id) ?? 0) + 1);
  return [...counts].map(([id, slots]) => {
    const backend = rows.backend(id);
    return {
      address: backend ? formatIp(backend.addr) : `missing backend ${id}`,
      port: backend?.port ?? 0,
      slots,
      share: slots / row.slots,
    };
  });
}
