import { formatPrefix } from "@axoneme/base";
import { describe, expect, it } from "vitest";
import {
  type Peer,
  type Policy,
  parseCiliumPolicy,
  parseNetworkPolicy,
  type Rule,
  selectorText,
} from "../src/index.ts";

const cnp = (spec: object) =>
  parseCiliumPolicy({
    kind: "CiliumNetworkPolicy",
    metadata: { name: "p", namespace: "shop" },
    spec: { endpointSelector: {}, ...spec },
  });
const ccnp = (spec: object) =>
  parseCiliumPolicy({
    kind: "CiliumClusterwideNetworkPolicy",
    metadata: { name: "p" },
    spec: { endpointSelector: {}, ...spec },
  });
const knp = (spec: object) =>
  parseNetworkPolicy({ metadata: { name: "p", namespace: "shop" }, spec: { podSelector: {}, ...spec } });

function rule(policy: Policy): Rule {
  const first = policy.specs[0]?.rules[0];
  if (first === undefined) throw new Error("the policy has no rule");
  return first;
}
function peerText(peer: Peer): string {
  if (peer.kind === "all") return "all";
  if (peer.kind === "labels") return selectorText(peer.selector);
  if (peer.kind === "services") return `services ${selectorText(peer.selector)}`;
  const whole = peer.kind === "groups" ? `groups ${selectorText(peer.selector)}` : formatPrefix(peer.prefix);
  return [whole, ...peer.except.map((hole) => `-${formatPrefix(hole)}`)].join(" ");
}
const peers = (policy: Policy) => rule(policy).peers.map(peerText);
const l4 = (policy: Policy) => rule(policy).l4.map(({ proto, port, shape }) => `${proto}/${port}/${shape}`);
const problems = (policy: Policy) => policy.problems.map(({ severity, path }) => `${severity} ${path}`);

const LOCAL = "k8s:io.cilium.k8s.policy.cluster in (default)";
const SHOP = "k8s:io.kubernetes.pod.namespace in (shop)";
const POD = "k8s:io.kubernetes.pod.namespace";

describe("Cilium peer selectors are completed", () => {
  it.each<[string, Policy, string[]]>([
    ["namespace and cluster", cnp({ ingress: [{ fromEndpoints: [{}] }] }), [`${LOCAL} && ${SHOP}`]],
    ["any namespace when cluster-wide", ccnp({ ingress: [{ fromEndpoints: [{}] }] }), [`${LOCAL} && ${POD}`]],
    [
      "no namespace beside one that is named",
      cnp({ ingress: [{ fromEndpoints: [{ matchLabels: { "io.kubernetes.pod.namespace": "x" } }] }] }),
      [`any:io.kubernetes.pod.namespace in (x) && ${LOCAL}`],
    ],
    [
      "no namespace beside namespace labels",
      cnp({
        ingress: [{ fromEndpoints: [{ matchLabels: { "k8s:io.cilium.k8s.namespace.labels.a": "b" } }] }],
      }),
      [`k8s:io.cilium.k8s.namespace.labels.a in (b) && ${LOCAL}`],
    ],
    [
      "nothing beside a reserved label",
      cnp({ ingress: [{ fromEndpoints: [{ matchLabels: { "reserved:host": "" } }] }] }),
      ["reserved:host in ()"],
    ],
    [
      "no cluster beside one that is named",
      cnp({ ingress: [{ fromEndpoints: [{ matchLabels: { "io.cilium.k8s.policy.cluster": "c2" } }] }] }),
      [`any:io.cilium.k8s.policy.cluster in (c2) && ${SHOP}`],
    ],
    [
      "no namespace when the subject is init",
      ccnp({
        endpointSelector: { matchLabels: { "reserved:init": "" } },
        egress: [{ toEndpoints: [{ matchLabels: { app: "x" } }] }],
      }),
      [`any:app in (x) && ${LOCAL}`],
    ],
  ])("with %s", (_, policy, want) => {
    expect(peers(policy)).toEqual(want);
    expect(policy.problems).toEqual([]);
  });

  it("and the subject stays in its namespace, with a warning when it names another", () => {
    const policy = cnp({
      endpointSelector: { matchLabels: { "io.kubernetes.pod.namespace": "other" } },
      ingress: [{}],
    });
    expect(selectorText(policy.specs[0]?.subject ?? { requirements: [] })).toBe(SHOP);
    expect(problems(policy)).toEqual(["warning spec.endpointSelector"]);
  });
});

