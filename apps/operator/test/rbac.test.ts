import { resolveLayers, textLayer } from "@axoneme/app";
import { waitFor } from "@axoneme/base";
import {
  completeSlice,
  defineResource,
  type KubeObject,
  type Resource,
  resources,
  tierPolicyResources,
} from "@axoneme/kube";
import type { Access } from "@axoneme/lab/apiserver";
import { afterAll, beforeAll, expect, test } from "vitest";
import {
  defaultsOf,
  type KubernetesObject,
  objects,
  valueTree,
} from "../../../deploy/source/kubernetes/index.ts";
import { granted, type Right, rightOf } from "../../../test/support/rights.ts";
import { operatorOptions } from "../src/options.ts";
import { Cluster } from "./cluster.ts";

const namespace = "kube-system";
const user = `system:serviceaccount:${namespace}:axoneme-operator`;
const installed = objects({ values: defaultsOf(valueTree), namespace, appVersion: "0" });
const asked: Access[] = [];
let cluster: Cluster;

beforeAll(async () => {
  cluster = await Cluster.start((access) => asked.push(access));
  for (const object of installed) if (/Role|Namespace/.test(object.kind)) await create(object);
  for (const resource of tierPolicyResources) await define(resource);
  await cluster.actAs(user);
}, 30_000);
afterAll(() => cluster.close());

async function create(object: KubernetesObject): Promise<void> {
  const { apiVersion, kind, metadata } = object;
  const scope = metadata.namespace === undefined ? "Cluster" : "Namespaced";
  const resource = defineResource<KubeObject>(apiVersion, `${kind.toLowerCase()}s`, kind, scope);
  await cluster.client.resource(resource).create(object as KubeObject);
}

/** Definitions that are not ours: of the policies of whole clusters. */
async function define({ group, version, plural, kind }: Resource<KubeObject>): Promise<void> {
  const schema = { openAPIV3Schema: { type: "object", "x-kubernetes-preserve-unknown-fields": true } };
  const versions = [{ name: version, served: true, storage: true, schema, subresources: { status: {} } }];
  await cluster.client.resource(resources.customresourcedefinitions).create({
    metadata: { name: `${plural}.${group}` },
    spec: { group, scope: "Cluster", names: { plural, kind }, versions },
  });
}

/** The operator's options as its ConfigMap has them, with short intervals. */
function options() {
  const map = installed.find(({ metadata }) => metadata.name === "axoneme-operator-config");
  const texts = map?.["data"] as Record<string, string>;
  const soon = {
    identityGcIntervalS: 1,
    identityHeartbeatTimeoutS: 1,
    endpointGcIntervalS: 1,
    nodesGcIntervalS: 1,
    fixedAddressGcIntervalS: 1,
    fixedAddressGraceS: 0,
  };
  const own = { ...soon, listen: "", leaseDurationS: 3, enableCiliumEndpointSlice: true };
  const layers = [textLayer(operatorOptions, "ConfigMap", texts), { origin: "test", values: own }];
  return resolveLayers(operatorOptions, layers).values;
}

const find = <T extends KubeObject>(
  resource: ReturnType<typeof defineResource<T>>,
  name: string,
  at?: string,
) => cluster.client.resource(resource).find(name, { ...(at === undefined ? {} : { namespace: at }) });
const wait = (until: () => Promise<unknown>, what: string) => waitFor(until, { timeoutMs: 10_000, what });

