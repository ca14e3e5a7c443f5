import type { Logger } from "@axoneme/base";
import type { FlowResolver } from "@axoneme/flow";
import type { Ipcache } from "@axoneme/identity";
import { FlowMetrics, parseMetricSpecs } from "@axoneme/observe";
import type { Registry } from "prom-client";
import type { AgentConfig } from "../options.ts";

/**
 * The hubble_* metrics that the configuration asks for; with a file of them none until it is read. Series of pods go when the pods leave the ipcache.
 * @throws AxonError `observe.metric_invalid` naming the metric that is not understood
 */
export function createFlowMetrics(
  config: Pick<AgentConfig, "hubbleMetrics" | "hubbleMetricsSeriesMax" | "hubbleDynamicMetricsConfigPath">,
  registry: Registry,
  resolver: FlowResolver,
  ipcache: Pick<Ipcache, "changes">,
  log: Logger,
): FlowMetrics {
  const isFile = config.hubbleDynamicMetricsConfigPath !== "";
  const { specs, later } = parseMetricSpecs(isFile ? [] : config.hubbleMetrics);
  if (later.length > 0)
    log.warn(
      { metrics: later },
      "these metrics of hubbleMetrics count nothing: what they are about is not observed",
    );
  const metrics = new FlowMetrics({ registry, resolver, specs, seriesLimit: config.hubbleMetricsSeriesMax });
  ipcache.changes.on(({ previous, entry }) => {
    const before = previous?.pod;
    const after = entry?.pod;
    if (before?.name === after?.name && before?.namespace === after?.namespace) return;
    if (before) metrics.podEnded(before.namespace, before.name);
    if (after) metrics.podBegan(after.namespace, after.name);
  });
  return metrics;
}
