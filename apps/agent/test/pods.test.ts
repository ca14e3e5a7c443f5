import { waitFor } from "@axoneme/base";
import { builtinResources, ListWatch, resources } from "@axoneme/kube";
import { afterAll, beforeAll, expect, test } from "vitest";
import { PodDirectory, sameFacts, trimNamespace, trimPod } from "../src/endpoint/pods.ts";
import { Cluster } from "./cluster.ts";

let cluster: Cluster;
beforeAll(async () => {
  cluster = await Cluster.start();
}, 30_000);
afterAll(() => cluster.close(), 30_000);

async function createPod(
  name: string,
  labels: Record<string, string>,
  annotations: Record<string, string> = {},
): Promise<string> {
  const pod = await cluster.client.resource(resources.pods).create({
    apiVersion: "v1",
    kind: "Pod",
    metadata: {
      name,
      namespace: "default",
      labels,
      annotations,
      ownerReferences: [
        { apiVersion: "apps/v1", kind: "ReplicaSet", name: "web-5d4f", uid: "u", controller: true },
      ],
    },
    spec: { containers: [{ name: "c", image: "host", ports: [{ name: "http", containerPort: 8080 }] }] },
  });
  return pod.metadata?.uid ?? "";
}

async function watched() {
  const pods = new ListWatch(cluster.client, builtinResources.pods, { trim: trimPod });
  const namespaces = new ListWatch(cluster.client, builtinResources.namespaces, { trim: trimNamespace });
  pods.start({});
  namespaces.start({});
  await Promise.all([pods.synced, namespaces.synced]);
  const directory = new PodDirectory(pods.store, namespaces.store, cluster.client, "default");
  return { directory, stop: () => Promise.all([pods.stop(), namespaces.stop()]) };
}

test("a pod's facts are its identity's labels, its named ports and its workload", async () => {
  const uid = await createPod("web-5d4f-x", { app: "web" });
  const { directory, stop } = await watched();
  const facts = await directory.facts({ namespace: "default", name: "web-5d4f-x", uid });
  expect(facts.labels).toMatchObject({ "k8s:app": "web", "k8s:io.kubernetes.pod.namespace": "default" });
  expect(facts.namedPorts).toEqual([{ name: "http", port: 8080, protocol: "TCP" }]);
  expect(facts.workload).toEqual({ kind: "Deployment", name: "web" });
  expect(facts.uid).toBe(uid);
  await stop();
});

test("a pod that the watch has not shown is asked for", async () => {
  const pods = new ListWatch(cluster.client, builtinResources.pods, { trim: trimPod });
  const namespaces = new ListWatch(cluster.client, builtinResources.namespaces, { trim: trimNamespace });
  const directory = new PodDirectory(pods.store, namespaces.store, cluster.client, "default");
  const uid = await createPod("unseen", { app: "unseen" });
  const facts = await directory.facts({ namespace: "default", name: "unseen", uid });
  expect(facts.labels["k8s:app"]).toBe("unseen");
});

test("the pod of an earlier life under the same name is not taken for this one", async () => {
  await createPod("again", { app: "new" });
  const { directory, stop } = await watched();
  const ref = { namespace: "default", name: "again", uid: "00000000-0000-0000-0000-000000000000" };
  expect(directory.known(ref)).toBeUndefined();
  await expect(directory.facts(ref)).rejects.toMatchObject({ code: "endpoint.pod" });
  await expect(directory.facts({ ...ref, name: "never" })).rejects.toMatchObject({ code: "endpoint.pod" });
  await stop();
});

test("a static pod is known by its kubelet's uid, and has the uid that the API shows it under", async () => {
  const staticUid = "0123456789abcdef0123456789abcdef";
  const uid = await createPod("static-node1", { app: "s" }, { "kubernetes.io/config.mirror": staticUid });
  const { directory, stop } = await watched();
  const ref = { namespace: "default", name: "static-node1", uid: staticUid };
  expect(directory.known(ref)?.uid).toBe(uid);
  expect((await directory.facts(ref)).labels["k8s:app"]).toBe("s");
  expect(directory.known({ ...ref, uid: "f".repeat(32) })).toBeUndefined();
  await stop();
});

test("a change of labels is a change of facts, an annotation is none", async () => {
  const uid = await createPod("changing", { app: "a" });
  const { directory, stop } = await watched();
  const ref = { namespace: "default", name: "changing", uid };
  const before = await directory.facts(ref);
  const pods = cluster.client.resource(resources.pods);
  await pods.patch("changing", { metadata: { annotations: { note: "x" } } }, { namespace: "default" });
  expect(sameFacts(before, await directory.facts(ref))).toBe(true);
  await pods.patch("changing", { metadata: { labels: { app: "b" } } }, { namespace: "default" });
  await waitFor(() => !sameFacts(before, directory.known(ref) ?? before), { what: "the labels to change" });
  await stop();
});
