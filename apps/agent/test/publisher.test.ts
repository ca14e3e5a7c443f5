import { silentLogger, waitFor } from "@axoneme/base";
import { afterEach, beforeEach, expect, test } from "vitest";
import { EndpointPublisher, type PublishedEndpoint } from "../src/endpoint/publisher.ts";
import { ciliumEndpoints } from "../src/state/objects.ts";
import { Cluster } from "./cluster.ts";

let cluster: Cluster;
let publisher: EndpointPublisher;
beforeEach(async () => {
  cluster = await Cluster.start();
  publisher = new EndpointPublisher(cluster.client, () => "172.30.0.11", silentLogger);
}, 30_000);
afterEach(async () => {
  publisher.stop();
  await cluster.close();
}, 30_000);

const endpoint: PublishedEndpoint = {
  namespace: "default",
  name: "web",
  podUid: "",
  id: 7,
  identity: 5000,
  labels: ["k8s:app=web"],
  ipv4: "10.0.0.7",
  ipv6: "fd10::7",
  nodeIp: "172.30.0.11",
  namedPorts: [{ name: "http", port: 8080, protocol: "TCP" }],
};

const written = () => cluster.client.resource(ciliumEndpoints).find("web", { namespace: "default" });
const done = () =>
  waitFor(() => publisher.pending === 0, { timeoutMs: 10_000, what: "everything to be published" });

test("an endpoint is published as other nodes read it", async () => {
  await cluster.installDefinitions();
  publisher.publish(endpoint);
  await done();
  expect((await written())?.status).toEqual({
    id: 7,
    state: "ready",
    identity: { id: 5000, labels: ["k8s:app=web"] },
    networking: { addressing: [{ ipv4: "10.0.0.7", ipv6: "fd10::7" }], node: "172.30.0.11" },
    "named-ports": [{ name: "http", port: 8080, protocol: "TCP" }],
  });
});

test("of many changes the last one counts", async () => {
  await cluster.installDefinitions();
  for (let identity = 5001; identity <= 5100; identity++) publisher.publish({ ...endpoint, identity });
  await done();
  expect((await written())?.status?.identity?.id).toBe(5100);
});

test("an endpoint of that name on another node is not taken away", async () => {
  await cluster.installDefinitions();
  publisher.publish({ ...endpoint, nodeIp: "172.30.0.12" });
  await done();
  publisher.retract("default", "web");
  await done();
  expect((await written())?.status?.networking?.node).toBe("172.30.0.12");
});

test("an endpoint that went right after it came is not left behind", async () => {
  await cluster.installDefinitions();
  publisher.publish(endpoint);
  publisher.retract("default", "web");
  await done();
  expect(await written()).toBeUndefined();
});

test("what the server does not take yet is tried again", async () => {
  publisher.publish(endpoint);
  await waitFor(async () => publisher.pending === 1, { what: "the first try" });
  await cluster.installDefinitions();
  await done();
  expect((await written())?.status?.id).toBe(7);
});
