import { Deferred, waitFor } from "@axoneme/base";
import type { Handler } from "@axoneme/grpc";
import {
  GetNamespacesResponseSchema,
  GetNodesResponseSchema,
  ServerStatusResponseSchema,
} from "@axoneme/proto";
import type { DescMessage, JsonObject, JsonValue } from "@bufbuild/protobuf";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { TestRecord } from "../records.ts";
import { brief, readable, TestCluster } from "./cluster.ts";

// Connections, certificates and pauses of the code itself: on a busy machine they add up.
vi.setConfig({ testTimeout: 20_000 });

const quick = { liveMs: 100, pastMs: 300, silentMs: 500, newsMs: 50 };
let cluster: TestCluster;

beforeEach(() => {
  cluster = new TestCluster();
});
afterEach(() => cluster.close());

/** Flows that are told apart by their port; the time is the port in milliseconds unless given. */
const flows = (...ports: number[]): TestRecord[] => ports.map((dport) => ({ dport, ms: dport }));

async function all(request: JsonValue = {}): Promise<string[]> {
  const found: string[] = [];
  for await (const response of cluster.flows(request)) found.push(brief(response));
  return found;
}

/** A stream that is read as it comes. */
function follow(request: JsonValue = { follow: true }): { seen: string[]; stop: AbortController } {
  const stop = new AbortController();
  const seen: string[] = [];
  void (async () => {
    try {
      for await (const response of cluster.flows(request, stop.signal)) seen.push(brief(response));
      seen.push("end");
    } catch {
      seen.push("broken");
    }
  })();
  return { seen, stop };
}

const until = (cond: () => boolean, what: string): Promise<boolean> =>
  waitFor(cond, { timeoutMs: 10_000, everyMs: 5, what });

async function ask(method: string, schema: DescMessage): Promise<JsonObject> {
  const connection = await cluster.connect();
  const { message, metadata } = await connection.unary(`/observer.Observer/${method}`, new Uint8Array(0), {
    timeoutMs: 5000,
  });
  expect(metadata["hubble-relay-version"]).toBe("9.9");
  return readable(schema, message);
}

describe("GetFlows of all nodes", () => {
  it("is in order of time, behind what became of the nodes", async () => {
    for (const name of ["a", "b", "c"]) await cluster.node(name);
    cluster.announce("nowhere");
    await cluster.startRelay();
    await cluster.connected(3);
    cluster.add("a", ...flows(1, 4, 7));
    cluster.add("b", ...flows(2, 3, 9));
    cluster.add("c", ...flows(5, 6, 8));
    const expected = ["a:1", "b:2", "b:3", "a:4", "c:5", "c:6", "a:7", "c:8", "b:9"];
    expect(await all()).toEqual(["NODE_CONNECTED a,b,c", "NODE_UNAVAILABLE nowhere", ...expected]);
    // As in the field, a number is of each node.
    expect((await all({ number: "1" })).slice(2)).toEqual(["a:7", "c:8", "b:9"]);
    expect((await all({ whitelist: [{ node_name: ["b"] }] })).slice(2)).toEqual(["b:2", "b:3", "b:9"]);
  });

  it("refuses what no node would take, once", async () => {
    await cluster.node("a");
    await cluster.startRelay();
    await cluster.connected(1);
    await expect(all({ whitelist: [{ source_ip: ["nonsense"] }] })).rejects.toMatchObject({ status: 3 });
    await expect(all({ field_mask: "nope" })).rejects.toMatchObject({ status: 3 });
    await expect(all({ first: true, follow: true })).rejects.toMatchObject({ status: 3 });
  });

  it("follows nodes that come and go, and goes on where one was that came back", {
    timeout: 20_000,
  }, async () => {
    await cluster.node("a");
    await cluster.startRelay(quick);
    await cluster.connected(1);
    const { seen, stop } = follow();
    await until(() => cluster.nodes.get("a")?.server?.streams === 1, "a stream");
    cluster.add("a", ...flows(1));
    await until(() => seen.includes("a:1"), "the first flow");
    await cluster.node("b");
    await until(() => seen.includes("NODE_CONNECTED b"), "the new node");
    cluster.add("b", ...flows(2));
    await until(() => seen.includes("b:2"), "its flow");
    // Its agent restarts: what is recorded meanwhile is not missed, nor is anything told twice.
    const a = cluster.nodes.get("a");
    await a?.server?.stop();
    await until(() => seen.some((line) => line.startsWith("NODE_UNAVAILABLE a")), "the loss to be told");
    cluster.add("a", ...flows(3));
    if (a !== undefined) await cluster.serve(a);
    await until(() => seen.includes("a:3"), "what it saw meanwhile");
    cluster.add("a", ...flows(4));
    await until(() => seen.includes("a:4"), "what it sees now");
    expect(seen.filter((line) => /^a:/.test(line))).toEqual(["a:1", "a:3", "a:4"]);
    cluster.remove("b");
    await until(() => seen.includes("NODE_GONE b"), "the departure to be told");
    stop.abort();
    await until(() => a?.server?.streams === 0, "the streams to end");
    expect(cluster.relay.figures.streams).toBe(0);
  });

  it("the relay restarts: readers are told, nodes are let go", async () => {
    await cluster.node("a");
    await cluster.startRelay(quick);
    await cluster.connected(1);
    const { seen } = follow();
    await until(() => cluster.nodes.get("a")?.server?.streams === 1, "a stream");
    await cluster.relay.stop();
    await until(() => seen.at(-1) === "broken", "the reader to be told");
    await until(() => cluster.nodes.get("a")?.server?.streams === 0, "the node's stream to end");
    await cluster.startRelay(quick);
    await cluster.connected(1);
    cluster.add("a", ...flows(1));
    expect(await all()).toEqual(["NODE_CONNECTED a", "a:1"]);
  });
});

