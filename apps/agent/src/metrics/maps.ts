import type { Kernel, SweepResult } from "@axoneme/datapath";
import { Gauge, type Registry } from "prom-client";

/** How full a map is. */
export interface MapFill {
  readonly name: string;
  readonly entries: number;
  readonly capacity: number;
}

/** Rows of the tables that the sweep walks. */
export function sweptFills(
  last: SweepResult,
  sizes: { readonly conntrackMax: number; readonly natMax: number; readonly lbFlowMax: number },
): MapFill[] {
  return [
    { name: "ax_ct", entries: last.ctSeen - last.ctDeleted, capacity: sizes.conntrackMax },
    { name: "ax_nat", entries: last.natSeen - last.natDeleted, capacity: sizes.natMax },
    { name: "ax_svc_flows", entries: last.flowSeen - last.flowDeleted, capacity: sizes.lbFlowMax },
  ];
}

/** How full the maps are, and the kernel memory of all of them. Read at scrape time. */
export function mapMetrics(
  registry: Registry,
  kernel: Pick<Kernel, "mapMemoryBytes">,
  fills: () => MapFill[],
): void {
  new Gauge({
    name: "cilium_bpf_map_pressure",
    help: "Share of a map's capacity in use",
    labelNames: ["map_name"],
    registers: [registry],
    collect() {
      this.reset();
      for (const { name, entries, capacity } of fills()) this.labels(name).set(entries / capacity);
    },
  });
  new Gauge({
    name: "cilium_bpf_map_capacity",
    help: "Entries a map takes",
    labelNames: ["map_group"],
    registers: [registry],
    collect() {
      this.reset();
      for (const { name, capacity } of fills()) this.labels(name).set(capacity);
    },
  });
  new Gauge({
    name: "cilium_bpf_maps_virtual_memory_max_bytes",
    help: "Kernel memory of the maps",
    registers: [registry],
    collect() {
      this.set(kernel.mapMemoryBytes());
    },
  });
}
