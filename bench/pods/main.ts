/**
 * Pods on one node against a bare veth pair, and pods on two nodes against the same hops without us: request/response,
 * connect rate, UDP, throughput. Policy is enforced on both ends and observation is on.
 * Usage: node dist/bench-pods.mjs [seconds] [rounds].
 */
import {
  bareVethPair,
  buildPerf,
  type Comparison,
  compare,
  comparisonTable,
  ipOf,
  type Mode,
  measureMode,
  routedHops,
  type Subject,
  writeReport,
} from "../net/index.ts";
import { type Measure, writeSummary } from "../summary.ts";
import { BenchLab } from "./lab.ts";

const root = process.cwd();
const seconds = Number(process.argv[2] ?? 2);
const rounds = Number(process.argv[3] ?? 5);

/** Default deny in both directions for everybody, and what the benchmark needs. */
const policies = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: servers }
spec:
  podSelector: { matchExpressions: [{ key: app, operator: In, values: [near, far] }] }
  policyTypes: [Ingress, Egress]
  ingress: [{ from: [{ podSelector: { matchLabels: { app: client } } }] }]
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: { name: client }
spec:
  endpointSelector: { matchLabels: { app: client } }
  egress:
    - toEndpoints: [{ matchLabels: { app: near } }, { matchLabels: { app: far } }]
  ingress: [{}]
`;

function subject(name: string, clientNs: string, serverNs: string, serverIp: string): Subject {
  return { name, measure: (mode) => measureMode(mode, { clientNs, serverNs, serverIp, seconds, cpu: 1 }) };
}

const titles: Readonly<Record<Mode, string>> = {
  "tcp-rr": "TCP request/response",
  "tcp-crr": "connections",
  "udp-rr": "UDP request/response",
  "tcp-stream": "TCP throughput",
};

/** A subject against the baseline of its comparison. */
function measuresOf(
  { baseline, figures }: Comparison,
  name: string,
  bars: Readonly<Record<Mode, number>>,
): Measure[] {
  const text = (mode: Mode, rate: number) =>
    mode === "tcp-stream" ? `${(rate / 1e9).toFixed(1)} Gbit/s` : `${(rate / 1000).toFixed(1)}k/s`;
  return figures
    .filter(({ subject }) => subject === name)
    .map(({ mode, rate, ratio }) => ({
      measure: `${titles[mode]}, ${name}, against ${baseline}`,
      ours: text(mode, rate),
      peer: text(mode, figures.find((f) => f.subject === baseline && f.mode === mode)?.rate ?? Number.NaN),
      value: ratio,
      bar: { atLeast: bars[mode] },
    }));
}

const sameNodeBars = { "tcp-rr": 0.93, "tcp-crr": 0.85, "udp-rr": 0.95, "tcp-stream": 0.95 };
/** Across nodes the connect rate may be 0.80 of the same hops without us, everything else is to be 0.90. */
const otherNodeBars = { "tcp-rr": 0.9, "tcp-crr": 0.8, "udp-rr": 0.9, "tcp-stream": 0.9 };

buildPerf(root);
const progress = (text: string) => console.error(text);
const lab = await BenchLab.up(root, "bench");
const bare = await bareVethPair();
const hops = await routedHops();
try {
  await lab.pods([
    { name: "client", node: "node1" },
    { name: "near", node: "node1" },
    { name: "far", node: "node2" },
  ]);
  await lab.kubectl(["apply", "-f", "-"], policies);
  const [client, near, far] = await Promise.all([lab.pod("client"), lab.pod("near"), lab.pod("far")]);
  const same = await compare(
    [
      subject("bare veth", bare.client.netns, bare.server.netns, bare.server.ipv4),
      subject("same node", client.netns, near.netns, near.ipv4),
    ],
    { rounds, progress },
  );
  console.log(comparisonTable(same));
  console.log(`written to ${writeReport(root, "pods-same-node", same)}`);
  const same6 = await compare(
    [
      subject("bare veth, IPv6", bare.client.netns, bare.server.netns, ipOf(bare.server, 6)),
      subject("same node, IPv6", client.netns, near.netns, near.ipv6),
    ],
    { rounds, progress },
  );
  console.log(comparisonTable(same6));
  console.log(`written to ${writeReport(root, "pods-same-node-ipv6", same6)}`);
  const across = await compare(
    [
      subject("routed hops", hops.client.netns, hops.server.netns, hops.server.ipv4),
      subject("other node", client.netns, far.netns, far.ipv4),
    ],
    { rounds, progress },
  );
  console.log(comparisonTable(across));
  console.log(`written to ${writeReport(root, "pods-across-nodes", across)}`);
  writeSummary(root, "pods", [
    ...measuresOf(same, "same node", sameNodeBars),
    ...measuresOf(same6, "same node, IPv6", sameNodeBars),
    ...measuresOf(across, "other node", otherNodeBars),
  ]);
} finally {
  await bare.close();
  await hops.close();
  await lab.down();
}