describe("nodes that misbehave", () => {
  const hang: Handler = (call) =>
    new Promise<void>((resolve) => call.signal.addEventListener("abort", () => resolve()));
  const hanging = new Map<string, Handler>([
    ["/observer.Observer/GetFlows", hang],
    ["/observer.Observer/ServerStatus", hang],
  ]);

  it("one that hangs holds back the others for a moment only, and is named", async () => {
    await cluster.node("a");
    await cluster.strange("mute", hanging);
    await cluster.startRelay(quick);
    await cluster.connected(2);
    cluster.add("a", ...flows(1, 2));
    const began = performance.now();
    expect(await all()).toEqual(["NODE_CONNECTED a,mute", "a:1", "a:2", "NODE_ERROR mute"]);
    expect(performance.now() - began).toBeLessThan(6000);
    const { seen, stop } = follow({ follow: true });
    await until(() => cluster.nodes.get("a")?.server?.streams === 1, "a stream");
    cluster.add("a", ...flows(3));
    await until(() => seen.includes("a:3"), "a live flow beside the silence");
    stop.abort();
  });

  it("one that sends nonsense is let go", async () => {
    const nonsense: Handler = async (call) => {
      await call.write(Uint8Array.of(0xff, 0xff, 0xff));
      await hang(call);
    };
    await cluster.node("a");
    await cluster.strange("bad", new Map([["/observer.Observer/GetFlows", nonsense]]));
    await cluster.startRelay(quick);
    await cluster.connected(2);
    cluster.add("a", ...flows(1));
    expect(await all()).toEqual(["NODE_CONNECTED a,bad", "a:1", "NODE_ERROR bad"]);
    expect(cluster.relay.figures.failures).toBe(1);
  });

  it("clocks that differ by an hour: live flows of all nodes come within the bound", async () => {
    await cluster.node("a");
    await cluster.node("ahead", { skewMs: 3_600_000 });
    await cluster.node("behind", { skewMs: -3_600_000 });
    await cluster.startRelay(quick);
    await cluster.connected(3);
    const { seen, stop } = follow();
    await until(() => [...cluster.nodes.values()].every(({ server }) => server?.streams === 1), "streams");
    for (let i = 1; i <= 20; i++) {
      for (const name of cluster.nodes.keys()) cluster.add(name, ...flows(i));
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    const began = performance.now();
    await until(() => seen.filter((line) => /:\d/.test(line)).length === 60, "all flows");
    expect(performance.now() - began).toBeLessThan(2000);
    for (const name of cluster.nodes.keys()) {
      const own = seen.filter((line) => line.startsWith(`${name}:`));
      expect(own).toEqual(Array.from({ length: 20 }, (_, i) => `${name}:${i + 1}`));
    }
    stop.abort();
  });
});

describe("readers that misbehave", () => {
  it("a slow one: nothing grows, and what nodes lose is told", { timeout: 60_000 }, async () => {
    await cluster.node("a");
    await cluster.node("b");
    await cluster.startRelay(quick);
    await cluster.connected(2);
    const stop = new AbortController();
    const stream = cluster.flows({ follow: true }, stop.signal);
    expect(brief((await stream.next()).value ?? {})).toBe("NODE_CONNECTED a,b");
    await until(() => [...cluster.nodes.values()].every(({ server }) => server?.streams === 1), "streams");
    const before = process.memoryUsage();
    let sent = 0;
    // Far more than all windows and queues hold.
    for (let i = 0; i < 200; i++) {
      const ports = Array.from({ length: 500 }, (_, k) => i * 500 + k);
      for (const name of ["a", "b"]) cluster.add(name, ...ports.map((n) => ({ dport: n % 60_000, ms: n })));
      sent += 1000;
      await new Promise((resolve) => setImmediate(resolve));
    }
    const after = process.memoryUsage();
    expect(after.arrayBuffers - before.arrayBuffers).toBeLessThan(64 << 20);
    let got = 0;
    let lost = 0;
    for await (const response of stream) {
      const line = brief(response);
      if (line.startsWith("lost")) lost += Number(line.split(" ")[1]);
      else if (!line.startsWith("NODE")) got++;
      if (got + lost === sent) break;
    }
    expect(lost).toBeGreaterThan(0);
    stop.abort();
  });

  it("one that vanishes: its streams end at the nodes", async () => {
    await cluster.node("a");
    await cluster.startRelay(quick);
    await cluster.connected(1);
    const connection = await cluster.connect();
    const stream = connection.stream(
      "/observer.Observer/GetFlows",
      Uint8Array.of(0x18, 1),
      new AbortController().signal,
    );
    const rest = (async () => {
      for await (const _ of stream);
    })().catch(() => undefined);
    await until(() => cluster.nodes.get("a")?.server?.streams === 1, "a stream");
    connection.close();
    await rest;
    await until(() => cluster.nodes.get("a")?.server?.streams === 0, "the stream to end");
    expect(cluster.nodes.get("a")?.observer.store.onAppend.listenerCount).toBe(0);
  });
});

describe("the other methods", () => {
  it("ServerStatus and GetNodes tell sums, and who is missing", async () => {
    await cluster.node("a");
    await cluster.node("b", { capacity: 2048 });
    cluster.announce("gone");
    await cluster.startRelay();
    await cluster.connected(2);
    cluster.add("a", ...flows(1, 2));
    cluster.add("b", ...flows(3));
    expect(await ask("ServerStatus", ServerStatusResponseSchema)).toMatchObject({
      num_flows: "3",
      max_flows: "3072",
      seen_flows: "3",
      num_connected_nodes: 2,
      num_unavailable_nodes: 1,
      unavailable_nodes: ["gone"],
      version: "9.9",
    });
    const { nodes } = (await ask("GetNodes", GetNodesResponseSchema)) as { nodes: JsonObject[] };
    expect(nodes.map(({ name, state }) => `${String(name)} ${String(state)}`)).toEqual([
      "a NODE_CONNECTED",
      "b NODE_CONNECTED",
      "gone NODE_UNAVAILABLE",
    ]);
    expect(nodes[1]).toMatchObject({ version: "1", num_flows: "1", max_flows: "2048" });
  });

  it("a node that does not answer is missing after a moment", async () => {
    const asked = new Deferred<void>();
    const hang: Handler = (call) => {
      asked.resolve();
      return new Promise<void>((resolve) => call.signal.addEventListener("abort", () => resolve()));
    };
    await cluster.strange("mute", new Map([["/observer.Observer/ServerStatus", hang]]));
    await cluster.startRelay();
    await cluster.connected(1);
    const status = await ask("ServerStatus", ServerStatusResponseSchema);
    expect(status).toMatchObject({ num_connected_nodes: 0, unavailable_nodes: ["mute"] });
    await asked.promise;
  });

  it("GetNamespaces names each once; events of agents are asked of agents", async () => {
    await cluster.node("a");
    await cluster.startRelay();
    await cluster.connected(1);
    expect(await ask("GetNamespaces", GetNamespacesResponseSchema)).toEqual({});
    for (const method of ["GetAgentEvents", "GetDebugEvents"]) {
      await expect(ask(method, ServerStatusResponseSchema)).rejects.toMatchObject({ status: 12 });
    }
  });

  it("is healthy while it reaches a node", async () => {
    await cluster.node("a");
    await cluster.startRelay();
    await cluster.connected(1);
    const connection = await cluster.connect();
    const check = async () => [
      ...(await connection.unary("/grpc.health.v1.Health/Check", new Uint8Array(0), { timeoutMs: 1000 }))
        .message,
    ];
    expect(await check()).toEqual([8, 1]);
    await cluster.nodes.get("a")?.server?.stop();
    await waitFor(async () => (await check())[1] === 2, { what: "the relay to say it is not well" });
  });
});
