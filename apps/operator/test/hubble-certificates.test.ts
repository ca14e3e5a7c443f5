import { X509Certificate } from "node:crypto";
import { Health } from "@axoneme/app";
import { silentLogger, waitFor } from "@axoneme/base";
import { type ResourceClient, resources, type Secret } from "@axoneme/kube";
import { certificateFacts, issue, nodeSecret } from "@axoneme/pki";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { type CertificateTimes, certificateTimes, HubbleCertificates } from "../src/hubble-certificates.ts";
import { Sources } from "../src/sources.ts";
import { Cluster } from "./cluster.ts";

vi.setConfig({ testTimeout: 30_000 });

const namespace = "kube-system";
const dayMs = 86_400_000;
let cluster: Cluster;
let sources: Sources;
let running: HubbleCertificates | undefined;
const ended = new AbortController();

beforeEach(async () => {
  cluster = await Cluster.start();
  const { operator } = cluster.operator({ hubbleCertificates: false });
  await waitFor(() => operator.term?.health.healthy, { timeoutMs: 20_000, what: "the definitions" });
  sources = new Sources(cluster.client, silentLogger);
  await sources.start(new Health().reporter("sources"));
}, 40_000);

afterEach(async () => {
  await running?.stop();
  running = undefined;
  await sources.stop();
  await cluster.close();
}, 30_000);

const secrets = (): ResourceClient<Secret> => cluster.client.resource(resources.secrets);

async function start(times: Partial<CertificateTimes> = {}, health = new Health()): Promise<Health> {
  await running?.stop();
  const around = { client: cluster.client, sources, log: silentLogger, signal: ended.signal };
  const options = { namespace, clusterName: "default", times: { ...certificateTimes, ...times } };
  running = new HubbleCertificates(around, options);
  running.start(health.reporter("hubble-certificates"));
  return health;
}

/** A value of a Secret once it is there. */
const text = (name: string, key: string): Promise<string> =>
  waitFor(
    async () => {
      const secret = await secrets().find(name, { namespace });
      return Buffer.from(secret?.data?.[key] ?? "", "base64").toString();
    },
    { what: `${key} of ${name}`, timeoutMs: 10_000 },
  );

const makeNode = (name: string) =>
  cluster.client.resource(resources.ciliumnodes).create({ metadata: { name }, spec: {} });

