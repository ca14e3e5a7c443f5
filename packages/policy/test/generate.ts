/** Generated policies, pods and peers: a small universe, so that they meet. */
import fc from "fast-check";
import type { Objects, Party, Pod } from "./oracle.ts";

export const namespaces: Record<string, Record<string, string>> = {
  red: { team: "x", "kubernetes.io/metadata.name": "red" },
  blue: { team: "y", "kubernetes.io/metadata.name": "blue" },
};

const ports: Record<string, Pod["ports"]> = {
  web: [{ name: "http", proto: 6, port: 80 }],
  db: [
    { name: "http", proto: 6, port: 8080 },
    { name: "dns", proto: 17, port: 53 },
  ],
};

export function pod(name: string, namespace: string, labels: Record<string, string>): Pod {
  const namespaceLabels = namespaces[namespace] ?? {};
  return { kind: "pod", name, namespace, labels, namespaceLabels, ports: ports[labels["app"] ?? ""] ?? [] };
}

export const podArb = fc
  .record({
    name: fc.constantFrom("p1", "p2", "p3", "p4", "p5"),
    namespace: fc.constantFrom("red", "blue"),
    labels: fc.record(
      { app: fc.constantFrom("web", "db", "cache"), tier: fc.constantFrom("front", "back") },
      { requiredKeys: ["app"] },
    ),
  })
  .map(({ name, namespace, labels }) => pod(name, namespace, labels));

export const outsiders: Party[] = [
  { kind: "host", ip: "172.30.0.11" },
  { kind: "host", ip: "fd00:172:30::11" },
  { kind: "remote-node", ip: "172.30.0.12" },
  { kind: "remote-node", ip: "fd00:172:30::12" },
  { kind: "apiserver", ip: "172.30.0.13" },
  { kind: "health", ip: "10.244.1.1" },
  { kind: "ingress", ip: "fd44:1::2" },
  { kind: "unmanaged", ip: "10.244.1.3" },
  { kind: "world", ip: "10.0.0.1" },
  { kind: "world", ip: "10.1.2.3" },
  { kind: "world", ip: "192.0.2.1" },
  { kind: "world", ip: "fd00::1" },
  { kind: "world", ip: "2001:db8::1" },
];

export const probes: [proto: number, port: number][] = [
  [6, 80],
  [6, 81],
  [6, 443],
  [6, 8080],
  [17, 53],
  [17, 80],
  [132, 80],
  [1, 8],
  [58, 128],
  [47, 0],
];

const selector = fc.oneof(
  fc.constant({}),
  fc.record({ matchLabels: fc.record({ app: fc.constantFrom("web", "db", "cache") }) }),
  fc.record({ matchLabels: fc.record({ tier: fc.constantFrom("front", "back") }) }),
  fc
    .tuple(
      fc.constantFrom("app", "tier"),
      fc.constantFrom("In", "NotIn"),
      fc.constantFrom(["web", "front"], ["db"]),
    )
    .map(([key, operator, values]) => ({ matchExpressions: [{ key, operator, values }] })),
  fc
    .constantFrom("Exists", "DoesNotExist")
    .map((operator) => ({ matchExpressions: [{ key: "tier", operator }] })),
);
const namespaceSelector = fc.oneof(
  fc.constant({}),
  fc.record({ matchLabels: fc.record({ team: fc.constantFrom("x", "y", "z") }) }),
);
/** Prefixes that part the pods p1 to p5 of this universe (10.244.0.1 and fd44::1 on), and one that holds its nodes. */
export const insidePrefixes = [
  "10.244.0.0/30",
  "10.244.0.2/32",
  "10.244.0.0/24",
  "fd44::/126",
  "fd44::4/128",
  "172.30.0.0/16",
] as const;
const prefixes = [
  "10.0.0.0/8",
  "10.1.0.0/16",
  "192.0.2.1/32",
  "0.0.0.0/0",
  "::/0",
  "fd00::/8",
  ...insidePrefixes,
];
const block = fc.oneof(
  fc.record({ cidr: fc.constantFrom(...prefixes) }),
  fc.constantFrom<{ cidr: string; except: string[] }[]>(
    { cidr: "10.0.0.0/8", except: ["10.1.0.0/16"] },
    { cidr: "0.0.0.0/0", except: ["10.0.0.0/8", "192.0.2.0/24"] },
    { cidr: "fd00::/8", except: ["fd00::/64"] },
    { cidr: "0.0.0.0/0", except: ["10.244.0.0/30"] },
    { cidr: "10.244.0.0/24", except: ["10.244.0.2/32"] },
    { cidr: "::/0", except: ["fd44::/126"] },
  ),
);
/** A record without the keys whose value is undefined. */
const dense = <T extends object>(arb: fc.Arbitrary<T>) =>
  arb.map((value) => Object.fromEntries(Object.entries(value).filter(([, v]) => v !== undefined)));