describe("absent, empty list and empty selector differ", () => {
  it.each<[string, Policy, string[], string[]]>([
    ["Cilium [{}]: nothing", cnp({ ingress: [{}] }), [], []],
    [
      "Cilium, ports only: any peer",
      cnp({ ingress: [{ toPorts: [{ ports: [{ port: "80", protocol: "TCP" }] }] }] }),
      ["all"],
      ["6/80/24"],
    ],
    ["Cilium, empty peer list: nobody", cnp({ ingress: [{ fromEndpoints: [] }] }), [], ["0/0/0"]],
    [
      "Cilium, empty toPorts: all ports",
      cnp({ ingress: [{ fromEntities: ["all"], toPorts: [] }] }),
      ["all"],
      ["0/0/0"],
    ],
    ["Kubernetes [{}]: everything", knp({ ingress: [{}] }), ["all"], ["0/0/0"]],
    ["Kubernetes, empty from: any peer", knp({ ingress: [{ from: [], ports: [{}] }] }), ["all"], ["6/0/8"]],
    [
      "Kubernetes, empty namespaceSelector: any namespace",
      knp({ ingress: [{ from: [{ namespaceSelector: {} }] }] }),
      [`${LOCAL} && ${POD}`],
      ["0/0/0"],
    ],
    [
      "Kubernetes, empty podSelector: own namespace",
      knp({ ingress: [{ from: [{ podSelector: {} }] }] }),
      [`${LOCAL} && ${SHOP}`],
      ["0/0/0"],
    ],
  ])("%s", (_, policy, wantPeers, wantL4) => {
    expect([peers(policy), l4(policy)]).toEqual([wantPeers, wantL4]);
    expect(policy.problems).toEqual([]);
  });

  it.each<[string, Policy, boolean, boolean]>([
    ["Cilium ingress", cnp({ ingress: [{}] }), true, false],
    ["Cilium egress deny", cnp({ egressDeny: [{ toEntities: ["world"] }] }), false, true],
    ["Cilium switched off", cnp({ ingress: [{}], enableDefaultDeny: { ingress: false } }), false, false],
    ["Kubernetes, nothing said", knp({}), true, false],
    ["Kubernetes with egress rules", knp({ egress: [{}] }), true, true],
    ["Kubernetes, empty egress list", knp({ egress: [] }), true, false],
    ["Kubernetes, egress by type", knp({ policyTypes: ["Egress"] }), false, true],
  ])("default deny: %s", (_, policy, ingress, egress) =>
    expect(policy.specs[0]?.defaultDeny).toEqual({ ingress, egress }),
  );

  it("Kubernetes rules of a direction that policyTypes leaves out do not count", () =>
    expect(knp({ policyTypes: ["Ingress"], egress: [{}] }).specs[0]?.rules).toEqual([]));
});

describe("ports", () => {
  it.each<[object, string[]]>([
    [{ port: "80" }, ["6/80/24", "17/80/24", "132/80/24"]],
    [{ port: "80", protocol: "TCP" }, ["6/80/24"]],
    [{ port: "0", protocol: "UDP" }, ["17/0/8"]],
    [{ port: "010", protocol: "TCP" }, ["6/8/24"]],
    [{ port: "0x50", protocol: "TCP" }, ["6/80/24"]],
    [{ port: "80", endPort: 83, protocol: "TCP" }, ["6/80/22"]],
    [{ port: "79", endPort: 81, protocol: "TCP" }, ["6/79/24", "6/80/23"]],
    [
      { port: "1", endPort: 65535, protocol: "TCP" },
      Array.from({ length: 16 }, (_, i) => `6/${2 ** i}/${24 - i}`),
    ],
    [{ protocol: "GRE" }, ["47/0/8"]],
  ])("%j is %j", (port, want) => {
    const policy = cnp({ ingress: [{ toPorts: [{ ports: [port] }] }] });
    expect(l4(policy)).toEqual(want);
    expect(policy.problems).toEqual([]);
  });

  it("may have a name, an ICMP type a name or number", () => {
    expect(
      rule(cnp({ ingress: [{ toPorts: [{ ports: [{ port: "HTTP", protocol: "TCP" }] }] }] })).named,
    ).toEqual([{ name: "http", proto: 6 }]);
    const icmps = [
      { fields: [{ type: "EchoRequest" }, { family: "IPv6", type: "EchoRequest" }, { type: 3 }] },
    ];
    expect(l4(cnp({ ingress: [{ icmps }] }))).toEqual(["1/8/24", "58/128/24", "1/3/24"]);
  });
});