describe("certificates of the flow API", () => {
  test("a CA, a server certificate for each node, a client certificate for relays", async () => {
    await start();
    await makeNode("n1.example");
    const ca = await text("cilium-ca", "ca.crt");
    const node = await text(nodeSecret("n1.example"), "tls.crt");
    const facts = certificateFacts(node);
    expect(facts?.names).toEqual(["n1-example.default.hubble-grpc.cilium.io"]);
    expect(facts?.isSignedBy(ca)).toBe(true);
    expect(facts?.hasKey(await text(nodeSecret("n1.example"), "tls.key"))).toBe(true);
    // A node cannot pass for a relay.
    expect(new X509Certificate(node).keyUsage).toEqual(["1.3.6.1.5.5.7.3.1"]);
    const relay = await text("hubble-relay-client-certs", "tls.crt");
    expect(new X509Certificate(relay).keyUsage).toEqual(["1.3.6.1.5.5.7.3.2"]);
    expect(certificateFacts(await text("hubble-relay-server-certs", "tls.crt"))?.names).toEqual([
      "*.hubble-relay.cilium.io",
    ]);
    expect(await text(nodeSecret("n1.example"), "ca.crt")).toBe(`${ca.trim()}\n`);
    // Its key is nowhere but in its own Secret.
    const all = (await secrets().list({ namespace })).items.filter(
      ({ data }) => data?.["ca.key"] !== undefined,
    );
    expect(all.map(({ metadata }) => metadata?.name)).toEqual(["cilium-ca"]);
  });

  test("go with their node, and are not made anew while they serve", async () => {
    await start();
    await makeNode("n1");
    await makeNode("n2");
    const before = await text(nodeSecret("n2"), "tls.crt");
    await text(nodeSecret("n1"), "tls.crt");
    await cluster.client.resource(resources.ciliumnodes).delete("n1");
    await waitFor(async () => (await secrets().find(nodeSecret("n1"), { namespace })) === undefined, {
      what: "n1's Secret to go",
    });
    await start();
    await makeNode("n3");
    await text(nodeSecret("n3"), "tls.crt");
    expect(await text(nodeSecret("n2"), "tls.crt")).toBe(before);
  });

  test("are renewed in time, and when they are damaged", async () => {
    await start();
    await makeNode("n1");
    const before = await text(nodeSecret("n1"), "tls.crt");
    // Thirty days are less than a third of a hundred.
    await start({ leafMs: 100 * dayMs });
    const renewed = await waitFor(
      async () => {
        const now = await text(nodeSecret("n1"), "tls.crt");
        return now !== before && now;
      },
      { what: "a new certificate" },
    );
    expect((certificateFacts(renewed)?.notAfterMs ?? 0) - Date.now()).toBeGreaterThan(90 * dayMs);
    await secrets().patch(nodeSecret("n1"), { data: { "tls.key": "" } }, { namespace });
    await start({ leafMs: 100 * dayMs });
    await waitFor(async () => (await text(nodeSecret("n1"), "tls.crt")) !== renewed, { what: "another one" });
  });

  test("a CA gets its successor: trusted first, then signing", async () => {
    await start({ caMs: 20 * dayMs });
    await makeNode("n1");
    const first = await text("cilium-ca", "ca.crt");
    await text(nodeSecret("n1"), "tls.crt");
    await start({ caMs: 20 * dayMs, renewBeforeMs: 30 * dayMs, overlapMs: 3600_000 });
    const both = await waitFor(
      async () => {
        const bundle = await text(nodeSecret("n1"), "ca.crt");
        return bundle.split("BEGIN").length === 3 && bundle;
      },
      { what: "both CAs in the bundle" },
    );
    expect(both.startsWith(first.trim())).toBe(true);
    expect(certificateFacts(await text(nodeSecret("n1"), "tls.crt"))?.isSignedBy(first)).toBe(true);
    await start({ caMs: 20 * dayMs, overlapMs: 0 });
    const next = await waitFor(
      async () => {
        const now = await text("cilium-ca", "ca.crt");
        return now !== first && now;
      },
      { what: "the new CA" },
    );
    await waitFor(
      async () => certificateFacts(await text(nodeSecret("n1"), "tls.crt"))?.isSignedBy(next) === true,
      { what: "a certificate of the new CA" },
    );
    expect(await text(nodeSecret("n1"), "ca.crt")).toContain(first.trim());
  });

  test("a CA that others made signs and is left alone; one without a key is told", async () => {
    const given = await issue({ commonName: "theirs", use: "ca", validMs: dayMs });
    const encode = (value: string) => Buffer.from(value).toString("base64");
    const theirs = (key: string) => ({ "ca.crt": encode(given.certificate), "ca.key": encode(key) });
    const metadata = { name: "cilium-ca", namespace };
    await secrets().create({ metadata, data: theirs("") });
    const health = await start();
    const state = () => health.modules().find(({ name }) => name === "hubble-certificates");
    await waitFor(() => state()?.state === "degraded", { what: "the trouble to be told" });
    expect(state()?.message).toContain("kube-system/cilium-ca has no usable ca.crt and ca.key");
    await secrets().patch("cilium-ca", { data: theirs(given.key) }, { namespace });
    await start();
    await makeNode("n1");
    expect(certificateFacts(await text(nodeSecret("n1"), "tls.crt"))?.isSignedBy(given.certificate)).toBe(
      true,
    );
    expect(await text("cilium-ca", "ca.crt")).toBe(given.certificate);
  });
});