async function leftovers(): Promise<void> {
  const { client } = cluster;
  const networking = { addressing: [{ ipv4: "10.0.0.9" }], node: "172.30.0.9" };
  const status = { id: 1, identity: { id: 300, labels: [] }, networking };
  const orphan = { metadata: { name: "orphan", namespace: "default" }, status };
  await client.resource(resources.ciliumendpoints).create(orphan);
  await client
    .resource(resources.ciliumidentities)
    .create({ metadata: { name: "300" }, "security-labels": {} });
  await client.resource(resources.nodes).create({ metadata: { name: "lost" } });
  await client.resource(resources.ciliumnodes).create({ metadata: { name: "lost" }, spec: {} });
  await wait(() => find(resources.secrets, "hubble-server-certs.lost", "axoneme-secrets"), "its certificate");
  await client.resource(resources.nodes).delete("lost");
  const isGone = async (found: Promise<unknown>): Promise<boolean> => (await found) === undefined;
  await wait(() => isGone(find(resources.ciliumendpoints, "orphan", "default")), "the endpoint to go");
  const slices = async () => (await client.resource(resources.ciliumendpointslices).list()).items;
  await wait(
    async () => (await slices()).map(({ metadata }) => metadata?.name).join() === completeSlice,
    "its slice to go",
  );
  await wait(() => isGone(find(resources.ciliumidentities, "300")), "the identity to go");
  await wait(() => isGone(find(resources.ciliumnodes, "lost")), "the CiliumNode to go");
  await wait(
    () => isGone(find(resources.secrets, "hubble-server-certs.lost", "axoneme-secrets")),
    "its Secret to go",
  );
}

/** Addresses that are fixed for a pod of a StatefulSet that is gone, on a node that is gone. */
async function fixedAddresses(): Promise<void> {
  const { client } = cluster;
  const metadata = { name: "db-0", namespace: "default" };
  const owner = { kind: "StatefulSet", name: "db", uid: "none" };
  const spec = { addresses: ["10.9.0.5"], owner, holder: { node: "none", podUid: "none" } };
  const { metadata: made } = await client.resource(resources.fixedaddresses).create({ metadata, spec });
  const claim = { address: "10.9.0.5", namespace: "default", name: "db-0", uid: made?.uid ?? "" };
  await client.resource(resources.addressclaims).create({ metadata: { name: "10.9.0.5" }, spec: claim });
  const isGone = async (found: Promise<unknown>): Promise<boolean> => (await found) === undefined;
  await wait(() => isGone(find(resources.fixedaddresses, "db-0", "default")), "the FixedAddress to go");
  await wait(() => isGone(find(resources.addressclaims, "10.9.0.5")), "its AddressClaim to go");
}

/** A node is tainted until its agent is ready; what else taints it stays. */
async function readiness(): Promise<void> {
  const { client } = cluster;
  const taints = [
    { key: "node.cilium.io/agent-not-ready", value: "true", effect: "NoExecute" as const },
    { key: "example.com/mine", effect: "NoSchedule" as const },
  ];
  await client.resource(resources.nodes).create({ metadata: { name: "n1" }, spec: { taints } });
  const pods = client.resource(resources.pods);
  const spec = { nodeName: "n1", containers: [{ name: "agent", image: "x" }] };
  await pods.create({ metadata: { name: "agent-1", namespace, labels: { "k8s-app": "axoneme" } }, spec });
  const keys = async (): Promise<string[]> =>
    ((await client.resource(resources.nodes).get("n1")).spec?.taints ?? []).map(({ key }) => key);
  const say = (status: string): Promise<unknown> =>
    pods.patch(
      "agent-1",
      { status: { conditions: [{ type: "Ready", status }] } },
      { namespace, subresource: "status" },
    );
  await say("False");
  expect(await keys()).toHaveLength(2);
  await say("True");
  await wait(async () => (await keys()).join() === "example.com/mine", "the taint to go");
  const { status } = await client.resource(resources.nodes).get("n1");
  expect(status?.conditions).toContainEqual(
    expect.objectContaining({ type: "NetworkUnavailable", status: "False", reason: "CiliumIsUp" }),
  );
}

const hasStatus = async (found: Promise<KubeObject | undefined>): Promise<boolean> =>
  JSON.stringify(((await found) as { status?: object } | undefined)?.status ?? {}) !== "{}";

