import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseOptions } from "@axoneme/app";
import { Emitter, silentLogger, waitFor } from "@axoneme/base";
import { emptyResolver, RawStore } from "@axoneme/flow";
import { TlsHolder } from "@axoneme/grpc";
import {
  type HubblePeer,
  type HubbleServer,
  Observer,
  openHubble,
  type PeerChange,
  serveHubble,
} from "@axoneme/observe";
import { issue, type KeyPair, nodeServerName, relayServerName } from "@axoneme/pki";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { relayOptions } from "../src/options.ts";
import { RelayProcess } from "../src/relay.ts";

// Connections, certificates and pauses of the code itself: on a busy machine they add up.
vi.setConfig({ testTimeout: 20_000 });

const hour = 3_600_000;
let dir: string;
let ca: KeyPair;
let peers: HubblePeer[];
let node: HubbleServer;
let relay: RelayProcess | undefined;

const file = (name: string, text: string): string => {
  writeFileSync(join(dir, name), text);
  return join(dir, name);
};

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), "axon-relay-"));
  ca = await issue({ commonName: "ca", use: "ca", validMs: hour });
  const serverName = nodeServerName("n1", "default");
  const { certificate, key } = await issue(
    { commonName: "n1", sans: [serverName], use: "server", validMs: hour },
    ca,
  );
  const tls = new TlsHolder();
  tls.offer({ cert: certificate, key, ca: ca.certificate });
  peers = [];
  const resolver = emptyResolver("n1");
  node = await serveHubble({
    observer: new Observer({ store: new RawStore({ capacity: 16 }), resolver, version: "1" }),
    resolver,
    clusterName: "default",
    version: "1",
    peers: { list: () => peers, changes: new Emitter<PeerChange>() },
    socketPath: join(dir, "hubble.sock"),
    log: silentLogger,
  });
  const port = await node.listenTcp({ address: "127.0.0.1:0", tls });
  peers.push({ name: "n1", address: `127.0.0.1:${port}`, serverName });
});

afterEach(async () => {
  await relay?.stop();
  relay = undefined;
  await node.stop();
  rmSync(dir, { recursive: true, force: true });
});

async function start(raw: Record<string, unknown>): Promise<void> {
  const config = parseOptions(relayOptions, {
    peerService: `unix://${join(dir, "hubble.sock")}`,
    socketPath: join(dir, "relay.sock"),
    ...raw,
  });
  relay = new RelayProcess(config, "1", silentLogger);
  await relay.start();
}

/** Files of a certificate, as options that begin so. */
async function filesOf(
  option: string,
  use: "client" | "server",
  ca_: string,
): Promise<Record<string, string>> {
  const pair = await issue({ commonName: "relay", sans: [relayServerName], use, validMs: hour }, ca);
  return {
    [`${option}Cert`]: file(`${option}.crt`, pair.certificate),
    [`${option}Key`]: file(`${option}.key`, pair.key),
    [ca_]: file("ca.crt", ca.certificate),
  };
}

async function connected(): Promise<number | undefined> {
  const client = await openHubble({ target: { path: join(dir, "relay.sock") } }, 2000);
  try {
    return (await client.status()).num_connected_nodes;
  } finally {
    client.close();
  }
}

it("finds nodes by an agent, knows them by their certificates, and is known by its own", async () => {
  const [port, metricsPort] = [await freePort(), await freePort()];
  await start({
    ...(await filesOf("clientTls", "client", "clientTlsCa")),
    ...(await filesOf("serverTls", "server", "serverTlsClientCa")),
    listenAddress: `127.0.0.1:${port}`,
    metricsAddress: `127.0.0.1:${metricsPort}`,
  });
  await waitFor(async () => (await connected()) === 1, { timeoutMs: 10_000, what: "the node" });
  const reader = await issue({ commonName: "reader", use: "client", validMs: hour }, ca);
  const tls = { ca: ca.certificate, serverName: "x.hubble-relay.cilium.io" };
  const target = { host: "127.0.0.1", port };
  const client = await openHubble(
    { target, tls: { ...tls, cert: reader.certificate, key: reader.key } },
    2000,
  );
  expect(await client.nodes()).toMatchObject([
    { name: "n1", state: "NODE_CONNECTED", tls: { enabled: true } },
  ]);
  client.close();
  const stranger = openHubble({ target, tls }, 1000).then((c) => c.status());
  await expect(stranger).rejects.toMatchObject({ status: 14 });
  const page = async (path: string): Promise<string> =>
    (await fetch(`http://127.0.0.1:${metricsPort}${path}`)).text();
  expect(await page("/metrics")).toContain('hubble_relay_pool_peer_connection_status{status="READY"} 1');
  expect(await page("/metrics")).toMatch(
    /grpc_server_handled_total\{grpc_type="unary",grpc_service="observer.Observer",grpc_method="GetNodes",grpc_code="OK"\} 1/,
  );
  expect(JSON.parse(await page("/healthz"))).toEqual({ connected: ["n1"], unavailable: {}, peers: "ok" });
});

it("without a certificate of its own it reaches nobody, and says why", async () => {
  await start({ disableClientTls: true });
  await waitFor(async () => (await connected()) === 0, { what: "the relay" });
  const client = await openHubble({ target: { path: join(dir, "relay.sock") } }, 2000);
  expect((await client.status()).unavailable_nodes).toEqual(["n1"]);
  client.close();
});

it("files of certificates belong together", async () => {
  await expect(start({ clientTlsCert: "/x" })).rejects.toMatchObject({ code: "config.invalid" });
});