describe("what is not understood or supported selects nothing, keeps default deny, and is named", () => {
  const port = { ports: [{ port: "80", protocol: "TCP" }] };
  it.each<[string, Policy]>([
    ["invalid spec.egress[0].toServices[0]", cnp({ egress: [{ toServices: [{}] }] })],
    [
      "invalid spec.egress[0].toServices[0].k8sService.namespace",
      ccnp({ egress: [{ toServices: [{ k8sService: { serviceName: "web" } }] }] }),
    ],
    [
      "invalid spec.egress[0].toServices[0].k8sService.namespace",
      cnp({ egress: [{ toServices: [{ k8sService: { serviceName: "web", namespace: 5 } }] }] }),
    ],
    [
      "invalid spec.egress[0].toServices[0].k8sServiceSelector.selector",
      cnp({
        egress: [
          { toServices: [{ k8sServiceSelector: { selector: { matchLabels: { "reserved:host": "" } } } }] },
        ],
      }),
    ],
    [
      "unsupported spec.egress[0].toServices[0].k8sService.port",
      cnp({ egress: [{ toServices: [{ k8sService: { serviceName: "web", port: 80 } }] }] }),
    ],
    ["unsupported spec.ingress[0].fromGroups[0]", cnp({ ingress: [{ fromGroups: [{}] }] })],
    ["invalid spec.ingress[0].fromRequires[0]", cnp({ ingress: [{ fromRequires: ["app"] }] })],
    ["invalid spec.ingress[0].fromRequires", cnp({ ingress: [{ fromRequires: {} }] })],
    [
      "invalid spec.ingress[0].fromCIDRSet[0].cidrGroupRef",
      cnp({ ingress: [{ fromCIDRSet: [{ cidrGroupRef: ["g"] }] }] }),
    ],
    [
      "invalid spec.ingress[0].fromCIDRSet[0]",
      cnp({ ingress: [{ fromCIDRSet: [{ cidr: "10.0.0.0/8", cidrGroupRef: "g" }] }] }),
    ],
    [
      "invalid spec.ingress[0].fromCIDRSet[0].cidrGroupSelector",
      cnp({ ingress: [{ fromCIDRSet: [{ cidrGroupSelector: { matchLabels: { "k8s:a": "b" } } }] }] }),
    ],
    [
      "invalid spec.ingress[0].fromCIDRSet[0].except",
      cnp({ ingress: [{ fromCIDRSet: [{ cidrGroupRef: "g", except: "10.0.0.0/8" }] }] }),
    ],
    [
      "invalid spec.ingress[0].fromCIDRSet[0].except",
      cnp({ ingress: [{ fromCIDRSet: [{ cidr: "10.0.0.0/8", except: "10.0.0.0/9" }] }] }),
    ],
    [
      "invalid spec.ingress[0].fromEndpoints[0].matchExpressions",
      cnp({ ingress: [{ fromEndpoints: [{ matchExpressions: "app" }] }] }),
    ],
    ["invalid spec.ingress", cnp({ ingress: "all" })],
    ["invalid spec.policyTypes[0]", knp({ policyTypes: ["Both"], egress: [{ to: [{}] }] })],
    ["invalid spec.policyTypes", knp({ policyTypes: "Egress", ingress: [{ from: "x" }] })],
    [
      "unsupported spec.ingress[0].authentication",
      cnp({ ingress: [{ fromEntities: ["all"], authentication: { mode: "required" } }] }),
    ],
    [
      "unsupported spec.ingress[0].toPorts[0].rules.http",
      cnp({ ingress: [{ toPorts: [{ ...port, rules: { http: [{}] } }] }] }),
    ],
    [
      "invalid spec.ingress[0].toPorts[0].rules.dns",
      cnp({ ingress: [{ toPorts: [{ ...port, rules: { dns: [{}] } }] }] }),
    ],
    [
      "unsupported spec.ingress[0].toPorts[0].serverNames",
      cnp({ ingress: [{ toPorts: [{ ...port, serverNames: ["x"] }] }] }),
    ],
    [
      "unsupported spec.ingress[0].toPorts[0].listener",
      cnp({ ingress: [{ toPorts: [{ ...port, listener: {} }] }] }),
    ],
    ["unsupported spec.ingress[0].fromSomething", cnp({ ingress: [{ fromSomething: [{}] }] })],
    ["invalid spec.ingress[0]", cnp({ ingress: [{ fromEntities: ["all"], fromCIDR: ["10.0.0.0/8"] }] })],
    ["invalid spec.ingress[0]", cnp({ ingress: [{ toPorts: [port], icmps: [{ fields: [{ type: 8 }] }] }] })],
    ["invalid spec.ingress[0].fromEntities[0]", cnp({ ingress: [{ fromEntities: ["everyone"] }] })],
    ["invalid spec.ingress[0].fromCIDR[0]", cnp({ ingress: [{ fromCIDR: ["10.0.0.0/33"] }] })],
    [
      "invalid spec.ingress[0].fromCIDRSet[0].except[0]",
      cnp({ ingress: [{ fromCIDRSet: [{ cidr: "10.0.0.0/8", except: ["11.0.0.0/8"] }] }] }),
    ],
    [
      "invalid spec.ingress[0].fromCIDRSet[0].cidr",
      cnp({ ingress: [{ fromCIDRSet: [{ cidr: "10.0.0.1" }] }] }),
    ],
    [
      "invalid spec.ingress[0].fromEndpoints[0].matchExpressions[0].operator",
      cnp({ ingress: [{ fromEndpoints: [{ matchExpressions: [{ key: "a", operator: "Gt" }] }] }] }),
    ],
    [
      "invalid spec.ingress[0].toPorts[0].ports[0].endPort",
      cnp({ ingress: [{ toPorts: [{ ports: [{ port: "90", endPort: 80 }] }] }] }),
    ],
    [
      "invalid spec.ingress[0].toPorts[0].ports[0].port",
      cnp({ ingress: [{ toPorts: [{ ports: [{ port: "70000" }] }] }] }),
    ],
    [
      "invalid spec.ingress[0].toPorts[0].ports[0].protocol",
      cnp({ ingress: [{ toPorts: [{ ports: [{ port: "8", protocol: "ICMP" }] }] }] }),
    ],
    [
      "invalid spec.ingress[0].icmps[0].fields[0].type",
      cnp({ ingress: [{ icmps: [{ fields: [{ type: "Ping" }] }] }] }),
    ],
    ["invalid spec.ingress[0].from[0]", knp({ ingress: [{ from: [{}] }] })],
    [
      "invalid spec.ingress[0].from[0]",
      knp({ ingress: [{ from: [{ ipBlock: { cidr: "10.0.0.0/8" }, podSelector: {} }] }] }),
    ],
    [
      "invalid spec.ingress[0].from[0].ipBlock.except[0]",
      knp({ ingress: [{ from: [{ ipBlock: { cidr: "10.0.0.0/8", except: ["x"] } }] }] }),
    ],
    ["invalid spec.ingress[0].ports[0].protocol", knp({ ingress: [{ ports: [{ protocol: "ICMP" }] }] })],
    ["invalid spec.ingress[0].ports[0]", knp({ ingress: [{ ports: [{ port: 80, endPort: 79 }] }] })],
    ["invalid spec.ingress[0].ports[0]", knp({ ingress: [{ ports: [{ endPort: 79 }] }] })],
    [
      "unsupported spec.ingress[0].ports[0].appProtocol",
      knp({ ingress: [{ ports: [{ port: 80, appProtocol: "x" }] }] }),
    ],
    ["invalid spec.ingress[0].from", knp({ ingress: [{ from: "everybody" }] })],
    ["invalid spec.ingress[0].ports", knp({ ingress: [{ ports: "all" }] })],
  ])("%s", (problem, policy) => {
    expect(problems(policy)).toContain(problem);
    const { peers: who, l4: what, named } = rule(policy);
    expect(who.length * (what.length + named.length)).toBe(0);
    const { ingress, egress } = policy.specs[0]?.defaultDeny ?? {};
    expect(ingress || egress).toBe(true);
  });

  it.each<[string, Policy]>([
    ["invalid spec.nodeSelector", cnp({ endpointSelector: undefined, nodeSelector: {}, ingress: [{}] })],
    ["invalid spec", cnp({ nodeSelector: {}, ingress: [{}] })],
    ["invalid spec", cnp({})],
    ["invalid spec.endpointSelector", cnp({ endpointSelector: "all", ingress: [{}] })],
    ["invalid spec.podSelector", knp({ podSelector: [] })],
    ["invalid spec", parseNetworkPolicy({ metadata: { name: "p" } })],
    ["invalid spec", parseCiliumPolicy({ kind: "CiliumNetworkPolicy", metadata: { name: "p" } })],
    ["invalid spec", parseCiliumPolicy("nonsense")],
  ])("a policy without a subject is %s and has no spec", (problem, policy) => {
    expect(problems(policy)).toContain(problem);
    expect(policy.specs).toEqual([]);
  });

  it("leaves the neighbours of a bad part in force", () => {
    const policy = cnp({
      ingress: [{ toPorts: [{ ports: [{ port: "x y" }, { port: "443", protocol: "TCP" }] }] }],
    });
    expect(l4(policy)).toEqual(["6/443/24"]);
  });
});