/** Each kind whose status the operator writes; policies that make no sense are events too. */
async function statuses(): Promise<void> {
  const { client } = cluster;
  const at = { name: "x", namespace: "default" };
  const selector = { endpointSelector: {}, egress: [{ toEndpoints: [{}], toCIDR: ["10.0.0.0/8"] }] };
  await client.resource(resources.ciliumnetworkpolicies).create({ metadata: at, spec: selector });
  await client
    .resource(resources.ciliumclusterwidenetworkpolicies)
    .create({ metadata: { name: "x" }, spec: selector });
  const externalCIDRs = ["192.0.2.0/24"];
  await client
    .resource(resources.ciliumcidrgroups)
    .create({ metadata: { name: "x" }, spec: { externalCIDRs } });
  const l2 = { loadBalancerIPs: true, interfaces: ["eth("] };
  await client.resource(resources.ciliuml2announcementpolicies).create({ metadata: { name: "x" }, spec: l2 });
  await client
    .resource(resources.edgedenylists)
    .create({ metadata: { name: "x" }, spec: { cidrs: externalCIDRs } });
  const pool = { blocks: [{ cidr: "198.51.100.0/24" }] };
  await client.resource(resources.ciliumloadbalancerippools).create({ metadata: { name: "x" }, spec: pool });
  for (const resource of tierPolicyResources) {
    await client.resource(resource).create({ metadata: { name: "default" }, spec: {} } as KubeObject);
    await wait(() => hasStatus(find(resource, "default")), `the status of ${resource.plural}`);
  }
  const spec = { type: "LoadBalancer", ports: [{ port: 80 }] };
  await client.resource(resources.services).create({ metadata: at, spec });
  await wait(() => hasStatus(find(resources.ciliumnetworkpolicies, "x", "default")), "the policy's status");
  await wait(() => hasStatus(find(resources.ciliumclusterwidenetworkpolicies, "x")), "the other policy's");
  await wait(() => hasStatus(find(resources.ciliumcidrgroups, "x")), "the group's");
  await wait(() => hasStatus(find(resources.ciliuml2announcementpolicies, "x")), "the announcement's");
  await wait(() => hasStatus(find(resources.edgedenylists, "x")), "the list's");
  await wait(() => hasStatus(find(resources.ciliumloadbalancerippools, "x")), "the pool's");
  const ingress = async () =>
    (await client.resource(resources.services).get("x", { namespace: "default" })).status?.loadBalancer
      ?.ingress;
  await wait(ingress, "the Service's address");
}

test("the operator may do what it has to, and nothing else", async () => {
  const { operator } = cluster.operator(options());
  await wait(async () => operator.term?.health.healthy, "the leader's modules");
  await Promise.all([leftovers(), readiness(), statuses(), fixedAddresses()]);

  const mine = asked.filter((access) => access.user === user).map(rightOf);
  const rights = granted(installed, "axoneme-operator");
  expect(missing(mine, rights)).toEqual([]);
  expect(missing(rights, mine).filter((right) => !seldom.includes(right))).toEqual([]);
}, 60_000);

/** What is asked for only now and then: a renewal (hubble-certificates.ts), a server that is slow to define (crds.ts). */
const seldom: readonly Right[] = [
  "update secrets in axoneme-secrets",
  "update secrets in kube-system",
  "get customresourcedefinitions.apiextensions.k8s.io",
  "list ciliumpodippools.cilium.io", // poolcidrs.ts: with ipam.mode multi-pool
  "watch ciliumpodippools.cilium.io",
];

function missing(wanted: readonly Right[], there: readonly Right[]): Right[] {
  return [...new Set(wanted.filter((right) => !there.includes(right)))].sort();
}

test("without a role nothing is allowed, in the words of Kubernetes", async () => {
  await cluster.actAs("system:serviceaccount:default:nobody");
  const { operator, records } = cluster.operator({ ...options(), leaseName: "another" });
  await wait(
    async () => records.some(({ message }) => message === "cannot read or write the lease"),
    "a refusal",
  );
  expect(operator.leading).toBe(false);
  expect(JSON.stringify(records)).not.toContain("undefined");
});
