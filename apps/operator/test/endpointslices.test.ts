import { waitFor } from "@axoneme/base";
import { type CiliumEndpointSlice, completeSlice, crdManifests, resources, unpackSlice } from "@axoneme/kube";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Cluster } from "./cluster.ts";

vi.setConfig({ testTimeout: 20_000 });

let cluster: Cluster;
beforeEach(async () => {
  cluster = await Cluster.start();
  for (const crd of crdManifests)
    await cluster.client.resource(resources.customresourcedefinitions).create(crd);
  await wait(() => endpoints().list(), "the definitions to be served");
}, 30_000);
afterEach(() => cluster.close(), 30_000);

const slices = () => cluster.client.resource(resources.ciliumendpointslices);
const endpoints = () => cluster.client.resource(resources.ciliumendpoints);
const wait = (until: () => unknown, what: string) =>
  waitFor(async () => Promise.resolve(until()).catch(() => false), { timeoutMs: 10_000, what });
const on = { enableCiliumEndpointSlice: true, cesWritesPerSecond: 1000 };

async function make(name: string, id = 300): Promise<void> {
  const networking = { addressing: [{ ipv4: "10.0.1.7" }], node: "172.30.0.12" };
  const ports = [{ name: "http", port: 80, protocol: "TCP" }];
  const status = { id: 1, identity: { id, labels: ["k8s:app=web", `k8s:pod=${name}`] }, networking };
  const object = { metadata: { name, namespace: "default" }, status: { ...status, "named-ports": ports } };
  await endpoints().apply(object, { fieldManager: "test", force: true });
}

const many = (from: number, to: number) =>
  Promise.all(Array.from({ length: to - from }, (_, i) => make(`p${from + i}`)));

const listed = async (): Promise<CiliumEndpointSlice[]> =>
  (await slices().list()).items.filter(({ metadata }) => metadata?.name !== completeSlice);
const names = async () => (await listed()).map(({ metadata }) => metadata?.name ?? "").sort();
const held = async () =>
  (await listed())
    .flatMap(unpackSlice)
    .map(({ core }) => `${core.name} ${core.id}`)
    .sort();
const expected = async () =>
  (await endpoints().list()).items
    .map(({ metadata, status }) => `${metadata?.name} ${status?.identity?.id}`)
    .sort();
const inStep = () => wait(async () => String(await held()) === String(await expected()), "slices to be true");
const complete = () => wait(async () => slices().find(completeSlice), "the sign of completeness");

test("endpoints come into slices with all that agents need of them, and an operator that follows takes these over", async () => {
  await many(0, 130);
  cluster.operator(on);
  await complete();
  const first = await names();
  expect(first).toHaveLength(2);
  const [some] = (await listed()).flatMap(unpackSlice);
  expect(some).toEqual({
    core: {
      name: expect.any(String),
      id: 300,
      networking: { addressing: [{ ipv4: "10.0.1.7" }], node: "172.30.0.12" },
      "named-ports": [{ name: "http", port: 80, protocol: "TCP" }],
    },
    labels: ["k8s:app=web", `k8s:pod=${some?.core.name}`],
  });
  await cluster.stopOperators();
  await endpoints().delete("p3", { namespace: "default" });
  await make("p4", 301);
  await make("p900");
  const versions = new Map(
    (await listed()).map(({ metadata }) => [metadata?.name, metadata?.resourceVersion]),
  );
  const { operator } = cluster.operator(on);
  await inStep();
  expect(await names()).toEqual(first);
  const changed = (await listed()).filter(
    ({ metadata }) => versions.get(metadata?.name) !== metadata?.resourceVersion,
  );
  expect(changed.length).toBeLessThanOrEqual(2);
  // What others do to slices is undone.
  await slices().delete(first[0] ?? "");
  await slices().patch(first[1] ?? "", { endpoints: [] });
  await inStep();
  expect(operator.term?.endpointSlices?.figures).toMatchObject({ endpoints: 130, slices: 2 });
});

test("of two operators one writes, and the other goes on where it left off", async () => {
  await many(0, 10);
  const [a, b] = [cluster.operator(on), cluster.operator(on)];
  await complete();
  const first = await names();
  const leader = a.operator.leading ? a : b;
  expect([a, b].filter(({ operator }) => operator.leading)).toHaveLength(1);
  await leader.operator.stop();
  await make("p10");
  await inStep();
  expect(await names()).toEqual(first);
  expect((a === leader ? b : a).operator.leading).toBe(true);
});

test("switched off, the sign goes first, and the slices once agents have had the time to list endpoints", async () => {
  await many(0, 3);
  cluster.operator(on);
  await complete();
  await cluster.stopOperators();
  const { operator } = cluster.operator({ cesRemovalDelayS: 2 });
  await wait(async () => (await slices().find(completeSlice)) === undefined, "the sign to go");
  expect(await names()).toHaveLength(1);
  await wait(async () => (await names()).length === 0, "the slices to go");
  expect(operator.term?.endpointSlices).toBeUndefined();
});