const groupPeer = dense(
  fc.record({
    cidrGroupRef: fc.constantFrom("office", "cloud", "missing"),
    except: fc.constantFrom(undefined, undefined, ["10.1.0.0/16"], ["192.0.2.0/24", "10.0.0.0/8"]),
  }),
);
const groupsPeer = dense(
  fc.record({
    cidrGroupSelector: fc.constantFrom<object[]>(
      {},
      { matchLabels: { team: "x" } },
      { matchExpressions: [{ key: "cidrgroup:team", operator: "NotIn", values: ["x"] }] },
    ),
    except: fc.constantFrom(undefined, ["10.1.2.0/24"]),
  }),
);
export const groupArb: fc.Arbitrary<Objects["groups"][number]> = fc.record({
  name: fc.constantFrom("office", "cloud"),
  labels: fc.constantFrom<Record<string, string>[]>({}, { team: "x" }, { team: "y" }),
  cidrs: fc.uniqueArray(fc.constantFrom(...prefixes, "192.0.2.0/24"), { maxLength: 3 }),
});
const servicePeer = fc.oneof(
  fc.record({
    k8sService: dense(
      fc.record({
        serviceName: fc.constantFrom("web", "ext"),
        namespace: fc.constantFrom("red", "blue"),
      }),
    ),
  }),
  fc.record({
    k8sServiceSelector: dense(
      fc.record({
        selector: fc.constantFrom<object[]>({}, { matchLabels: { team: "x" } }),
        namespace: fc.constantFrom(undefined, "red"),
      }),
    ),
  }),
);
export const serviceArb: fc.Arbitrary<Objects["services"][number]> = fc.record({
  name: fc.constantFrom("web", "ext"),
  namespace: fc.constantFrom("red", "blue"),
  labels: fc.constantFrom<Record<string, string>[]>({}, { team: "x" }),
  selector: fc.constantFrom<Record<string, string>[]>(
    {},
    { app: "web" },
    { app: "db" },
    { app: "web", tier: "front" },
  ),
  addresses: fc.uniqueArray(fc.constantFrom("192.0.2.1", "10.1.2.3", "fd00::1", "10.244.0.3"), {
    maxLength: 2,
  }),
});
const some = <T>(arb: fc.Arbitrary<T>) =>
  fc.option(fc.array(arb, { maxLength: 2 }), { nil: undefined, freq: 3 });

// --- Kubernetes
const k8sPort = fc.oneof(
  fc.constantFrom<object[]>(
    {},
    { port: 80 },
    { port: 79, endPort: 443 },
    { port: "http" },
    { protocol: "UDP", port: 53 },
    { protocol: "UDP", port: "dns" },
    { protocol: "UDP" },
    { protocol: "SCTP" },
    { port: 1, endPort: 65535 },
  ),
);
const k8sPeer = fc.oneof(
  fc.record({ podSelector: selector }),
  fc.record({ namespaceSelector }),
  fc.record({ podSelector: selector, namespaceSelector }),
  fc.record({ ipBlock: block }),
);
const networkPolicy = dense(
  fc.record({
    podSelector: selector,
    policyTypes: fc.constantFrom(undefined, ["Ingress"], ["Egress"], ["Ingress", "Egress"]),
    ingress: some(dense(fc.record({ from: some(k8sPeer), ports: some(k8sPort) }))),
    egress: some(dense(fc.record({ to: some(k8sPeer), ports: some(k8sPort) }))),
  }),
);

