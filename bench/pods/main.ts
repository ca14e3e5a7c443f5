/**
 * Pods on one node against a bare veth pair, and pods on two nodes against the same hops without us: request/response,
 * connect rate, UDP, throughput. Policy is enforced on both ends and observation is on.
 * Usage: node dist/bench-pods.mjs [seconds] [rounds].
 */
import {
  bareVethPair,
  buildPerf,
  compare,
  comparisonTable,
  measureMode,
  routedHops,
  type Subject,
  writeReport,
} from "../net/index.ts";
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
      subject("same node, IPv6", client.netns, near.netns, near.ipv6),
    ],
    { rounds, progress },
  );
  console.log(comparisonTable(same));
  console.log(`written to ${writeReport(root, "pods-same-node", same)}`);
  const across = await compare(
    [
      subject("routed hops", hops.client.netns, hops.server.netns, hops.server.ipv4),
      subject("other node", client.netns, far.netns, far.ipv4),
    ],
    { rounds, progress },
  );
  console.log(comparisonTable(across));
  console.log(`written to ${writeReport(root, "pods-across-nodes", across)}`);
} finally {
  await bare.close();
  await hops.close();
  await lab.down();
}
