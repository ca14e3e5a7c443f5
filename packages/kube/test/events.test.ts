import { EventRecorder, type EventRecorderOptions, KubeClient } from "@axoneme/kube";
import { afterEach, beforeEach, expect, test } from "vitest";
import { FakeApi, type Seen } from "./fakeapi.ts";

let api: FakeApi;
let client: KubeClient;
let now = 1_000_000;
const patches: { name: string | undefined; body: unknown }[] = [];

beforeEach(async () => {
  api = await new FakeApi().listen();
  client = new KubeClient(api.config);
  patches.length = 0;
  api.intercept = ({ method, target, body }: Seen, response) => {
    if (method !== "PATCH" || !api.objects("events").some(({ metadata }) => metadata.name === target?.name))
      return false;
    patches.push({ name: target?.name, body: JSON.parse(body) as unknown });
    response.writeHead(200, { "content-type": "application/json" }).end("{}");
    return true;
  };
});
afterEach(async () => {
  await client.close();
  await api.close();
});

const recorder = (options: Partial<EventRecorderOptions> = {}) =>
  new EventRecorder(client, { component: "axoneme", host: "node1", now: () => now, ...options });
const service = { apiVersion: "v1", kind: "Service", namespace: "shop", name: "web", uid: "u1" };

test("an event names its object, who says it, and what", async () => {
  const events = recorder();
  events.record(service, "Warning", "MapFull", "the table is full");
  await events.flush();
  expect(api.objects("events", "shop")).toMatchObject([
    {
      involvedObject: { apiVersion: "v1", kind: "Service", namespace: "shop", name: "web", uid: "u1" },
      type: "Warning",
      reason: "MapFull",
      message: "the table is full",
      source: { component: "axoneme", host: "node1" },
      count: 1,
      firstTimestamp: new Date(now).toISOString(),
    },
  ]);
});

test("events of what has no namespace are in default", async () => {
  const events = recorder();
  events.record({ ...service, kind: "Node", namespace: "" }, "Normal", "Ready", "ready");
  await events.flush();
  expect(api.objects("events", "default")).toHaveLength(1);
});

test("said again it counts up; forgotten by the server it is written anew", async () => {
  const events = recorder();
  for (let i = 0; i < 3; i++) events.record(service, "Warning", "MapFull", "the table is full");
  events.record(service, "Warning", "MapFull", "another table is full");
  await events.flush();
  expect(api.objects("events")).toHaveLength(2);
  expect(patches.map(({ body }) => body)).toMatchObject([{ count: 2 }, { count: 3 }]);
  for (const { metadata } of api.objects("events")) api.remove("events", "shop", metadata.name);
  events.record(service, "Warning", "MapFull", "the table is full");
  await events.flush();
  expect(api.objects("events")).toHaveLength(1);
});

test("what several nodes say alike is one event, unless they say it of themselves", async () => {
  const say = async (host: string | undefined) => {
    const events = new EventRecorder(client, { component: "axoneme", ...(host ? { host } : {}) });
    events.record(service, "Warning", "NotProgrammed", "its ports cannot be translated");
    await events.flush();
  };
  await say(undefined);
  await say(undefined);
  expect(api.objects("events")).toHaveLength(1);
  await say("node1");
  await say("node2");
  expect(api.objects("events")).toHaveLength(3);
});

test("one object gets a burst and then a few a minute; others are not held back by it", async () => {
  const events = recorder({ burst: 3, refillMs: 10_000 });
  for (let i = 0; i < 10; i++) events.record(service, "Warning", "MapFull", `message ${i}`);
  events.record({ ...service, name: "other", uid: "u2" }, "Warning", "MapFull", "mine");
  await events.flush();
  expect([api.objects("events").length, events.dropped]).toEqual([4, 7]);
  now += 10_000;
  events.record(service, "Warning", "MapFull", "later");
  events.record(service, "Warning", "MapFull", "at once after");
  await events.flush();
  expect(api.objects("events")).toHaveLength(5);
});

test("a server that refuses costs an event, not the agent", async () => {
  api.intercept = (_seen, response) => FakeApi.status(response, 403, "Forbidden");
  const events = recorder();
  events.record(service, "Warning", "MapFull", "the table is full");
  await events.flush();
  events.stop();
  events.record(service, "Warning", "MapFull", "after the end");
  await events.flush();
  expect(api.objects("events")).toEqual([]);
});
