/**
 * One real agent in a large cluster: memory at rest, time until everything is known.
 * Usage: node dist/bench-scale.mjs [nodes] [pods] [identities] [slices|endpoints].
 */
import { formatTable, writeReport } from "../net/index.ts";
import { writeSummary } from "../summary.ts";
import { ScaleCluster } from "./cluster.ts";

const root = process.cwd();
const [nodes = 5000, pods = 50_000, identities = 500] = process.argv.slice(2, 5).map(Number);
const slices = process.argv[5] !== "endpoints";
const size = { nodes, pods, identities };
const maxMegabytes = 200;

const cluster = await ScaleCluster.up(root, "bench-scale", slices);
try {
  const empty = await cluster.memory();
  console.error(`${nodes} nodes, ${pods} pods, ${identities} identities`);
  await cluster.fill(size, slices);
  const filled = await cluster.memory();
  const restartMs = await cluster.restart();
  const held = await cluster.memory();
  const figures = { empty, filled, restartMs, held };
  console.log(
    formatTable([
      ["what", "", "figure"],
      ["memory of an agent alone", "MB", empty.toFixed(0)],
      ["memory after the cluster has grown", "MB", filled.toFixed(0)],
      ["memory of an agent that starts in it", "MB", held.toFixed(0)],
      ["its start until everything is known", "s", (restartMs / 1000).toFixed(1)],
    ]),
  );
  console.log(`written to ${writeReport(root, "scale", { size, slices, figures })}`);
  writeSummary(root, "scale", [
    {
      measure: `memory of an agent at ${nodes} nodes, ${pods} pods, ${identities} identities, MB`,
      ours: held.toFixed(0),
      peer: "",
      value: held,
      bar: { atMost: maxMegabytes },
    },
  ]);
} finally {
  await cluster.down();
}