// --- Cilium
const ciliumSelector = fc.oneof(
  selector,
  fc.constantFrom<object[]>(
    { matchLabels: { "k8s:app": "web" } },
    { matchLabels: { "k8s:io.kubernetes.pod.namespace": "blue" } },
    { matchLabels: { "io.kubernetes.pod.namespace": "red", "any:app": "db" } },
    { matchLabels: { "k8s:io.cilium.k8s.namespace.labels.team": "x" } },
    { matchExpressions: [{ key: "k8s:io.kubernetes.pod.namespace", operator: "Exists" }] },
  ),
);
const entities = [
  "all",
  "world",
  "cluster",
  "cluster-mesh",
  "host",
  "remote-node",
  "kube-apiserver",
  "health",
  "ingress",
  "unmanaged",
  "init",
  "none",
];
const reservedSelector = fc.constantFrom<object>(
  { matchLabels: { "reserved:host": "" } },
  { matchLabels: { "reserved:remote-node": "" } },
  { matchLabels: { "reserved:world": "" } },
  { matchExpressions: [{ key: "reserved:kube-apiserver", operator: "Exists" }] },
  { matchExpressions: [{ key: "reserved:world", operator: "DoesNotExist" }] },
  {
    matchLabels: { "any:app": "web" },
    matchExpressions: [{ key: "reserved:init", operator: "DoesNotExist" }],
  },
);
const peersOf = (prefix: "from" | "to") =>
  fc.oneof(
    fc.constant({}),
    fc
      .array(fc.oneof({ weight: 3, arbitrary: ciliumSelector }, { weight: 1, arbitrary: reservedSelector }), {
        maxLength: 2,
      })
      .map((list) => ({ [`${prefix}Endpoints`]: list })),
    fc
      .array(fc.constantFrom(...entities), {
        maxLength: 2,
      })
      .map((list) => ({ [`${prefix}Entities`]: list })),
    fc
      .array(fc.constantFrom("10.0.0.0/8", "192.0.2.1", "0.0.0.0/0", "fd00::1", ...insidePrefixes), {
        maxLength: 2,
      })
      .map((list) => ({ [`${prefix}CIDR`]: list })),
    fc
      .constantFrom<object[]>({}, { matchLabels: { a: "b" } })
      .map((nodes) => ({ [`${prefix}Nodes`]: [nodes] })),
    fc
      .array(fc.oneof(block, groupPeer, groupsPeer), { maxLength: 2 })
      .map((list) => ({ [`${prefix}CIDRSet`]: list })),
    ...(prefix === "to"
      ? [fc.array(servicePeer, { maxLength: 2 }).map((list) => ({ toServices: list }))]
      : []),
  );
const ciliumPort = fc.constantFrom<object[]>(
  { port: "80" },
  { port: "80", protocol: "TCP" },
  { port: "53", protocol: "UDP" },
  { port: "79", endPort: 90, protocol: "TCP" },
  { port: "http" },
  { port: "0", protocol: "TCP" },
  { port: "0x50", protocol: "TCP" },
);
const l4 = (deny: boolean) =>
  fc.oneof(
    fc.constant({}),
    fc.constant({ toPorts: [] }),
    fc.array(ciliumPort, { minLength: 1, maxLength: 2 }).map((list) => ({ toPorts: [{ ports: list }] })),
    fc.constant({ icmps: [{ fields: [{ type: 8 }] }] }),
    fc.constant({ icmps: [{ fields: [{ family: "IPv6", type: 128 }] }] }),
    fc.constant(
      deny ? {} : { toPorts: [{ ports: [{ port: "80", protocol: "TCP" }], serverNames: ["a.b"] }] },
    ),
    fc.constant(
      deny
        ? {}
        : { toPorts: [{ ports: [{ port: "80", protocol: "TCP" }], rules: { http: [{ method: "GET" }] } }] },
    ),
  );
const entry = (prefix: "from" | "to", deny: boolean) =>
  fc
    .tuple(
      peersOf(prefix),
      l4(deny),
      fc.option(fc.array(ciliumSelector, { minLength: 1, maxLength: 2 }), { nil: [], freq: 8 }),
    )
    .map(([peers, ports, requires]) => ({
      ...peers,
      ...ports,
      ...(requires.length > 0 && !deny ? { [`${prefix}Requires`]: requires } : {}),
    }));
const ciliumSpec = dense(
  fc.record({
    endpointSelector: ciliumSelector.filter((s) => !JSON.stringify(s).includes("pod.namespace")),
    ingress: some(entry("from", false)),
    ingressDeny: some(entry("from", true)),
    egress: some(entry("to", false)),
    egressDeny: some(entry("to", true)),
    enableDefaultDeny: fc.constantFrom(
      undefined,
      undefined,
      { ingress: false },
      { egress: false, ingress: true },
    ),
  }),
).filter((spec) =>
  ["ingress", "ingressDeny", "egress", "egressDeny"].some((field) => (spec[field] as unknown[])?.length > 0),
);

