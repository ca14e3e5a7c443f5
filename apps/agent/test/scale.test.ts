/**
 * What a pod's change costs each agent at the API server, counted on the wire: 2,000 pods of 200 nodes in the slices that an operator would
 * write, and an agent that follows them. The long form is bench/scale.
 */
import { connect, createServer, type Server } from "node:net";
import { waitFor } from "@axoneme/base";
import { type KubeClient, packSlice, resources } from "@axoneme/kube";
import { afterEach, beforeEach, expect, test } from "vitest";
import { EndpointSource } from "../src/endpoint-source.ts";
import { Meters } from "../src/metrics/meters.ts";
import type { RemoteEndpoint } from "../src/remote-endpoints.ts";
import { Cluster } from "./cluster.ts";
import { quiet } from "./logger.ts";

const nodes = 200;
const pods = 2000;
const perSlice = 100;

let cluster: Cluster;
beforeEach(async () => {
  cluster = await Cluster.start();
  await cluster.installDefinitions();
}, 30_000);
afterEach(() => cluster.close(), 30_000);

/** Passes bytes on to the API server and counts those that come back. */
class Wire {
  bytes = 0;
  readonly #server: Server;
  port = 0;

  constructor(to: number) {
    this.#server = createServer((client) => {
      const upstream = connect(to, "127.0.0.1");
      upstream.on("data", (chunk) => {
        this.bytes += chunk.length;
      });
      client.pipe(upstream).pipe(client);
      for (const socket of [client, upstream]) socket.on("error", () => socket.destroy());
      client.on("close", () => upstream.destroy());
    });
  }

  async open(): Promise<this> {
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    this.port = (this.#server.address() as { port: number }).port;
    return this;
  }

  close(): void {
    this.#server.close();
  }
}

function member(i: number, identity: number) {
  const app = i % 20;
  const networking = {
    addressing: [{ ipv4: `10.${i >> 8}.${i & 255}.7` }],
    node: `172.20.${(i % nodes) >> 8}.${(i % nodes) & 255}`,
  };
  const labels = [`k8s:app=app-${app}`, "k8s:io.kubernetes.pod.namespace=default", `k8s:pod=p-${i}`];
  return { core: { name: `p-${i}`, id: identity, networking }, labels };
}

async function writeSlice(at: number, identity: number): Promise<void> {
  const members = Array.from({ length: perSlice }, (_, i) => member(at * perSlice + i, identity));
  const object = { metadata: { name: `s-${at}` }, namespace: "default", ...packSlice(members) };
  await cluster.client
    .resource(resources.ciliumendpointslices)
    .apply(object, { fieldManager: "test", force: true });
}

test("an agent asks as little of the API server in a large cluster as in a small one", async () => {
  for (let at = 0; at < pods / perSlice; at++) await writeSlice(at, 300);
  const sign = { metadata: { name: "axoneme-complete" }, ...packSlice([]) };
  await cluster.client.resource(resources.ciliumendpointslices).create(sign);

  const wire = await new Wire(cluster.port).open();
  let requests = 0;
  const client: KubeClient = cluster.connect(`https://127.0.0.1:${wire.port}`, () => requests++);
  const known = new Map<string, RemoteEndpoint>();
  let events = 0;
  const set = (endpoint: RemoteEndpoint): void => {
    known.set(endpoint.key, endpoint);
    events++;
  };
  const source = new EndpointSource(
    { client, meters: new Meters(), log: quiet },
    { onAdd: set, onUpdate: set, onDelete: ({ key }) => known.delete(key) },
  );
  try {
    source.start({ ok: () => undefined, degraded: () => undefined, failed: () => undefined });
    await source.synced;
    expect(known.size).toBe(pods);
    // One list of 21 slices in pages of 50; the watch is open and has not ended.
    expect(requests).toBe(1);
    expect(wire.bytes / pods, "bytes for a pod, listed").toBeLessThan(300);

    await waitFor(() => wire.bytes > 0, { what: "the list" });
    [requests, events, wire.bytes] = [0, 0, 0];
    // A hundred pods of one namespace change at once: one event.
    await writeSlice(3, 301);
    await waitFor(() => events === perSlice, { what: "the changes" });
    expect([...known.values()].filter(({ identity }) => identity === 301)).toHaveLength(perSlice);
    expect(requests, "nothing is asked: the watch tells").toBe(0);
    expect(wire.bytes / perSlice, "bytes for a changed pod").toBeLessThan(300);
  } finally {
    await source.stop();
    await client.close();
    wire.close();
  }
}, 30_000);
