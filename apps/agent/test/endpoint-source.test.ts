import { FakeClock, waitFor } from "@axoneme/base";
import { completeSlice, packSlice, resources } from "@axoneme/kube";
import { afterEach, beforeEach, expect, test } from "vitest";
import { EndpointLayers, type SliceOfEndpoints } from "../src/endpoint-layers.ts";
import { EndpointSource } from "../src/endpoint-source.ts";
import { Meters } from "../src/metrics/meters.ts";
import type { RemoteEndpoint } from "../src/remote-endpoints.ts";
import { Cluster } from "./cluster.ts";
import { quiet } from "./logger.ts";

let cluster: Cluster;
let clock: FakeClock;
let source: EndpointSource | undefined;
let known: Map<string, RemoteEndpoint>;
let calls: string[];

beforeEach(async () => {
  cluster = await Cluster.start();
  await cluster.installDefinitions();
  clock = new FakeClock();
  known = new Map();
  calls = [];
}, 30_000);
afterEach(async () => {
  await source?.stop();
  source = undefined;
  await cluster.close();
}, 30_000);

const slices = () => cluster.client.resource(resources.ciliumendpointslices);
const endpoints = () => cluster.client.resource(resources.ciliumendpoints);

/** What is true of pod `i`, for its CiliumEndpoint and for its slice. */
const truth = (i: number, id = 300) => ({
  id,
  labels: [`k8s:app=app-${i}`],
  networking: { addressing: [{ ipv4: `10.0.1.${i}` }], node: "172.30.0.12" },
});

async function writeEndpoint(i: number, id = 300): Promise<void> {
  const { labels, networking } = truth(i, id);
  const metadata = { name: `p${i}`, namespace: "default" };
  const object = { metadata, status: { id: 1, identity: { id, labels }, networking } };
  await endpoints().apply(object, { fieldManager: "test", force: true });
}

async function writeSlice(name: string, pods: readonly number[], id = 300): Promise<void> {
  const members = pods.map((i) => {
    const { labels, networking } = truth(i, id);
    return { core: { name: `p${i}`, id, networking }, labels };
  });
  const object = { metadata: { name }, namespace: "default", ...packSlice(members) };
  await slices().apply(object, { fieldManager: "test", force: true });
}

const complete = () => slices().create({ metadata: { name: completeSlice }, ...packSlice([]) });

async function start(): Promise<void> {
  source = new EndpointSource(
    { client: cluster.client, meters: new Meters(), log: quiet, clock },
    {
      onAdd: (endpoint) => {
        calls.push(`add ${endpoint.metadata.name}`);
        known.set(endpoint.metadata.name, endpoint);
      },
      onUpdate: (endpoint) => {
        calls.push(`update ${endpoint.metadata.name}`);
        known.set(endpoint.metadata.name, endpoint);
      },
      onDelete: (endpoint) => {
        calls.push(`delete ${endpoint.metadata.name}`);
        known.delete(endpoint.metadata.name);
      },
    },
  );
  source.start({ ok: () => undefined, degraded: () => undefined, failed: () => undefined });
  await source.synced;
}

const told = (name: string) => waitFor(() => calls.includes(name), { timeoutMs: 5000, what: name });

test("it changes over to slices and back while pods come and go, and no pod is ever unknown meanwhile", async () => {
  for (const i of [1, 2, 3]) await writeEndpoint(i);
  await start();
  expect(source?.followsSlices).toBe(false);
  expect(calls).toEqual(["add p1", "add p2", "add p3"]);
  expect(known.get("p1")).toMatchObject({ identity: 300, labels: ["k8s:app=app-1"], ips: ["10.0.1.1"] });

  await writeSlice("s1", [1, 2]);
  await writeSlice("s2", [3]);
  await complete();
  await waitFor(() => source?.followsSlices, { timeoutMs: 5000, what: "slices to be followed" });
  // A pod that is younger than the slices.
  await writeEndpoint(4);
  await told("add p4");
  clock.advance(30_000);
  // From here on only slices count.
  await writeEndpoint(1, 999);
  await writeSlice("s2", [3, 4, 5]);
  await told("add p5");
  clock.advance(60_000);
  expect(calls.slice(3)).toEqual(["add p4", "add p5"]);
  await writeSlice("s1", [1, 2], 301);
  await told("update p2");
  expect(known.get("p1")?.identity).toBe(301);

  // Back: the slices go before the CiliumEndpoints could be read.
  await writeEndpoint(5, 300);
  calls = [];
  for (const name of [completeSlice, "s1", "s2"]) await slices().delete(name);
  await waitFor(() => source?.followsSlices === false, { timeoutMs: 5000, what: "endpoints to be followed" });
  expect([...known.keys()].sort()).toEqual(["p1", "p2", "p3", "p4", "p5"]);
  expect(calls.filter((call) => call.startsWith("delete") || call.startsWith("add"))).toEqual([]);
  expect(known.get("p1")?.identity).toBe(999);
  await endpoints().delete("p2", { namespace: "default" });
  await told("delete p2");
}, 20_000);

test("an agent that starts where slices are complete never asks for CiliumEndpoints", async () => {
  await writeSlice("s1", [1, 2]);
  await complete();
  await writeEndpoint(9);
  await start();
  expect([...known.keys()]).toEqual(["p1", "p2"]);
  expect(source?.followsSlices).toBe(true);
  await slices().delete("s1");
  await told("delete p2");
}, 20_000);

const remote = (name: string, identity: number): RemoteEndpoint => ({
  key: `cep/default/${name}`,
  metadata: { namespace: "default", name },
  ...{ identity, labels: undefined, node: "172.30.0.12", ips: ["10.0.1.1"], namedPorts: [] },
});

test("an endpoint that moves between slices is told of once, and known all the time if its new place is written first", () => {
  for (const order of ["to first", "from first"] as const) {
    const seen: string[] = [];
    const layers = new EndpointLayers({
      onAdd: ({ identity }) => seen.push(`add ${identity}`),
      onUpdate: ({ identity }) => seen.push(`update ${identity}`),
      onDelete: ({ identity }) => seen.push(`delete ${identity}`),
    });
    layers.setMode("slices");
    const slice = (name: string, ...of: RemoteEndpoint[]): SliceOfEndpoints => ({ name, endpoints: of });
    const before = slice("a", remote("p", 1));
    layers.slice(before);
    const steps = [() => layers.slice(slice("b", remote("p", 2))), () => layers.slice(slice("a"), before)];
    for (const step of order === "to first" ? steps : steps.reverse()) step();
    expect(seen).toEqual(order === "to first" ? ["add 1", "update 2"] : ["add 1", "delete 1", "add 2"]);
  }
});
