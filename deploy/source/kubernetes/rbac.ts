import { all, type Node, namespace, value, when } from "./marks.ts";
import { labelsOf, names, secretsNamespace } from "./names.ts";

/** What a part may do; every verb is asked for by code, and a test says so. */
type Rule = {
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly verbs: readonly string[];
  readonly resourceNames?: readonly string[];
};

const rule = (group: string, resources: readonly string[], verbs: readonly string[]): Rule => ({
  apiGroups: [group],
  resources,
  verbs,
});
const follow = ["list", "watch"];
const cilium = "cilium.io";
const tiersGroup = "policy.networking.k8s.io";
/** Policies of whole clusters; clusters need not have them. */
const tierPolicies = ["adminnetworkpolicies", "baselineadminnetworkpolicies", "clusternetworkpolicies"];

const agentRules: readonly Rule[] = [
  rule("", ["nodes", "pods"], ["get", ...follow]),
  rule("", ["namespaces", "services"], follow),
  rule("discovery.k8s.io", ["endpointslices"], follow),
  rule("networking.k8s.io", ["networkpolicies"], follow),
  rule(
    cilium,
    [
      "ciliumnetworkpolicies",
      "ciliumclusterwidenetworkpolicies",
      "ciliumcidrgroups",
      "ciliumlocalredirectpolicies",
      "ciliuml2announcementpolicies",
    ],
    follow,
  ),
  rule(tiersGroup, tierPolicies, follow),
  rule("axoneme.io", ["edgedenylists", "fixedaddresspools"], follow),
  rule(cilium, ["ciliumpodippools"], follow),
  rule("axoneme.io", ["fixedaddresses"], ["get", ...follow, "create", "update"]),
  rule("axoneme.io", ["addressclaims"], ["get", "list", "create", "update"]),
  rule("", ["events"], ["create", "patch"]),
  // What host policies had to be taken back is written to the policy.
  rule(cilium, ["ciliumclusterwidenetworkpolicies/status"], ["patch"]),
  rule(cilium, ["ciliumidentities"], ["get", ...follow, "create", "patch"]),
  rule(cilium, ["ciliumendpoints"], ["get", ...follow, "create", "patch", "delete"]),
  rule(cilium, ["ciliumendpointslices"], follow),
  rule(cilium, ["ciliumnodes"], [...follow, "create", "patch"]),
];

/** In the namespace of the installation. */
const agentLocalRules: readonly Rule[] = [
  { ...rule("", ["configmaps"], follow), resourceNames: [names.agentConfig] },
  rule(cilium, ["ciliumnodeconfigs"], follow),
  // Who announces a Service's address is decided by a Lease of its name.
  rule("coordination.k8s.io", ["leases"], ["get", "create", "update", "delete"]),
];

const operatorRules: readonly Rule[] = [
  rule("apiextensions.k8s.io", ["customresourcedefinitions"], ["get", "create", "patch"]),
  rule("", ["nodes"], ["get", ...follow, "patch"]),
  rule("", ["nodes/status"], ["patch"]),
  rule("", ["pods"], ["get", ...follow]),
  rule("", ["services"], follow),
  rule("", ["services/status"], ["patch"]),
  rule("", ["events"], ["create"]),
  rule("networking.k8s.io", ["networkpolicies"], follow),
  rule(cilium, ["ciliumnodes"], [...follow, "patch", "delete"]),
  rule(cilium, ["ciliumendpoints"], [...follow, "delete"]),
  rule(cilium, ["ciliumendpointslices"], [...follow, "create", "patch", "delete"]),
  rule(cilium, ["ciliumidentities"], [...follow, "patch", "delete"]),
  rule("axoneme.io", ["fixedaddresses"], ["get", "list", "update", "delete"]),
  rule("axoneme.io", ["addressclaims"], ["list", "delete"]),
  rule("axoneme.io", ["fixedaddresspools"], follow),
  rule(cilium, ["ciliumpodippools"], follow),
  rule("apps", ["statefulsets"], ["get"]),
  ...[
    [cilium, "ciliumnetworkpolicies"],
    [cilium, "ciliumclusterwidenetworkpolicies"],
    [cilium, "ciliumcidrgroups"],
    [cilium, "ciliuml2announcementpolicies"],
    [cilium, "ciliumloadbalancerippools"],
    ["axoneme.io", "edgedenylists"],
    ...tierPolicies.map((resource) => [tiersGroup, resource]),
  ].flatMap(([group = "", resource = ""]) => [
    rule(group, [resource], follow),
    rule(group, [`${resource}/status`], ["patch"]),
  ]),
];

