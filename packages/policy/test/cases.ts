/**
 * Policies that people know by name: the examples of the Kubernetes documentation on network policies, and the scenarios
 * of the field's connectivity tests about layers 3 and 4. One cast of pods for all; each is asked in full.
 */
import { namespaces, pod, type RawPolicy } from "./generate.ts";
import type { Objects, Pod } from "./oracle.ts";

/** A pod of the cast, and where it lives. */
export interface Actor extends Pod {
  readonly node: "node1" | "node2";
}

/** A policy, or several, and what to ask about. */
export interface Case {
  readonly name: string;
  readonly policies: readonly RawPolicy[];
  readonly groups?: Objects["groups"];
  /** Protocol and port, or ICMP type. */
  readonly ports?: readonly [proto: number, port: number][];
  /** Whose connections are asked: names of the cast. */
  readonly cast: readonly string[];
}

const labelsOf = (name: string, more: Record<string, string> = {}) => ({
  "kubernetes.io/metadata.name": name,
  ...more,
});
/** Labels of the namespaces of the cast. */
export const castNamespaces: Readonly<Record<string, Record<string, string>>> = {
  default: labelsOf("default"),
  myproject: labelsOf("myproject", { project: "myproject", user: "alice", namespace: "frontend" }),
  bob: labelsOf("bob", { user: "bob", namespace: "backend" }),
  "cilium-test": labelsOf("cilium-test"),
  ccnp1: labelsOf("ccnp1"),
  ccnp2: labelsOf("ccnp2"),
  ...namespaces,
};

function actor(
  name: string,
  namespace: string,
  node: Actor["node"],
  labels: Record<string, string>,
  more: Partial<Actor> = {},
): Actor {
  const namespaceLabels = castNamespaces[namespace] ?? {};
  return { kind: "pod", name, namespace, node, labels, namespaceLabels, ports: [], ...more };
}

const echoPort = { ports: [{ name: "http-8080", proto: 6, port: 8080 }] };
const echo = (account: string) => ({ ...echoPort, serviceAccount: account });

/** Every pod there is. */
export const cast: readonly Actor[] = [
  actor("db", "default", "node1", { role: "db" }),
  actor("frontend", "default", "node2", { role: "frontend" }),
  actor("nginx", "default", "node1", { app: "nginx", access: "true" }),
  actor("alice", "myproject", "node1", { role: "client" }),
  actor("bob", "bob", "node2", { role: "client" }),
  actor("client", "cilium-test", "node1", { kind: "client", name: "client" }, { serviceAccount: "client" }),
  actor(
    "client2",
    "cilium-test",
    "node1",
    { kind: "client", name: "client2", other: "client" },
    { serviceAccount: "client2" },
  ),
  actor(
    "echo-same-node",
    "cilium-test",
    "node1",
    { kind: "echo", name: "echo-same-node", other: "echo" },
    echo("echo-same-node"),
  ),
  actor(
    "echo-other-node",
    "cilium-test",
    "node2",
    { kind: "echo", name: "echo-other-node", first: "echo" },
    echo("echo-other-node"),
  ),
  actor("ccnp1", "ccnp1", "node1", { kind: "ccnp" }),
  actor("ccnp2", "ccnp2", "node2", { kind: "ccnp" }),
];

/** Addresses outside of the cluster that the cases name. */
export const castWorld: readonly string[] = [
  "192.0.2.1",
  "2001:db8::1",
  "172.17.0.5",
  "172.17.1.5",
  "10.0.0.9",
  "198.51.100.1",
  "198.51.100.2",
  "2001:db8:1::1",
  "2001:db8:1::2",
];

// --- the documentation of Kubernetes -------------------------------------------------------------------------------

const documented = ["db", "frontend", "nginx", "alice", "bob"];
const TCP = (...ports: number[]): [number, number][] => ports.map((port) => [6, port]);

function np(name: string, spec: object, namespace = "default"): RawPolicy {
  return { kind: "NetworkPolicy", metadata: { name, namespace }, spec };
}

