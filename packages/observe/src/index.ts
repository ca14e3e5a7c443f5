export * from "./api.ts";
export { type FlowLogs, startFlowLogs } from "./export/lazy.ts";
export * from "./grpc/lazy.ts";
export { FlowMetrics, type FlowMetricsOptions } from "./metrics/flow-metrics.ts";
export { type MetricSpecs, parseMetricSpecs } from "./metrics/spec.ts";
export { Observer, type ObserverOptions } from "./observer.ts";
export { type NodePeerOptions, NodePeers } from "./peers.ts";
export { checkFlowsQuery, parseFlowsQuery, parseMonitorQuery } from "./query.ts";
export * from "./relay/lazy.ts";
