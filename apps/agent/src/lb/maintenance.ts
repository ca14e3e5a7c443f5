import {
  type DatapathMaps,
  GrowingMap,
  type Kernel,
  type RawMap,
  readMetrics,
  readNatStats,
  readNatStatsByCpu,
  type SweepResult,
} from "@axoneme/datapath";
import type { FlushView, MapStatView, NatPoolView, StatName } from "@axoneme/observe";
import type { ServiceModule } from "../state/services.ts";

/** What statistics and flushes work on. */
export interface MaintenanceSources {
  readonly kernel: Kernel;
  readonly services: ServiceModule;
  /** Goes through connections and translations, and counts them. */
  readonly sweep: () => SweepResult;
}

/** Drop reasons that say a table or a pool was full, or what was asked for was not there. */
const counters: Readonly<Record<StatName, readonly (readonly [reason: number, name: string])[]>> = {
  lb: [
    [158, "drops_no_backend"],
    [177, "drops_not_in_source_range"],
  ],
  ct: [[155, "drops_table_full"]],
  nat: [
    [167, "drops_no_mapping"],
    [168, "drops_protocol_unsupported"],
  ],
};

/** How full the maps are, and what was refused. */
export function statView(name: StatName, sources: MaintenanceSources): MapStatView {
  const maps = { lb: lbMaps, ct: ctMaps, nat: natMaps }[name](sources);
  const figures = { ...drops(name, sources.kernel.maps), ...ownFigures(name, sources) };
  return { name, maps, figures, ...(name === "nat" ? { pools: natPools(sources.kernel.maps) } : {}) };
}

/** Ports are cut by CPUs as lib/natport.h does it. */
function natPools(maps: DatapathMaps): NatPoolView[] {
  const config = maps.config.get(0);
  const cpus = config?.natCpus ?? 0;
  if (!config || cpus === 0) return [];
  const range = config.natPortMax - config.natPortMin + 1;
  const cut = (cpu: number) => config.natPortMin + Math.floor((range * cpu) / cpus);
  const mappings = new Array<number>(cpus).fill(0);
  for (const [{ reverse, dport }] of maps.nat.entries()) {
    const offset = dport - config.natPortMin;
    if (reverse !== 1 || offset < 0 || offset >= range) continue;
    const owner = Math.floor(((offset + 1) * cpus - 1) / range);
    mappings[owner] = (mappings[owner] ?? 0) + 1;
  }
  return readNatStatsByCpu(maps.natStats)
    .slice(0, cpus)
    .map((stat, cpu) => ({
      cpu,
      first: cut(cpu),
      last: cut(cpu + 1) - 1,
      mappings: mappings[cpu] ?? 0,
      allocated: Number(stat.allocated),
      stolen: Number(stat.stolen),
      noPort: Number(stat.noPort),
      tableFull: Number(stat.tableFull),
    }));
}

function lbMaps({ kernel: { maps }, services }: MaintenanceSources): MapStatView["maps"] {
  const { frontends, backends, slotsUsed } = services.compiler.stats();
  const growing = (raw: RawMap, entries: number) => ({
    name: raw.name,
    entries,
    capacity: raw.maxEntries,
    ...(raw instanceof GrowingMap ? { limit: raw.limit } : {}),
  });
  return [
    growing(maps.services.raw, frontends),
    growing(maps.backends.raw, backends),
    growing(maps.slots, slotsUsed),
    counted(maps.flows.raw),
    counted(maps.affinity.raw),
    counted(maps.sourceRanges.raw),
    counted(maps.skips.raw),
  ];
}

function ctMaps({ kernel: { maps }, sweep }: MaintenanceSources): MapStatView["maps"] {
  const { ctSeen, ctDeleted } = sweep();
  return [{ name: maps.ct.raw.name, entries: ctSeen - ctDeleted, capacity: maps.ct.raw.maxEntries }];
}

function natMaps({ kernel: { maps }, sweep }: MaintenanceSources): MapStatView["maps"] {
  const { natSeen, natDeleted, flowSeen, flowDeleted } = sweep();
  return [
    { name: maps.nat.raw.name, entries: natSeen - natDeleted, capacity: maps.nat.raw.maxEntries },
    { name: maps.flows.raw.name, entries: flowSeen - flowDeleted, capacity: maps.flows.raw.maxEntries },
  ];
}

/** Counting a hash means to read it. */
function counted(raw: RawMap): MapStatView["maps"][number] {
  return { name: raw.name, entries: raw.dump().count, capacity: raw.maxEntries };
}

function drops(name: StatName, maps: DatapathMaps): Record<string, number> {
  const read = readMetrics(maps.metrics);
  return Object.fromEntries(
    counters[name].map(([reason, figure]) => [
      figure,
      read.filter((row) => row.reason === reason).reduce((sum, { packets }) => sum + Number(packets), 0),
    ]),
  );
}

function ownFigures(name: StatName, { kernel, services }: MaintenanceSources): Record<string, number> {
  if (name === "ct") return {};
  if (name === "nat") {
    const { own, listed, steps, inUse } = readNatStats(kernel.maps.natStats);
    return {
      with_the_clients_port: Number(own),
      with_a_port_freed_lately: Number(listed),
      candidates_taken: Number(steps),
      candidates_of_the_node: Number(inUse),
    };
  }
  const { slotsQuarantined } = services.compiler.stats();
  return {
    slots_resting: slotsQuarantined,
    rows_written: services.writer.rows,
    writes_refused: services.writer.failures,
    services_refused: services.writer.failed().size,
  };
}

/** Empties what `axon bpf <name> flush` is about, and says how much it was. */
export function flush(name: StatName, { kernel }: MaintenanceSources): FlushView {
  const { maps } = kernel;
  const wanted: Readonly<Record<StatName, readonly RawMap[]>> = {
    ct: [maps.ct.raw],
    // Forwarded flows name translations: one without the other would send replies nowhere.
    nat: [maps.nat.raw, maps.flows.raw],
    lb: [maps.affinity.raw, maps.flows.raw],
  };
  const removed = Object.fromEntries(wanted[name].map((raw) => [raw.name, clear(raw)]));
  kernel.changed();
  return { name, removed };
}

function clear(raw: RawMap): number {
  const { keys, count } = raw.dump();
  if (count > 0) raw.deleteBatch(keys, count);
  return count;
}
