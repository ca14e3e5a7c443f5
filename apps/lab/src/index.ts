export type { CniTemplate, LabConfig, RoutingMode } from "./lab/config.ts";
export { type LabDownOptions, labDown } from "./lab/down.ts";
export { describeLeftovers, isClean, type Leftovers, leftovers } from "./lab/leftovers.ts";
export { type HostRoots, type LabPaths, labPaths } from "./lab/paths.ts";
export { type LabNodeStatus, type LabStatus, labNames, labStatus } from "./lab/status.ts";
export { defaultLabName, type LabHandle, type LabUpOptions, labUp } from "./lab/up.ts";