const operatorLocalRules: readonly Rule[] = [
  rule("coordination.k8s.io", ["leases"], ["get", "create", "update"]),
];
const caRules: readonly Rule[] = [rule("", ["secrets"], ["get", "create", "update"])];
const certificateRules: readonly Rule[] = [
  rule("", ["secrets"], ["get", "list", "create", "update", "delete"]),
];
const relayRules: readonly Rule[] = [rule(cilium, ["ciliumnodes"], follow)];
const relaySecretRules: readonly Rule[] = [
  {
    ...rule("", ["secrets"], follow),
    resourceNames: ["hubble-relay-client-certs", "hubble-relay-server-certs"],
  },
];

const group = "rbac.authorization.k8s.io";
const apiVersion = `${group}/v1`;
const subjectsOf = (account: string): Node => [{ kind: "ServiceAccount", name: account, namespace }];

/** A ServiceAccount. */
function account(name: string): Node {
  return {
    apiVersion: "v1",
    kind: "ServiceAccount",
    metadata: { name, namespace, labels: labelsOf(name) },
  };
}

/** What an account may do everywhere. */
function everywhere(name: string, rules: readonly Rule[]): Node[] {
  const metadata = { name, labels: labelsOf(name) };
  return [
    { apiVersion, kind: "ClusterRole", metadata, rules },
    {
      apiVersion,
      kind: "ClusterRoleBinding",
      metadata,
      roleRef: { apiGroup: group, kind: "ClusterRole", name },
      subjects: subjectsOf(name),
    },
  ];
}

/** What an account may do in one namespace. */
function within(
  where: Node,
  { name, role = name, rules }: { name: string; role?: string; rules: readonly Rule[] },
): Node[] {
  const metadata = { name: role, namespace: where, labels: labelsOf(name) };
  return [
    { apiVersion, kind: "Role", metadata, rules },
    {
      apiVersion,
      kind: "RoleBinding",
      metadata,
      roleRef: { apiGroup: group, kind: "Role", name: role },
      subjects: subjectsOf(name),
    },
  ];
}

const hasCertificates = all(value("hubble.enabled"), value("hubble.tls.enabled"));
const makesCertificates = all(
  value("hubble.enabled"),
  value("hubble.tls.enabled"),
  value("hubble.tls.auto.enabled"),
);
const hasRelay = all(value("hubble.enabled"), value("hubble.relay.enabled"));
const relayHasCertificates = all(
  value("hubble.enabled"),
  value("hubble.relay.enabled"),
  value("hubble.tls.enabled"),
);

export const agentRbac: readonly Node[] = [
  account(names.agent),
  ...everywhere(names.agent, agentRules),
  ...within(namespace, { name: names.agent, rules: agentLocalRules }),
  ...within(secretsNamespace, { name: names.agent, rules: [rule("", ["secrets"], follow)] }).map((each) =>
    when(hasCertificates, each),
  ),
];

export const operatorRbac: readonly Node[] = [
  account(names.operator),
  ...everywhere(names.operator, operatorRules),
  ...within(namespace, { name: names.operator, rules: operatorLocalRules }),
  ...within(namespace, { name: names.operator, role: `${names.operator}-ca`, rules: caRules }).map((each) =>
    when(makesCertificates, each),
  ),
  ...within(secretsNamespace, { name: names.operator, rules: certificateRules }).map((each) =>
    when(makesCertificates, each),
  ),
];

export const relayRbac: readonly Node[] = [
  account(names.relay),
  ...everywhere(names.relay, relayRules),
  ...within(secretsNamespace, { name: names.relay, rules: relaySecretRules }).map((each) =>
    when(relayHasCertificates, each),
  ),
].map((each) => when(hasRelay, each));
