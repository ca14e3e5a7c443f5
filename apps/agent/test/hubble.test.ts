import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Health, parseOptions } from "@axoneme/app";
import { silentLogger, waitFor } from "@axoneme/base";
import { emptyResolver, RawStore } from "@axoneme/flow";
import { anonymous, KubeClient } from "@axoneme/kube";
import { type NodePeers, Observer, type PeerChange } from "@axoneme/observe";
import { issue } from "@axoneme/pki";
import { afterAll, afterEach, beforeEach, describe, expect, it } from "vitest";
import { HubbleModule, hubblePeers } from "../src/hubble.ts";
import { hubbleTls } from "../src/hubble-tls.ts";
import { type AgentConfig, agentOptions } from "../src/options.ts";

const ips = (...all: string[]) => all.map((ip) => ({ type: "InternalIP", ip }));

const configOf = (raw: Record<string, unknown> = {}): AgentConfig => parseOptions(agentOptions, raw);

function follow(peers: NodePeers): string[] {
  const seen: string[] = [];
  peers.changes.on(({ type, peer }: PeerChange) => seen.push(`${type} ${peer.name} ${peer.address}`));
  return seen;
}

describe("the peers of the flow API", () => {
  it("are the nodes that have an address, as they change", () => {
    const peers = hubblePeers(configOf());
    const seen = follow(peers);
    peers.upsert("a", ips());
    peers.upsert("a", ips("192.0.2.1"));
    peers.upsert("a", ips("192.0.2.1"));
    peers.upsert("a", ips("2001:db8::1"));
    peers.remove("a");
    peers.remove("a");
    expect(seen).toEqual([
      "PEER_ADDED a 192.0.2.1:4244",
      "PEER_UPDATED a [2001:db8::1]:4244",
      "PEER_DELETED a [2001:db8::1]:4244",
    ]);
    expect(peers.list()).toEqual([]);
  });

  it("have the cluster in their names, and the names of certificates", () => {
    const peers = hubblePeers(configOf({ clusterName: "eu.1", hubbleListenAddress: "[::]:4000" }));
    peers.upsert("a.example", ips("192.0.2.1"));
    expect(peers.list()).toEqual([
      {
        name: "eu.1/a.example",
        address: "192.0.2.1:4000",
        serverName: "a-example.eu-1.hubble-grpc.cilium.io",
      },
    ]);
  });
});

describe("the module", () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), "axon-hubble-"));
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  // Nobody answers there: the Secret is waited for.
  const client = new KubeClient({
    server: "http://127.0.0.1:9",
    namespace: "default",
    credentials: anonymous,
  });
  afterAll(() => client.close());

  function create(raw: Record<string, unknown>): HubbleModule {
    const resolver = emptyResolver("a");
    const config = configOf({ runDir: dir, ...raw });
    return new HubbleModule(config, {
      observer: new Observer({ store: new RawStore({ capacity: 16 }), resolver, version: "1" }),
      resolver,
      clusterName: "default",
      version: "1",
      peers: hubblePeers(config),
      tls: () => hubbleTls(config, "a", client, silentLogger),
      log: silentLogger,
    });
  }

  async function stateAfterStart(module: HubbleModule): Promise<string> {
    const health = new Health();
    await module.start(health.reporter("hubble"));
    return health
      .modules()
      .map(({ state, message }) => `${state}: ${message}`)
      .join();
  }

  it("listens in the run directory, or where it is told", async () => {
    for (const socket of [join(dir, "hubble.sock"), join(dir, "other.sock")]) {
      const module = create(socket.endsWith("other.sock") ? { hubbleSocketPath: socket } : {});
      expect(await stateAfterStart(module)).toBe(`ok: listening on ${socket}`);
      expect(statSync(socket).mode & 0o777).toBe(0o600);
      await module.stop();
      expect(() => statSync(socket)).toThrow();
    }
  });

  it("does not serve strangers: without certificates it does not listen, and says what it waits for", async () => {
    const module = create({ hubbleListenAddress: "127.0.0.1:0" });
    expect(await stateAfterStart(module)).toMatch(
      /^degraded: .*not yet on 127.0.0.1:0: waiting for the Secret kube-system\/hubble-server-certs.a/,
    );
    await module.stop();
  });

  it("serves in plain text only when that is asked for", async () => {
    const module = create({ hubbleListenAddress: "127.0.0.1:0", hubbleDisableTls: true });
    expect(await stateAfterStart(module)).toMatch(/^ok: .* and 127.0.0.1:0, in plain text$/);
    await module.stop();
  });

  it("files of certificates belong together, and are waited for", async () => {
    const some = create({ hubbleListenAddress: "127.0.0.1:0", hubbleTlsCert: join(dir, "tls.crt") });
    expect(await stateAfterStart(some)).toMatch(/^degraded: .*belong together/);
    await some.stop();
    const files = { hubbleTlsCert: "tls.crt", hubbleTlsKey: "tls.key", hubbleTlsClientCa: "ca.crt" };
    const paths = Object.fromEntries(
      Object.entries(files).map(([option, file]) => [option, join(dir, file)]),
    );
    const health = new Health();
    const module = create({ hubbleListenAddress: "127.0.0.1:0", ...paths });
    await module.start(health.reporter("hubble"));
    expect(health.modules()[0]?.state).toBe("degraded");
    const ca = await issue({ commonName: "ca", use: "ca", validMs: 60_000 });
    const pair = await issue({ commonName: "a", sans: ["a"], use: "server", validMs: 60_000 }, ca);
    writeFileSync(join(dir, "ca.crt"), ca.certificate);
    writeFileSync(join(dir, "tls.key"), pair.key);
    writeFileSync(join(dir, "tls.crt"), pair.certificate);
    await waitFor(() => health.modules()[0]?.state === "ok", { timeoutMs: 10_000, what: "the listener" });
    await module.stop();
  });
});