// --- tiers
const scopedArb = fc.oneof(
  fc.record({ namespaces: namespaceSelector }),
  fc.record({ pods: fc.record({ namespaceSelector, podSelector: selector }) }),
);
const networks = fc.record({
  networks: fc.subarray(["10.0.0.0/8", "192.0.2.0/24", "0.0.0.0/0", "fd00::/8", ...insidePrefixes], {
    minLength: 1,
    maxLength: 2,
  }),
});
const tierPeers = {
  from: fc.array(scopedArb, { minLength: 1, maxLength: 2 }),
  to: fc.array(fc.oneof(scopedArb, networks, fc.constant({ nodes: {} })), { minLength: 1, maxLength: 2 }),
};
const adminPorts = fc.option(
  fc.array(
    fc.constantFrom<object[]>(
      { portNumber: { protocol: "TCP", port: 80 } },
      { portNumber: { protocol: "UDP", port: 53 } },
      { portRange: { start: 79, end: 443 } },
      { namedPort: "http" },
    ),
    { minLength: 1, maxLength: 2 },
  ),
  { nil: undefined },
);
const protocols = fc.option(
  fc.array(
    fc.constantFrom<object[]>(
      { tcp: { destinationPort: { number: 80 } } },
      { tcp: {} },
      { udp: { destinationPort: { range: { start: 50, end: 80 } } } },
      { sctp: { destinationPort: { number: 80 } } },
      { destinationNamedPort: "dns" },
    ),
    { minLength: 1, maxLength: 2 },
  ),
  { nil: undefined },
);
const tierRules = (field: "from" | "to", actions: string[], ports: object) =>
  fc.array(dense(fc.record({ action: fc.constantFrom(...actions), [field]: tierPeers[field], ...ports })), {
    maxLength: 3,
  });
const tierSpec = (actions: string[], ports: object, more: Record<string, fc.Arbitrary<unknown>>) =>
  fc.record({
    ...more,
    subject: scopedArb,
    ingress: tierRules("from", actions, ports),
    egress: tierRules("to", actions, ports),
  });
const priority = fc.nat(2);
/** A policy of another tier. */
export const tierPolicyArb = fc.oneof(
  fc
    .tuple(
      fc.constantFrom("one", "two"),
      tierSpec(["Allow", "Deny", "Pass"], { ports: adminPorts }, { priority }),
    )
    .map(([name, spec]) => ({ kind: "AdminNetworkPolicy", metadata: { name }, spec })),
  tierSpec(["Allow", "Deny"], { ports: adminPorts }, {}).map((spec) => ({
    kind: "BaselineAdminNetworkPolicy",
    metadata: { name: "default" },
    spec,
  })),
  fc
    .tuple(
      fc.constantFrom("one", "two"),
      tierSpec(
        ["Accept", "Deny", "Pass"],
        { protocols },
        {
          priority,
          tier: fc.constantFrom("Admin", "Baseline"),
        },
      ),
    )
    .map(([name, spec]) => ({ kind: "ClusterNetworkPolicy", metadata: { name }, spec })),
);

const name = fc.constantFrom("one", "two", "three");
const namespace = fc.constantFrom("red", "blue");

/** Policies of the normal tier. */
const normalPolicy = fc.oneof(
  fc.tuple(name, namespace, networkPolicy).map(([n, ns, spec]) => ({
    kind: "NetworkPolicy",
    metadata: { name: n, namespace: ns },
    spec,
  })),
  fc.tuple(name, namespace, ciliumSpec).map(([n, ns, spec]) => ({
    kind: "CiliumNetworkPolicy",
    metadata: { name: n, namespace: ns },
    spec,
  })),
  fc.tuple(name, fc.array(ciliumSpec, { minLength: 1, maxLength: 2 })).map(([n, specs]) => ({
    kind: "CiliumClusterwideNetworkPolicy",
    metadata: { name: n },
    specs,
  })),
);

/** A policy object of any kind, some of them on trial. */
export const policyArb = fc
  .tuple(
    fc.oneof({ weight: 3, arbitrary: normalPolicy }, { weight: 1, arbitrary: tierPolicyArb }),
    fc.constantFrom(undefined, undefined, undefined, undefined, "true", "false"),
  )
  .map(([policy, audit]) =>
    audit === undefined
      ? policy
      : { ...policy, metadata: { ...policy.metadata, annotations: { "policy.axoneme.io/audit": audit } } },
  );
export type RawPolicy = { kind: string; metadata: { name: string; namespace?: string } } & Record<
  string,
  unknown
>;
