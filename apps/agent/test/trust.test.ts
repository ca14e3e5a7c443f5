import { mkdtempSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { hostPrefix, parseIp } from "@axoneme/base";
import {
  IdentityCache,
  Ipcache,
  LocalIdentities,
  NodeIdentities,
  reserved,
  reservedLabels,
} from "@axoneme/identity";
import type { KubeClient } from "@axoneme/kube";
import { ServiceCompiler } from "@axoneme/loadbalancer";
import { describe, expect, test } from "vitest";
import { ApiServer } from "../src/api-server.ts";
import { Meters } from "../src/metrics/meters.ts";
import { RemoteEndpoints } from "../src/remote-endpoints.ts";
import { createResolver } from "../src/resolver.ts";
import { IdentityAllocator } from "../src/state/identities.ts";
import type { PolicyModule } from "../src/state/policy.ts";
import { linesOf, quiet } from "./logger.ts";
import { asPublished } from "./pod-identities.ts";

/** What objects of the API may not say, and what callers of the agent may not cause. */

const noPorts = {
  setPeerPorts: () => undefined,
  deletePeerPorts: () => undefined,
} as unknown as PolicyModule;

describe("CiliumEndpoint", () => {
  const ip = hostPrefix(parseIp("10.9.9.9"));
  const learn = (identity: number) => {
    const ipcache = new Ipcache();
    const remote = new RemoteEndpoints({
      ipcache,
      ipcacheWriter: { flush: () => undefined },
      policy: noPorts,
      podIdentities: asPublished(),
      isOwn: () => false,
      wayTo: () => ({}),

      podWays: { place: () => undefined, forget: () => undefined },
    });
    remote.open({ carryAddress: () => undefined });
    remote.handlers().onAdd?.({
      key: "cep/mine",
      metadata: { namespace: "default", name: "x" },
      identity,
      labels: undefined,
      node: "172.30.0.2",
      ips: ["10.9.9.9"],
      namedPorts: [],
    });
    return ipcache.get(ip)?.identity;
  };

  test.each([
    ["the host", reserved.host],
    ["another node", reserved.remoteNode],
    ["the API server", reserved.kubeApiserver],
    ["the world", reserved.world],
    ["a CIDR of its node", 0x0100_0001],
    ["a class of its node", 0x0300_0001],
    ["nobody", 0],
  ])("an address cannot claim to be %s", (_, identity) => {
    expect(learn(identity)).toBeUndefined();
  });

  test.each([
    ["of the cluster", 4711],
    ["init", reserved.init],
    ["health", reserved.health],
  ])("an identity %s is believed", (_, identity) => {
    expect(learn(identity)).toBe(identity);
  });
});

describe("CiliumIdentity", () => {
  const object = (name: string, labels: Record<string, string>) => ({
    apiVersion: "cilium.io/v2",
    kind: "CiliumIdentity",
    metadata: { name },
    "security-labels": labels,
  });

  test("reserved numbers keep their meaning, whatever objects say of them", () => {
    const cache = new IdentityCache();
    const handlers = new IdentityAllocator(cache, {} as KubeClient, quiet).handlers();
    const impostor = object("1", { "k8s:app": "trusted" });
    handlers.onAdd?.(impostor);
    expect(cache.lookup({ "k8s:app": "trusted" })).toBeUndefined();
    handlers.onDelete?.(impostor);
    expect(cache.get(reserved.host)?.labels).toEqual(reservedLabels(reserved.host));
    handlers.onAdd?.(object("4711", { "k8s:app": "trusted" }));
    expect(cache.lookup({ "k8s:app": "trusted" })).toBe(4711);
  });
});

test("the number of a CIDR that means another one by now has the other's labels in flows", () => {
  const localIdentities = new LocalIdentities({ dualStack: false });
  const cidr = (text: string) => hostPrefix(parseIp(text));
  const resolver = createResolver({
    nodeName: "n",
    clusterName: "default",
    endpoints: { get: () => undefined },
    identities: new IdentityCache(),
    localIdentities,
    nodeIdentities: new NodeIdentities(),
    podIdentities: { labelsOf: () => undefined },
    ipcache: new Ipcache(),
    services: new ServiceCompiler(),
    servesNodePorts: () => false,
    ruleById: () => undefined,
    interfaceName: () => undefined,
    namesOf: () => undefined,
    processById: () => undefined,
  });
  const { id } = localIdentities.acquire(cidr("192.0.2.1"));
  expect(resolver.identityById(id)?.labels.join()).toContain("192.0.2.1");
  localIdentities.release(cidr("192.0.2.1"));
  localIdentities.restore(cidr("192.0.2.7"), id);
  expect(resolver.identityById(id)?.labels.join()).toContain("192.0.2.7");
});

describe("agent API", () => {
  test.each(["GET /v1/endpoints/%ff", "GET //", "GET /../%"])(
    "%s is the caller's mistake",
    async (target) => {
      const dir = mkdtempSync(join(tmpdir(), "axapi-"));
      const log = linesOf("error");
      const routes = new Map([["/v1/endpoints", () => ({ json: [] })]]);
      const server = new ApiServer("api", { path: join(dir, "sock") }, routes, new Meters(), log.logger);
      await server.start({ ok: () => undefined, degraded: () => undefined, failed: () => undefined });
      try {
        const status = await new Promise<string>((resolve, reject) => {
          const socket = connect(join(dir, "sock"), () =>
            socket.end(`${target} HTTP/1.1\r\nHost: x\r\n\r\n`),
          );
          socket.once("data", (data) => resolve(data.toString().slice(9, 12)));
          socket.once("error", reject);
        });
        expect(status).toMatch(/^4/);
        expect(log.lines).toEqual([]);
      } finally {
        await server.stop();
        rmSync(dir, { recursive: true, force: true });
      }
    },
  );
});
