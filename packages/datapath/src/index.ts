export { Attachments, type Hook, hooks } from "./attachments.ts";
export { type AddressPair, connectedPairs, pairKey } from "./connections.ts";
export { GrowingMap, type GrowingShape } from "./growing-map.ts";
export { Kernel, type NodeConfig, prepareBpffs } from "./kernel.ts";
export { type DatapathMaps, openMaps } from "./maps.ts";
export { type DatapathCounter, readMetrics } from "./metrics.ts";
export { readNatStats, readNatStatsByCpu } from "./nat-stats.ts";
export {
  applyPolicyChanges,
  kernelPolicyRows,
  lockPolicy,
  nextPolicyIds,
  type PolicyTables,
  prunePolicy,
} from "./policy.ts";
export { type LoadedPrograms, loadPrograms, objectNames, type ProgramOptions } from "./programs.ts";
export { applyServiceChanges, readServiceRows } from "./services.ts";
export { kernelSlots, writeSlots } from "./slots.ts";
export { SocketCloser, type SocketCloserStatus, type SocketNamespaces } from "./sockets.ts";
export type { SweepResult } from "./sweep.ts";
export { type Codec, type RawMap, TypedMap, u32 } from "./typed-map.ts";
