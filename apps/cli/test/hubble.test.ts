import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Emitter, silentLogger, waitFor } from "@axoneme/base";
import { emptyResolver, RawStore } from "@axoneme/flow";
import { TlsHolder } from "@axoneme/grpc";
import {
  type HubblePeer,
  type HubbleServer,
  Observer,
  type PeerChange,
  type PeerSource,
  serveHubble,
  startRelay,
} from "@axoneme/observe";
import { issue } from "@axoneme/pki";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { FakeLabs, now } from "./fixture.ts";
import { encodeRecords, type FakeRecord } from "./records.ts";

// Connections, certificates and pauses of the code itself: on a busy machine they add up.
vi.setConfig({ testTimeout: 20_000 });

/** A lab of observers on their sockets, with a relay. */
class ObservedLab {
  readonly labs = new FakeLabs();
  readonly observers = new Map<string, Observer>();
  readonly servers = new Map<string, HubbleServer>();
  readonly #peers: HubblePeer[] = [];

  async node(name: string): Promise<void> {
    const dir = join(this.labs.dir, "default/nodes", name);
    mkdirSync(dir, { recursive: true });
    const resolver = {
      ...emptyResolver(name),
      endpointById: (id: number) => ({ namespace: "default", podName: `pod-${id}`, identity: 1000 + id }),
    };
    const clock = { now: () => now, monotonicNs: () => 0n, setTimer: () => ({ cancel: () => undefined }) };
    const observer = new Observer({
      store: new RawStore({ capacity: 256 }),
      resolver,
      version: "1.0",
      clock,
    });
    const socketPath = join(dir, "hubble.sock");
    const base = { clusterName: "default", version: "1.0", log: silentLogger };
    const server = await serveHubble({ ...base, observer, resolver, peers: this.peers, socketPath });
    onTestFinished(() => server.stop());
    this.observers.set(name, observer);
    this.servers.set(name, server);
    this.#peers.push({ name, address: socketPath });
  }

