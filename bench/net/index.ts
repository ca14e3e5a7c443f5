/**
 * Network benchmarks: `measurePair` runs axon-perf between two namespaces, `bareVethPair` and `routedHops` are
 * baselines, `compare` measures subjects in turn, mode by mode, `comparisonTable` and `writeReport` show the outcome.
 *
 *     const bare = await bareVethPair();
 *     const subject = (name, client, server) => ({
 *       name,
 *       measure: (mode) =>
        measureMode(mode, { clientNs: client.netns, serverNs: server.netns, serverIp: server.ipv4, cpu: 1 }),
 *     });
 *     const comparison = await compare([subject("bare veth", bare.client, bare.server), ...], { rounds: 5 });
 *     console.log(comparisonTable(comparison));
 *     writeReport(root, "pod-to-pod", comparison);
 */
export {
  buildPerf,
  type End,
  type Measurement,
  type Mode,
  measureClient,
  measureMode,
  measurePair,
  modes,
  type PairOptions,
  type PairResult,
  type Percentiles,
  serve,
  tuneClient,
} from "./perf.ts";
export { comparisonTable, formatTable, writeReport } from "./report.ts";
export {
  type CompareOptions,
  type Comparison,
  compare,
  type Figure,
  median,
  type Subject,
} from "./rounds.ts";
export {
  type BenchEnd,
  bareVethPair,
  ipOf,
  type NodeTopology,
  podsOnNode,
  routedHops,
  type Topology,
  type TopologyOptions,
} from "./topology.ts";
