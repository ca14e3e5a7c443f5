import type { KubeObject } from "@axoneme/kube";

/** Namespace of the test bed. */
export const testNamespace = "axon-test-1";

/** One connection: a pod asks another pod, or a Service by its cluster address, on TCP. */
export interface Action {
  readonly from: "client" | "client2";
  /** A pod of the bed; or `echo`, the Service of both echo pods. */
  readonly to: "client" | "client2" | "echo-same-node" | "echo-other-node" | "echo";
  readonly expect: "reached" | "dropped";
}

/** One test: what is applied, and what must then hold. */
export interface Scenario {
  readonly name: string;
  readonly policies: readonly KubeObject[];
  readonly actions: readonly Action[];
}

const anyone = {};
const clients = { matchLabels: { kind: "client" } };
const echoes = { matchLabels: { kind: "echo" } };
const second = { matchLabels: { other: "client" } };
const port = [{ ports: [{ port: "8080", protocol: "TCP" }] }];

function cilium(name: string, spec: object): KubeObject {
  const metadata = { name, namespace: testNamespace };
  return { apiVersion: "cilium.io/v2", kind: "CiliumNetworkPolicy", metadata, spec } as KubeObject;
}

function kubernetes(name: string, spec: object): KubeObject {
  const metadata = { name, namespace: testNamespace };
  return { apiVersion: "networking.k8s.io/v1", kind: "NetworkPolicy", metadata, spec } as KubeObject;
}

/** What every client gets from every echo pod and from their Service. */
function toEchoes(client: Action["expect"], client2: Action["expect"] = client): Action[] {
  const targets = ["echo-same-node", "echo-other-node", "echo"] as const;
  return targets.flatMap((to) => [
    { from: "client" as const, to, expect: client },
    { from: "client2" as const, to, expect: client2 },
  ]);
}

/** The one between the two clients, each way. */
function betweenClients(toSecond: Action["expect"], toFirst: Action["expect"]): Action[] {
  return [
    { from: "client", to: "client2", expect: toSecond },
    { from: "client2", to: "client", expect: toFirst },
  ];
}

function test(name: string, policies: readonly KubeObject[], actions: readonly Action[]): Scenario {
  return { name, policies, actions };
}

const allowIngress = { fromEntities: ["all"] };
const allowEgress = { toEntities: ["all"] };

/** All tests, in the order in which they run. */
export const scenarios: readonly Scenario[] = [
  test("no-policies", [], [...toEchoes("reached"), ...betweenClients("reached", "reached")]),
  test(
    "all-ingress-deny",
    [cilium("all-ingress-deny", { endpointSelector: anyone, ingress: [{}] })],
    toEchoes("dropped"),
  ),
  test(
    "all-ingress-deny-knp",
    [kubernetes("all-ingress-deny", { podSelector: anyone, policyTypes: ["Ingress"] })],
    toEchoes("dropped"),
  ),
  test(
    "all-egress-deny",
    [cilium("all-egress-deny", { endpointSelector: anyone, egress: [{}] })],
    toEchoes("dropped"),
  ),
  test(
    "all-egress-deny-knp",
    [kubernetes("all-egress-deny", { podSelector: anyone, policyTypes: ["Egress"] })],
    toEchoes("dropped"),
  ),
  test(
    "client-ingress",
    [cilium("client-ingress", { endpointSelector: clients, ingress: [{ fromEndpoints: [second] }] })],
    betweenClients("dropped", "reached"),
  ),
  test(
    "client-ingress-knp",
    [
      kubernetes("client-ingress", {
        podSelector: clients,
        policyTypes: ["Ingress"],
        ingress: [{ from: [{ podSelector: second }] }],
      }),
    ],
    betweenClients("dropped", "reached"),
  ),
  test(
    "client-egress",
    [
      cilium("client-egress", {
        endpointSelector: clients,
        egress: [{ toEndpoints: [echoes], toPorts: port }],
      }),
    ],
    [...toEchoes("reached"), ...betweenClients("dropped", "dropped")],
  ),
  test(
    "echo-ingress",
    [cilium("echo-ingress", { endpointSelector: echoes, ingress: [{ fromEndpoints: [second] }] })],
    toEchoes("dropped", "reached"),
  ),
  test(
    "echo-ingress-knp",
    [
      kubernetes("echo-ingress", {
        podSelector: echoes,
        policyTypes: ["Ingress"],
        ingress: [{ from: [{ podSelector: second }] }],
      }),
    ],
    toEchoes("dropped", "reached"),
  ),
  test(
    "to-entities-cluster",
    [
      cilium("to-cluster", { endpointSelector: clients, egress: [{ toEntities: ["cluster"] }] }),
      // What is cut off shows that the other is in force.
      cilium("not-the-second", { endpointSelector: second, egressDeny: [{ toEntities: ["cluster"] }] }),
    ],
    toEchoes("reached", "dropped"),
  ),
  test(
    "to-entities-world",
    [cilium("to-world", { endpointSelector: clients, egress: [{ toEntities: ["world"] }] })],
    toEchoes("dropped"),
  ),
  test(
    "echo-ingress-from-other-client-deny",
    [
      cilium("echo-ingress-deny", {
        endpointSelector: echoes,
        ingress: [allowIngress],
        ingressDeny: [{ fromEndpoints: [second] }],
      }),
    ],
    toEchoes("reached", "dropped"),
  ),
  test(
    "client-egress-to-echo-deny",
    [
      cilium("client-egress-deny", {
        endpointSelector: clients,
        egress: [allowEgress],
        egressDeny: [{ toEndpoints: [echoes], toPorts: port }],
      }),
    ],
    [...toEchoes("dropped"), ...betweenClients("reached", "reached")],
  ),
];