  readonly peers: PeerSource = { list: () => this.#peers, changes: new Emitter<PeerChange>() };

  absent(name: string): void {
    this.#peers.push({ name, address: join(this.labs.dir, "nowhere.sock") });
  }

  add(name: string, ...records: FakeRecord[]): void {
    this.observers.get(name)?.ingest(encodeRecords(records), records.length);
  }

  async relay(): Promise<void> {
    const times = { liveMs: 50, pastMs: 200 };
    const about = { clientTls: undefined, version: "1.0", nodeName: "relay", log: silentLogger, times };
    const relay = await startRelay({ ...about, peers: this.peers });
    onTestFinished(() => relay.stop());
    await relay.listenUnix(join(this.labs.dir, "default/relay.sock"));
    await waitFor(() => relay.health.connected.length === this.observers.size, { what: "the nodes" });
  }
}

async function twoNodes(): Promise<ObservedLab> {
  const lab = new ObservedLab();
  await lab.node("node1");
  await lab.node("node2");
  await lab.relay();
  lab.add("node1", { port: 1, ms: 1 }, { port: 3, ms: 3 });
  lab.add("node2", { port: 2, ms: 2 }, { port: 4, ms: 4 });
  return lab;
}

const ports = (out: string): number[] => [...out.matchAll(/pod-2:(\d+)/g)].map((match) => Number(match[1]));

describe("axon hubble through the relay of a lab", () => {
  it("observe: all nodes in order of time, in every output", async () => {
    const { labs } = await twoNodes();
    const { code, out, err } = await labs.axon("hubble", "observe");
    expect({ code, err }).toEqual({ code: 0, err: "" });
    expect(ports(out)).toEqual([1, 2, 3, 4]);
    expect(ports((await labs.axon("hubble", "observe", "--last", "2")).out)).toEqual([3, 4]);
    expect(ports((await labs.axon("hubble", "observe", "flows", "--first", "1")).out)).toEqual([1]);
    const json = await labs.axon("hubble", "observe", "-o", "json", "--last", "1");
    const lines = json.out
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(lines).toHaveLength(1);
    expect(lines[0]).toMatchObject({
      node_name: "node2",
      flow: { l4: { TCP: { destination_port: 4 } } },
    });
    const table = await labs.axon("hubble", "observe", "-o", "table");
    expect(table.out.split("\n")[0]).toMatch(/^TIMESTAMP +NODE +SOURCE/);
    const masked = await labs.axon(
      "hubble",
      "observe",
      "-o",
      "json",
      "--last",
      "1",
      "--field-mask",
      "verdict",
    );
    expect(masked.out).not.toContain("destination_port");
    const precise = await labs.axon("hubble", "observe", "--last", "1", "--time-format", "RFC3339Micro");
    expect(precise.out).toMatch(/^2026-11-20T12:00:00.004000Z: /);
  });

  it("observe: a node that is missing is told, and one alone can be asked", async () => {
    const lab = new ObservedLab();
    await lab.node("node1");
    lab.absent("node9");
    await lab.relay();
    lab.add("node1", { port: 1, ms: 1 });
    const all = await lab.labs.axon("hubble", "observe");
    expect(ports(all.out)).toEqual([1]);
    expect(all.err).toMatch(/NODE_UNAVAILABLE node9: .*nowhere.sock/);
    expect((await lab.labs.axon("hubble", "observe", "-s")).err).toBe("");
    const socket = `unix://${join(lab.labs.dir, "default/nodes/node1/hubble.sock")}`;
    expect(ports((await lab.labs.axon("hubble", "observe", "--server", socket)).out)).toEqual([1]);
    const env = { HUBBLE_SERVER: socket };
    expect(ports((await lab.labs.run(["hubble", "observe"], { env })).out)).toEqual([1]);
  });

  it("observe --follow goes on until it is interrupted", async () => {
    const lab = await twoNodes();
    const stop = new AbortController();
    let out = "";
    const done = lab.labs.run(["hubble", "observe", "-f"], {
      signal: stop.signal,
      onOut: (text) => {
        out += text;
      },
    });
    await waitFor(() => lab.servers.get("node2")?.streams === 1, { what: "the stream" });
    lab.add("node2", { port: 9, ms: 9 });
    await waitFor(() => ports(out).includes(9), { what: "the new flow" });
    expect(ports(out)).toEqual([9]);
    stop.abort();
    expect((await done).code).toBe(130);
  });

  it("status, list nodes, list namespaces, watch peers", async () => {
    const lab = new ObservedLab();
    await lab.node("node1");
    lab.absent("node9");
    await lab.relay();
    lab.add("node1", { port: 1, ms: 1 });
    const status = await lab.labs.axon("hubble", "status");
    expect(status.out).toContain("Flows held: 1 of 256 (0.39 %)");
    expect(status.out).toContain("Nodes: 1 of 2\n  missing: node9\n");
    expect(status.code).toBe(1);
    const nodes = await lab.labs.axon("hubble", "list", "nodes");
    expect(nodes.out).toMatch(/node1 +connected .* 1\/256 +1\.0 /);
    expect(nodes.out).toMatch(/node9 +unavailable +- /);
    // Listed for an hour by the clock on the wall.
    lab.add("node1", { port: 2, ms: Date.now() - now });
    const named = await lab.labs.axon("hubble", "list", "namespaces", "-o", "json");
    expect(JSON.parse(named.out)).toEqual([{ cluster: "default", namespace: "default" }]);
    const stop = new AbortController();
    let out = "";
    const onOut = (text: string): void => {
      out += text;
      if (out.includes("node9")) stop.abort();
    };
    expect((await lab.labs.run(["hubble", "watch", "peers"], { signal: stop.signal, onOut })).code).toBe(130);
    expect(out).toMatch(/^PEER_ADDED {3}\/.*node1\nPEER_ADDED {3}\/.*node9\n$/);
  });

  it("observe debug-events: of each node, what was done with its packets", async () => {
    const { labs } = await twoNodes();
    const all = await labs.axon("hubble", "observe", "debug-events");
    expect({ code: all.code, err: all.err }).toEqual({ code: 0, err: "" });
    const lines = all.out.trim().split("\n");
    expect(lines).toHaveLength(12);
    expect(lines.filter((line) => line.includes("[node2]"))).toHaveLength(6);
    const one = await labs.axon("hubble", "observe", "debug-events", "--node", "node1", "--last", "2");
    expect(one.out).toMatch(
      /: default\/pod-1 DBG_CT_CREATED4 mark 0x[0-9a-f]{8} cpu 0 conntrack entry created: 10\.0\.0\.1:40000 -> 10\.0\.0\.2:3 TCP.*\n.*DBG_LOCAL_DELIVERY.* delivered to local endpoint 2,/,
    );
    const json = await labs.axon(
      "hubble",
      "observe",
      "debug-events",
      "--node",
      "node1",
      "--last",
      "1",
      "-o",
      "json",
    );
    expect(JSON.parse(json.out)).toMatchObject({
      node_name: "node1",
      debug_event: { type: "DBG_LOCAL_DELIVERY", arg1: 2, source: { pod_name: "pod-1" } },
    });
  });

  it("what is not served is said in a sentence", async () => {
    const { labs } = await twoNodes();
    const events = await labs.axon("hubble", "observe", "agent-events");
    expect(events.code).toBe(1);
    expect(events.err).toContain("there are no agent events here");
    const record = await labs.axon("hubble", "record", "--anything", "x");
    expect(record.code).toBe(1);
    expect(record.err).toContain("not supported");
    const wrong = await labs.axon("hubble", "observe", "--server", "a b");
    expect(wrong.code).toBe(2);
    const nobody = await labs.axon("hubble", "status", "--server", "unix:///nowhere.sock");
    expect(nobody.code).toBe(4);
    expect(nobody.err).toContain("unix:///nowhere.sock");
  });

  it("over TLS, with a certificate of our own", async () => {
    const lab = new ObservedLab();
    await lab.node("node1");
    lab.add("node1", { port: 1, ms: 1 });
    const ca = await issue({ commonName: "ca", use: "ca", validMs: 3_600_000 });
    const [server, client] = await Promise.all([
      issue({ commonName: "n", sans: ["n.example"], use: "server", validMs: 3_600_000 }, ca),
      issue({ commonName: "c", use: "client", validMs: 3_600_000 }, ca),
    ]);
    const tls = new TlsHolder();
    tls.offer({ cert: server.certificate, key: server.key, ca: ca.certificate });
    const port = await lab.servers.get("node1")?.listenTcp({ address: "127.0.0.1:0", tls });
    const file = (name: string, text: string): string => {
      writeFileSync(join(lab.labs.dir, name), text);
      return join(lab.labs.dir, name);
    };
    const flags = [
      ...["--server", `127.0.0.1:${port}`, "--tls-server-name", "n.example"],
      ...["--tls-ca-cert-files", file("ca", ca.certificate)],
      ...[
        "--tls-client-cert-file",
        file("crt", client.certificate),
        "--tls-client-key-file",
        file("key", client.key),
      ],
    ];
    expect(ports((await lab.labs.axon("hubble", "observe", ...flags)).out)).toEqual([1]);
    const stranger = await lab.labs.axon("hubble", "observe", ...flags.slice(0, 6));
    expect(stranger.code).toBe(4);
  });

  it("flows out of a file, filtered as by a server", async () => {
    const { labs } = await twoNodes();
    const saved = await labs.axon("hubble", "observe", "-o", "json");
    const path = join(labs.dir, "flows.json");
    writeFileSync(path, saved.out);
    const { out } = await labs.axon("hubble", "observe", "--input-file", path, "--to-port", "3");
    expect(ports(out)).toEqual([3]);
    writeFileSync(path, "{}\nnonsense");
    const broken = await labs.axon("hubble", "observe", "--input-file", path);
    expect(broken.code).toBe(2);
    expect(broken.err).toContain("line 2");
  });
});
