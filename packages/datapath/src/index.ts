export { Attachments, type Hook, hooks } from "./attachments.ts";
export { Kernel, type NodeConfig } from "./kernel.ts";
export { type DatapathMaps, openMaps } from "./maps.ts";
export { type DatapathCounter, readMetrics } from "./metrics.ts";
export { applyPolicyChanges, lockPolicy, nextPolicyIds, prunePolicy } from "./policy.ts";
export { type LoadedPrograms, loadPrograms, objectNames, type ProgramOptions } from "./programs.ts";
export { applyServiceChanges, readServiceRows } from "./services.ts";
export type { SweepResult } from "./sweep.ts";
export { type Codec, TypedMap } from "./typed-map.ts";
