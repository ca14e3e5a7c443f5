/**
 * The policy engine: full compute of many policies, identities and endpoints, then single changes.
 * Run: npx esbuild bench/policy.ts --bundle --platform=node --format=esm --outfile=build/bench/policy.mjs && node build/bench/policy.mjs [policies] [identities] [endpoints]
 */
import { type PolicyCommit, PolicyEngine, parseNetworkPolicy } from "@axoneme/policy";

const [policies = 1000, identities = 3000, endpoints = 100] = process.argv.slice(2).map(Number);
const NAMESPACES = 50;
const APPS = 60;

const labelsOf = (i: number) => ({
  "k8s:app": `app-${i % APPS}`,
  "k8s:io.kubernetes.pod.namespace": `ns-${Math.floor(i / APPS) % NAMESPACES}`,
  "k8s:io.cilium.k8s.policy.cluster": "default",
});

/** Policies are spread over namespaces and apps as identities are, one after the other in steps of 37. */
function policy(i: number, port = 8080) {
  const slot = (i * 37) % (NAMESPACES * APPS);
  return parseNetworkPolicy({
    metadata: { namespace: `ns-${Math.floor(slot / APPS)}`, name: `p-${i}` },
    spec: {
      podSelector: { matchLabels: { app: `app-${slot % APPS}` } },
      policyTypes: ["Ingress", "Egress"],
      ingress: [
        { from: [{ podSelector: { matchLabels: { app: `app-${(i * 7) % APPS}` } } }], ports: [{ port }] },
        { from: [{ namespaceSelector: {}, podSelector: { matchLabels: { app: `app-${(i * 3) % APPS}` } } }] },
      ],
      egress: [{ to: [{ ipBlock: { cidr: `10.${i % 200}.0.0/16` } }], ports: [{ port: 443, endPort: 450 }] }],
    },
  });
}

const ms = (from: bigint) => Number(process.hrtime.bigint() - from) / 1e6;
function timed(what: string, rounds: number, round: (i: number) => PolicyCommit): void {
  const times: number[] = [];
  let writes = 0;
  for (let i = 0; i < rounds; i++) {
    const from = process.hrtime.bigint();
    writes += round(i).changes.length;
    times.push(ms(from));
  }
  times.sort((a, b) => a - b);
  const at = (share: number) => (times[Math.floor(share * (rounds - 1))] ?? 0).toFixed(3);
  console.log(`${what}: p50 ${at(0.5)} ms, p99 ${at(0.99)} ms, ${(writes / rounds).toFixed(1)} writes each`);
}

const before = process.memoryUsage().heapUsed;
const start = process.hrtime.bigint();
const engine = new PolicyEngine();
for (let i = 0; i < identities; i++) engine.addIdentity(256 + i, labelsOf(i));
// Endpoints are spread over the identities.
const step = Math.max(1, Math.floor(identities / endpoints));
for (let i = 0; i < endpoints; i++) {
  const index = (i * step + i) % identities;
  engine.upsertEndpoint({ id: i + 1, identity: 256 + index, labels: labelsOf(index) });
}
for (let i = 0; i < policies; i++) engine.upsertPolicy(policy(i));
const { changes, cidrs } = engine.commit();
console.log(
  `${policies} policies x ${identities} identities x ${endpoints} endpoints: ${ms(start).toFixed(0)} ms, ` +
    `${changes.length} writes, ${[...engine.distincts()].length} distinct policies, ${cidrs.added.length} CIDRs, ` +
    `${((process.memoryUsage().heapUsed - before) / 1e6).toFixed(1)} MB`,
);
timed("one policy changed", 200, (i) => {
  engine.upsertPolicy(policy(i % policies, 9000 + (i % 100)));
  return engine.commit();
});
timed("one policy removed and added", 200, (i) => {
  engine.deletePolicy(policy(i % policies).ref);
  const first = engine.commit();
  engine.upsertPolicy(policy(i % policies));
  return { ...first, changes: [...first.changes, ...engine.commit().changes] };
});
timed("one identity added", 500, (i) => {
  engine.addIdentity(60_000 + i, labelsOf(i));
  return engine.commit();
});
timed("one endpoint added", 500, (i) => {
  engine.upsertEndpoint({ id: 1000 + i, identity: 256 + i, labels: labelsOf(i) });
  return engine.commit();
});
