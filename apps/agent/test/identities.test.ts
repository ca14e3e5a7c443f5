import { memoryLogger, silentLogger, waitFor } from "@axoneme/base";
import { IdentityCache } from "@axoneme/identity";
import { ListWatch } from "@axoneme/kube";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { IdentityAllocator } from "../src/state/identities.ts";
import { type CiliumIdentityObject, ciliumIdentities } from "../src/state/objects.ts";
import { Cluster } from "./cluster.ts";

let cluster: Cluster;
const running: { stop(): Promise<void> }[] = [];
const heartbeat = "io.cilium.heartbeat";

beforeAll(async () => {
  cluster = await Cluster.start();
  await cluster.installDefinitions();
}, 30_000);
afterEach(async () => {
  await Promise.all(running.splice(0).map((part) => part.stop()));
});
afterAll(() => cluster.close(), 30_000);

const objects = () => cluster.client.resource(ciliumIdentities);
const labelsOf = (app: string) => ({ "k8s:app": app, "k8s:io.kubernetes.pod.namespace": "shop" });
const withLabels = async (app: string): Promise<CiliumIdentityObject[]> =>
  (await objects().list()).items.filter((object) => object["security-labels"]?.["k8s:app"] === app);

/** What an agent has of identities: a cache that follows the API, and an allocator. */
async function agent(log = silentLogger) {
  const client = cluster.connect();
  const cache = new IdentityCache();
  const allocator = new IdentityAllocator(cache, client, log);
  const watch = new ListWatch(client, ciliumIdentities);
  watch.start(allocator.handlers());
  await watch.synced;
  running.push({
    stop: async () => {
      await watch.stop();
      await client.close();
    },
  });
  return { allocator, cache };
}

async function mark(id: number): Promise<void> {
  await objects().patch(String(id), { metadata: { annotations: { [heartbeat]: "2026-01-01T00:00:00Z" } } });
}

const isMarked = async (id: number): Promise<boolean> =>
  (await objects().get(String(id))).metadata?.annotations?.[heartbeat] !== undefined;

test("two agents that meet new labels at the same time agree on one identity", async () => {
  const [a, b] = await Promise.all([agent(), agent()]);
  const wanted = Array.from({ length: 20 }, (_, i) => labelsOf(`race-${i}`));
  const numbers = (of: typeof a) => Promise.all(wanted.map((labels) => of.allocator.idFor(labels)));
  const [first, second] = await Promise.all([numbers(a), numbers(b)]);
  expect(first).toEqual(second);
  expect(new Set(first).size).toBe(20);
  expect(await withLabels("race-7")).toHaveLength(1);
});

test("pods of one workload that arrive together make one object", async () => {
  const { allocator } = await agent();
  const ids = await Promise.all(Array.from({ length: 10 }, () => allocator.idFor(labelsOf("together"))));
  expect(new Set(ids).size).toBe(1);
  expect(await withLabels("together")).toHaveLength(1);
});

test("an identity the operator marked is unmarked where it is in use", async () => {
  const { allocator } = await agent();
  const id = await allocator.idFor(labelsOf("used"));
  allocator.isUsed = (other) => other === id;
  await mark(id);
  await waitFor(async () => !(await isMarked(id)), { timeoutMs: 5000, what: "the mark to go" });
});

test("an identity the operator marked is unmarked before it is taken into use, so that its deletion conflicts", async () => {
  const { allocator } = await agent();
  const id = await allocator.idFor(labelsOf("reused"));
  await mark(id);
  const marked = await objects().get(String(id));
  await waitFor(
    async () => {
      expect(await allocator.idFor(labelsOf("reused"))).toBe(id);
      return !(await isMarked(id));
    },
    { timeoutMs: 5000, what: "the mark to go" },
  );
  const resourceVersion = marked.metadata?.resourceVersion ?? "";
  await expect(objects().delete(String(id), { preconditions: { resourceVersion } })).rejects.toMatchObject({
    status: 409,
  });
});

test("an identity that is deleted although it is in use comes back under its number", async () => {
  const log = memoryLogger();
  const { allocator, cache } = await agent(log);
  const id = await allocator.idFor(labelsOf("deleted"));
  allocator.isUsed = (other) => other === id;
  const before = (await objects().get(String(id))).metadata?.uid;
  await objects().delete(String(id));
  await waitFor(
    async () => {
      const now = await objects().find(String(id));
      return now !== undefined && now.metadata?.uid !== before;
    },
    { timeoutMs: 5000, what: "the identity to come back" },
  );
  expect(cache.lookup(labelsOf("deleted"))).toBe(id);
});

test("an identity nobody uses is forgotten when it is deleted", async () => {
  const { allocator, cache } = await agent();
  const id = await allocator.idFor(labelsOf("gone"));
  await waitFor(() => cache.get(id), { what: "the identity" });
  await objects().delete(String(id));
  await waitFor(() => cache.get(id) === undefined, { timeoutMs: 5000, what: "the identity to be forgotten" });
});