function doc(name: string, spec: object, ports?: [number, number][]): Case {
  return { name, policies: [np(name, spec)], cast: documented, ...(ports ? { ports } : {}) };
}

const both = ["Ingress", "Egress"];
const ofRole = (role: string) => ({ matchLabels: { role } });
const ofUser = (user: string) => ({ matchLabels: { user } });

const kubernetes: Case[] = [
  doc(
    "test-network-policy",
    {
      podSelector: ofRole("db"),
      policyTypes: both,
      ingress: [
        {
          from: [
            { ipBlock: { cidr: "172.17.0.0/16", except: ["172.17.1.0/24"] } },
            { namespaceSelector: { matchLabels: { project: "myproject" } } },
            { podSelector: ofRole("frontend") },
          ],
          ports: [{ protocol: "TCP", port: 6379 }],
        },
      ],
      egress: [{ to: [{ ipBlock: { cidr: "10.0.0.0/24" } }], ports: [{ protocol: "TCP", port: 5978 }] }],
    },
    [...TCP(6379, 5978, 80), [17, 6379]],
  ),
  doc("namespace-and-pod", {
    podSelector: {},
    ingress: [{ from: [{ namespaceSelector: ofUser("alice"), podSelector: ofRole("client") }] }],
  }),
  doc("namespace-or-pod", {
    podSelector: {},
    ingress: [{ from: [{ namespaceSelector: ofUser("alice") }, { podSelector: ofRole("client") }] }],
  }),
  doc("default-deny-ingress", { podSelector: {}, policyTypes: ["Ingress"] }),
  doc("allow-all-ingress", { podSelector: {}, ingress: [{}], policyTypes: ["Ingress"] }),
  doc("default-deny-egress", { podSelector: {}, policyTypes: ["Egress"] }),
  doc("allow-all-egress", { podSelector: {}, egress: [{}], policyTypes: ["Egress"] }),
  doc("default-deny-all", { podSelector: {}, policyTypes: both }),
  doc(
    "multi-port-egress",
    {
      podSelector: ofRole("db"),
      policyTypes: ["Egress"],
      egress: [
        {
          to: [{ ipBlock: { cidr: "10.0.0.0/24" } }],
          ports: [{ protocol: "TCP", port: 32000, endPort: 32768 }],
        },
      ],
    },
    TCP(80, 32000, 32768),
  ),
  doc("egress-namespaces", {
    podSelector: { matchLabels: { app: "nginx" } },
    policyTypes: ["Egress"],
    egress: [
      {
        to: [
          {
            namespaceSelector: {
              matchExpressions: [{ key: "namespace", operator: "In", values: ["frontend", "backend"] }],
            },
          },
        ],
      },
    ],
  }),
  doc("namespace-by-name", {
    podSelector: {},
    ingress: [{ from: [{ namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": "bob" } } }] }],
  }),
  doc("access-nginx", {
    podSelector: { matchLabels: { app: "nginx" } },
    ingress: [{ from: [{ podSelector: { matchLabels: { access: "true" } } }] }],
  }),
  doc("sctp", { podSelector: ofRole("db"), ingress: [{ ports: [{ protocol: "SCTP", port: 7777 }] }] }, [
    [132, 7777],
    [132, 7778],
    ...TCP(80),
  ]),
  {
    ...doc("an allow beside default deny", { podSelector: {}, policyTypes: both }),
    policies: [
      np("deny", { podSelector: {}, policyTypes: both }),
      np("allow", { podSelector: ofRole("db"), ingress: [{ from: [{ podSelector: ofRole("frontend") }] }] }),
      np("out", { podSelector: ofRole("frontend"), policyTypes: ["Egress"], egress: [{}] }),
    ],
  },
];

// --- the field's connectivity tests ----------------------------------------------------------------------------------

const tested = ["client", "client2", "echo-same-node", "echo-other-node"];
const NS = "cilium-test";
const ping: [number, number][] = [
  [1, 8],
  [58, 128],
];
const usual: [number, number][] = [...TCP(8080, 80), [17, 8080], ...ping];

function cnp(name: string, subject: object, rest: object): RawPolicy {
  const spec = { endpointSelector: subject, ...rest };
  return { kind: "CiliumNetworkPolicy", metadata: { name, namespace: NS }, spec };
}

const of = (labels: Record<string, string>) => ({ matchLabels: labels });
const kind = (value: string) => of({ kind: value });
const account = (name: string) => of({ "io.cilium.k8s.policy.serviceaccount": name });
const anyOfCluster = { matchExpressions: [{ key: "io.cilium.k8s.policy.cluster", operator: "Exists" }] };
const tcp = (port: string, endPort?: number) => [
  { ports: [{ port, protocol: "TCP", ...(endPort === undefined ? {} : { endPort }) }] },
];
const echoIcmp = [
  {
    fields: [
      { family: "IPv4", type: 8 },
      { family: "IPv6", type: 128 },
    ],
  },
];
const otherClient = of({ other: "client" });

const allowAllEgress = cnp(
  "allow-all-egress",
  {},
  {
    egress: [{ toEndpoints: [anyOfCluster] }, { toCIDR: ["0.0.0.0/0", "::/0"] }],
  },
);
const allowAllIngress = cnp("allow-all-ingress", {}, { ingress: [{ fromEndpoints: [anyOfCluster] }] });
const external = { v4: "198.51.100.0/24", v6: "2001:db8:1::/96" };
const without = (last: number) => [
  { cidr: external.v4, except: [`198.51.100.${last}/32`] },
  { cidr: external.v6, except: [`2001:db8:1::${last}/128`] },
];
const groups: Objects["groups"] = [
  { name: "external", labels: { destination: "external" }, cidrs: [external.v4, external.v6] },
];
const notOne = ["198.51.100.1/32", "2001:db8:1::1/128"];

function field(name: string, policies: RawPolicy[], more: Partial<Case> = {}): Case {
  return { name, policies, cast: tested, ports: usual, ...more };
}

/** The policy alone, under its own name. */
function one(name: string, subject: object, rest: object, more: Partial<Case> = {}): Case {
  return field(name, [cnp(name, subject, rest)], more);
}

/** A denial beside policies that allow everything. */
function denial(name: string, subject: object, rest: object, more: Partial<Case> = {}): Case {
  return field(name, [allowAllEgress, allowAllIngress, cnp(name, subject, rest)], more);
}

const knp = (name: string, spec: object, more: Partial<Case> = {}): Case =>
  field(name, [np(name, spec, NS)], more);

const outside = { cast: ["client", "echo-same-node"] };

const connectivity: Case[] = [
  field("no-policies", []),
  one(
    "allow-all-except-world",
    {},
    {
      ingress: [
        { fromEntities: ["host", "remote-node", "cluster", "init", "health", "kube-apiserver"] },
        { fromEndpoints: [anyOfCluster] },
      ],
      egress: [
        { toEntities: ["host", "remote-node", "cluster", "init", "health", "kube-apiserver"] },
        { toEndpoints: [anyOfCluster] },
      ],
    },
  ),
  one("client-ingress", kind("client"), { ingress: [{ fromEndpoints: [otherClient] }] }),
  knp("client-ingress-knp", {
    podSelector: kind("client"),
    ingress: [{ from: [{ podSelector: otherClient }] }],
  }),
  one("all-ingress-deny", {}, { ingress: [{}] }),
  knp("all-ingress-deny-knp", { podSelector: {}, policyTypes: ["Ingress"] }),
  one("all-egress-deny", {}, { egress: [{}] }),
  knp("all-egress-deny-knp", { podSelector: {}, policyTypes: ["Egress"] }),
  one("all-entities-deny", {}, { egressDeny: [{ toEntities: ["all"] }] }),
  one("cluster-entity", kind("client"), { egress: [{ toEntities: ["cluster"] }] }),
  one("host-entity-egress", {}, { egress: [{ toEntities: ["host", "remote-node"] }] }),
  one("host-entity-ingress", {}, { ingress: [{ fromEntities: ["host", "remote-node"] }] }),
  one("echo-ingress", kind("echo"), { ingress: [{ fromEndpoints: [otherClient] }] }),
  knp("echo-ingress-knp", { podSelector: kind("echo"), ingress: [{ from: [{ podSelector: otherClient }] }] }),
  one("client-ingress-icmp", kind("client"), {
    ingress: [{ fromEndpoints: [otherClient], icmps: echoIcmp }],
  }),
  one("client-egress", kind("client"), { egress: [{ toEndpoints: [kind("echo")], toPorts: tcp("8080") }] }),
  knp("client-egress-knp", {
    podSelector: kind("client"),
    policyTypes: ["Egress"],
    egress: [{ to: [{ podSelector: kind("echo") }], ports: [{ port: 8080 }] }],
  }),
  one(
    "client-egress-expression",
    { matchExpressions: [{ key: "other", operator: "Exists" }] },
    {
      egress: [{ toEndpoints: [kind("echo")], toPorts: tcp("8080") }],
    },
  ),
  one(
    "client-egress-expression-port-range",
    { matchExpressions: [{ key: "other", operator: "Exists" }] },
    {
      egress: [{ toEndpoints: [kind("echo")], toPorts: tcp("4096", 8191) }],
    },
  ),
  one("client-with-service-account-egress-to-echo", account("client"), {
    egress: [{ toEndpoints: [kind("echo")], toPorts: tcp("8080") }],
  }),
  one("client-egress-to-echo-service-account", kind("client"), {
    egress: [{ toEndpoints: [account("echo-same-node")], toPorts: tcp("8080") }],
  }),
  one("to-entities-world", kind("client"), { egress: [{ toEntities: ["world"], toPorts: tcp("80") }] }),
  one("to-entities-world-port-range", kind("client"), {
    egress: [{ toEntities: ["world"], toPorts: tcp("64", 127) }],
  }),
  one("to-cidr-external", kind("client"), { egress: [{ toCIDRSet: without(2) }] }, outside),
  knp(
    "to-cidr-external-knp",
    {
      podSelector: kind("client"),
      policyTypes: ["Egress"],
      egress: [{ to: without(2).map((ipBlock) => ({ ipBlock })) }],
    },
    outside,
  ),
  one("from-cidr", kind("echo"), { ingress: [{ fromCIDR: ["192.0.2.1/32", "2001:db8::1/128"] }] }, outside),
  denial("echo-ingress-from-other-client-deny", kind("echo"), {
    ingressDeny: [{ fromEndpoints: [otherClient] }],
  }),
  denial("client-ingress-from-other-client-icmp-deny", kind("client"), {
    ingressDeny: [{ fromEndpoints: [otherClient], icmps: echoIcmp }],
  }),
  denial("client-egress-to-echo-deny", kind("client"), {
    egressDeny: [{ toEndpoints: [kind("echo")], toPorts: tcp("8080") }],
  }),
  denial("client-egress-to-echo-deny-port-range", kind("client"), {
    egressDeny: [{ toEndpoints: [kind("echo")], toPorts: tcp("4096", 8191) }],
  }),
  denial("client-ingress-to-echo-named-port-deny", kind("echo"), {
    ingressDeny: [
      {
        fromEndpoints: [of({ name: "client" })],
        toPorts: [{ ports: [{ port: "http-8080", protocol: "TCP" }] }],
      },
    ],
  }),
  denial(
    "client-egress-to-echo-expression-deny",
    { matchExpressions: [{ key: "name", operator: "In", values: ["client"] }] },
    {
      egressDeny: [
        {
          toEndpoints: [{ matchExpressions: [{ key: "kind", operator: "In", values: ["echo"] }] }],
          toPorts: tcp("8080"),
        },
      ],
    },
  ),
  denial("client-with-service-account-egress-to-echo-deny", account("client"), {
    egressDeny: [{ toEndpoints: [kind("echo")], toPorts: tcp("8080") }],
  }),
  denial("client-egress-to-echo-service-account-deny", account("client"), {
    egressDeny: [{ toEndpoints: [account("echo-same-node")], toPorts: tcp("8080") }],
  }),
  denial("client-egress-to-cidr-deny", kind("client"), { egressDeny: [{ toCIDRSet: without(1) }] }, outside),
  denial(
    "client-egress-to-cidrgroup-deny",
    kind("client"),
    { egressDeny: [{ toCIDRSet: [{ cidrGroupRef: "external", except: notOne }] }] },
    { ...outside, groups },
  ),
  denial(
    "client-egress-to-cidrgroup-deny-by-label",
    kind("client"),
    {
      egressDeny: [{ toCIDRSet: [{ cidrGroupSelector: of({ destination: "external" }), except: notOne }] }],
    },
    { ...outside, groups },
  ),
  one(
    "client-egress-to-cidr-deny-default",
    kind("client"),
    { egressDeny: [{ toCIDRSet: without(1) }] },
    outside,
  ),
  ccnp("egress-to-specific-namespace-ccnp", "egress", "ccnp1", "ccnp2"),
  ccnp("ingress-from-specific-namespace-ccnp", "ingress", "ccnp1", "ccnp2"),
  {
    name: "tiered pass before a denial",
    cast: tested,
    ports: usual,
    policies: [
      {
        kind: "ClusterNetworkPolicy",
        metadata: { name: "tiered" },
        spec: {
          tier: "Admin",
          priority: 0,
          subject: {
            pods: {
              namespaceSelector: of({ "kubernetes.io/metadata.name": NS }),
              podSelector: kind("echo"),
            },
          },
          ingress: [
            {
              action: "Pass",
              from: [
                {
                  pods: {
                    namespaceSelector: of({ "kubernetes.io/metadata.name": NS }),
                    podSelector: of({ name: "client" }),
                  },
                },
              ],
            },
            { action: "Deny", from: [{ namespaces: {} }] },
          ],
        },
      },
      cnp("all-on-8080", kind("echo"), { ingress: [{ fromEntities: ["all"], toPorts: tcp("8080") }] }),
    ],
  },
];

function ccnp(name: string, section: "egress" | "ingress", from: string, to: string): Case {
  const inNamespace = (namespace: string) => of({ "k8s:io.kubernetes.pod.namespace": namespace });
  const subject = of({ kind: "ccnp", "k8s:io.kubernetes.pod.namespace": from });
  const peers = { [section === "egress" ? "toEndpoints" : "fromEndpoints"]: [inNamespace(to)] };
  const policy: RawPolicy = {
    kind: "CiliumClusterwideNetworkPolicy",
    metadata: { name },
    spec: { endpointSelector: subject, [section]: [peers] },
  };
  return { name, policies: [policy], cast: [from, to, "client"], ports: usual };
}

/** All of them. */
export const cases: readonly Case[] = [...kubernetes, ...connectivity];

/** What a case asks about when it does not say. */
export const usualPorts: readonly [number, number][] = [...TCP(80), [17, 80], ...ping];

/** Pods for generated policies (`generate.ts`), each with labels that it has or may get. */
export const generatedCast: readonly Actor[] = (
  [
    ["g1", "red", "node1", { app: "web", tier: "front" }],
    ["g2", "red", "node2", { app: "db" }],
    ["g3", "blue", "node1", { app: "db", tier: "back" }],
    ["g4", "blue", "node2", { app: "web" }],
    ["g5", "red", "node1", { app: "cache", tier: "back" }],
  ] as const
).map(([name, namespace, node, labels]) => ({ ...pod(name, namespace, { ...labels }), node }));
