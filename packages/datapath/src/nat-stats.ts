import { decodeNatStat, type NatStat, natStatSize } from "@axoneme/abi";
import type { BpfMap } from "@axoneme/bpf";

/** What the port pools of source NAT did since the maps were made, by CPU (`ax_nat_stats`). */
export function readNatStatsByCpu(map: BpfMap): NatStat[] {
  return (map.getPerCpu(new Uint8Array(4)) ?? []).map((bytes) =>
    decodeNatStat(new DataView(bytes.buffer, bytes.byteOffset, natStatSize), 0),
  );
}

/** The same, summed over the CPUs. */
export function readNatStats(map: BpfMap): NatStat {
  const rows = readNatStatsByCpu(map);
  const sum = (of: (row: NatStat) => bigint) => rows.reduce((total, row) => total + of(row), 0n);
  return {
    allocated: sum((row) => row.allocated),
    own: sum((row) => row.own),
    listed: sum((row) => row.listed),
    stolen: sum((row) => row.stolen),
    steps: sum((row) => row.steps),
    inUse: sum((row) => row.inUse),
    noPort: sum((row) => row.noPort),
    tableFull: sum((row) => row.tableFull),
  };
}
