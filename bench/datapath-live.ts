/**
 * The datapath by itself, maps filled by hand: pod to pod on one node and across nodes, policy of both ends
 * enforced, events on and drained, against a bare veth pair and against plain routed hops.
 * Usage: node -e 'import("./scripts/import-ts.mjs").then((m) => m.importTs("bench/datapath-live.ts"))' [seconds] [rounds]
 */
import { PolicyVerdict } from "@axoneme/abi";
import { LiveCluster, type Node, type Pod } from "../bpf/test/live.ts";
import {
  bareVethPair,
  buildPerf,
  compare,
  comparisonTable,
  measureMode,
  routedHops,
  type Subject,
  writeReport,
} from "./net/index.ts";

const root = process.cwd();
const [seconds = 1, rounds = 5] = process.argv.slice(1).map(Number).filter(Number.isFinite);
const DRAIN_MS = 50;

interface End {
  netns: string;
  ipv4: string;
}

function subject(name: string, client: End, server: End): Subject {
  const pair = { clientNs: client.netns, serverNs: server.netns, serverIp: server.ipv4, seconds, cpu: 1 };
  return { name, measure: (mode) => measureMode(mode, pair) };
}

function end(pod: Pod): End {
  return { netns: pod.netns, ipv4: pod.addresses.v4 };
}

/** Everybody may speak to everybody, but only because a rule of each side says so. */
function enforce(cluster: LiveCluster): void {
  for (const { dp } of cluster.nodes) {
    for (const dir of ["ingress", "egress"] as const) {
      dp.policyHead(7, dir, 70, PolicyVerdict.DEFAULT_DENY);
      for (const pod of cluster.pods)
        for (const proto of [6, 17]) dp.policyRow({ policy: 7, dir, peer: pod.identity, proto, rule: 71 });
    }
  }
  for (const pod of cluster.pods) pod.publish(7);
}

async function run(): Promise<void> {
  buildPerf(root);
  const bare = await bareVethPair();
  const hops = await routedHops();
  const clusters = [await LiveCluster.create(false)];
  const [cluster] = clusters as [LiveCluster];
  const [node1, node2] = cluster.nodes as [Node, Node];
  const a = await cluster.pod("a", node1, 11, 301);
  const b = await cluster.pod("b", node1, 12, 302);
  const c = await cluster.pod("c", node2, 13, 303);
  enforce(cluster);
  const drain = setInterval(() => {
    for (const node of cluster.nodes) node.dp.events();
  }, DRAIN_MS);
  try {
    const progress = (text: string) => console.error(text);
    const same = [subject("bare veth", bare.client, bare.server), subject("same node", end(a), end(b))];
    const other = [subject("routed hops", hops.client, hops.server), subject("other node", end(a), end(c))];
    for (const [name, subjects] of [
      ["datapath-same-node", same],
      ["datapath-other-node", other],
    ] as const) {
      const comparison = await compare(subjects, { rounds, progress });
      console.log(comparisonTable(comparison));
      console.log(writeReport(root, name, comparison));
    }
  } finally {
    clearInterval(drain);
    await cluster.close();
    for (const topology of [bare, hops]) await topology.close();
  }
}

await run();
