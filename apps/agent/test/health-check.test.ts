import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { Health } from "@axoneme/app";
import { waitFor } from "@axoneme/base";
import { afterEach, describe, expect, it } from "vitest";
import { HealthCheckServers } from "../src/lb/health-check.ts";
import { type ProxyHealth, ProxyHealthz } from "../src/lb/healthz.ts";
import { quiet } from "./logger.ts";

const cleanup: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const undo of cleanup.splice(0)) await undo();
});

/** A port that was free a moment ago. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, "::");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

function servers(counts: Record<string, number>) {
  const problems = new Map<string, string | undefined>();
  const checks = new HealthCheckServers({
    localEndpoints: (namespace, name) => counts[`${namespace}/${name}`] ?? 0,
    serves: (address) => !address.includes("127.0.0.2"),
    onProblem: (service, problem) => problems.set(service, problem),
    log: quiet,
  });
  cleanup.push(() => checks.stop());
  return { checks, problems };
}

const opened = (problems: Map<string, string | undefined>, key: string) =>
  waitFor(() => problems.has(key) && problems.get(key) === undefined, { timeoutMs: 5000, what: "the port" });

describe("healthCheckNodePort", () => {
  it("answers as kube-proxy does, with what is true at the moment", async () => {
    const counts = { "default/web": 2 };
    const { checks, problems } = servers(counts);
    const port = await freePort();
    checks.set("default/web", { namespace: "default", name: "web", port });
    await opened(problems, "default/web");
    const up = await fetch(`http://127.0.0.1:${port}/`);
    expect([up.status, up.headers.get("x-load-balancing-endpoint-weight")]).toEqual([200, "2"]);
    expect(up.headers.get("content-type")).toBe("application/json");
    expect(await up.json()).toEqual({
      service: { namespace: "default", name: "web" },
      localEndpoints: 2,
      serviceProxyHealthy: true,
    });
    counts["default/web"] = 0;
    const down = await fetch(`http://[::1]:${port}/healthz`);
    expect([down.status, down.headers.get("x-load-balancing-endpoint-weight")]).toEqual([503, "0"]);
    await expect(fetch(`http://127.0.0.2:${port}/`)).rejects.toThrow();
  });

  it("closes with the Service, and moves with its port", async () => {
    const { checks, problems } = servers({ "default/web": 1 });
    const [first, second] = [await freePort(), await freePort()];
    checks.set("default/web", { namespace: "default", name: "web", port: first });
    await opened(problems, "default/web");
    problems.clear();
    checks.set("default/web", { namespace: "default", name: "web", port: second });
    await opened(problems, "default/web");
    expect((await fetch(`http://127.0.0.1:${second}/`)).status).toBe(200);
    await expect(fetch(`http://127.0.0.1:${first}/`)).rejects.toThrow();
    checks.set("default/web", undefined);
    expect(checks.size).toBe(0);
    await expect(fetch(`http://127.0.0.1:${second}/`)).rejects.toThrow();
  });

  it("a port somebody else has is a problem of the Service, until it is free", async () => {
    const { checks, problems } = servers({ "default/web": 1 });
    const other = createServer().listen(0, "::");
    await once(other, "listening");
    const { port } = other.address() as AddressInfo;
    checks.set("default/web", { namespace: "default", name: "web", port });
    await waitFor(() => problems.get("default/web"), { timeoutMs: 5000, what: "the problem" });
    expect(problems.get("default/web")).toBe(
      `healthCheckNodePort ${port} cannot be opened: another process listens on it`,
    );
    other.close();
    await opened(problems, "default/web");
    expect((await fetch(`http://127.0.0.1:${port}/`)).status).toBe(200);
  });
});

describe("kube-proxy's healthz", () => {
  it("says whether rows follow the API, and whether load balancers should stay", async () => {
    const port = await freePort();
    let state: ProxyHealth = { healthy: true, lastUpdated: new Date(1000), eligible: true };
    const healthz = new ProxyHealthz({ host: "127.0.0.1", port }, () => state);
    await healthz.start(new Health().reporter("healthz"));
    cleanup.push(() => healthz.stop());
    const get = (path: string) => fetch(`http://127.0.0.1:${port}${path}`);
    const good = await get("/healthz");
    expect(good.status).toBe(200);
    expect(await good.json()).toMatchObject({
      lastUpdated: new Date(1000).toISOString(),
      nodeEligible: true,
    });
    state = { ...state, eligible: false };
    expect((await get("/healthz")).status).toBe(503);
    expect((await get("/livez")).status).toBe(200);
    state = { ...state, healthy: false, eligible: true };
    expect((await get("/healthz")).status).toBe(503);
    expect((await get("/livez")).status).toBe(503);
    expect((await get("/other")).status).toBe(404);
  });
});
