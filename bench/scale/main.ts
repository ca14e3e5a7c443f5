import { ScaleCluster } from "./cluster.ts";

const [nodes = 5000, pods = 50_000, identities = 500] = process.argv.slice(2, 5).map(Number);
const slices = process.argv[5] !== "endpoints";
const size = { nodes, pods, identities };
const c = await ScaleCluster.up(process.cwd(), "bench-scale", slices);
try {
  console.log("empty", await c.memory());
  let t = performance.now();
  await c.fill(size, slices);
  console.log("filled s", (performance.now() - t) / 1000);
  console.log("memory after fill", await c.memory());
  t = performance.now();
  console.log("restart ms", await c.restart());
  console.log("memory after restart", await c.memory());
  if (process.argv[6]) await new Promise((r) => setTimeout(r, Number(process.argv[6]) * 1000));
} finally {
  await c.down();
}
