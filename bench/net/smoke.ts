/**
 * The bare pair against itself and against the routed hops: shows the noise of the method, and that the
 * generator works in both families. Usage: node dist/bench-net-smoke.mjs [seconds] [rounds].
 */
import { join } from "node:path";
import {
  bareVethPair,
  buildPerf,
  compare,
  comparisonTable,
  ipOf,
  measureMode,
  routedHops,
  type Subject,
  type Topology,
  writeReport,
} from "./index.ts";

const root = process.cwd();
const seconds = Number(process.argv[2] ?? 1);
const rounds = Number(process.argv[3] ?? 3);

function subject(name: string, topology: Topology, family: 4 | 6): Subject {
  const { client, server } = topology;
  const serverIp = ipOf(server, family);
  const pair = { clientNs: client.netns, serverNs: server.netns, serverIp, seconds, cpu: 1 };
  return { name, measure: (mode) => measureMode(mode, pair) };
}

buildPerf(root);
const first = await bareVethPair();
const second = await bareVethPair();
const hops = await routedHops();
try {
  const subjects = [
    subject("bare veth", first, 4),
    subject("bare veth again", second, 4),
    subject("bare veth, IPv6", second, 6),
    subject("routed hops", hops, 4),
    subject("routed hops, IPv6", hops, 6),
  ];
  const comparison = await compare(subjects, { rounds, progress: (text) => console.error(text) });
  console.log(comparisonTable(comparison));
  console.log(`written to ${writeReport(root, "net-smoke", comparison).replace(join(root, "/"), "")}`);
} finally {
  for (const topology of [first, second, hops]) await topology.close();
}
