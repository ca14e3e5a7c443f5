import { mkdtempSync, renameSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { waitFor } from "@axoneme/base";
import { type KubeObject, resources } from "@axoneme/kube";
import type {
  LoadBalancingStatus,
  MaglevView,
  MapStatView,
  NatPoolView,
  ServiceDetailView,
  ServiceTraceView,
  ServiceView,
} from "@axoneme/observe";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Outcome, root, run } from "./support/command.ts";
import { labName, port, TestLab, type TestPod, world } from "./support/lab.ts";

const name = labName("it-services-cli");
let lab: TestLab | undefined;
let pods: TestPod[];

const axon = (...args: readonly string[]): Promise<Outcome> =>
  run(join(root, "bin/axon"), [...args, "--lab", name]);

/** The JSON a command prints. */
async function json<T>(...args: readonly string[]): Promise<T> {
  const { code, stdout, stderr } = await axon(...args, "-o", "json");
  expect([args.join(" "), code, stderr]).toEqual([args.join(" "), 0, ""]);
  return JSON.parse(stdout) as T;
}

function service(of: string, spec: object, annotations: Record<string, string> = {}): KubeObject {
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: of, namespace: "default", annotations },
    spec: { selector: { app: "web" }, ipFamilyPolicy: "PreferDualStack", ...spec },
  } as KubeObject;
}

const http = { name: "http", port: 80, targetPort: Number(port), protocol: "TCP" };
const web = service("web", {
  type: "NodePort",
  ports: [{ ...http, nodePort: 30_080 }],
  externalTrafficPolicy: "Local",
  sessionAffinity: "ClientIP",
});
const hash = service("hash", { ports: [http] }, { "service.cilium.io/lb-algorithm": "maglev" });
const sctp = service("sctp", { ports: [{ ...http, protocol: "SCTP" }] });

beforeAll(async () => {
  const up = await TestLab.up(name, { nodes: 2 });
  lab = up;
  const labels = { app: "web" };
  pods = await up.pods(
    { name: "web-0", node: "node1", labels },
    { name: "web-1", node: "node2", labels },
    { name: "client", node: "node1" },
  );
  await up.serve(up.world);
  await up.apply(web, hash, sctp);
  await waitFor(
    async () => {
      const views = await json<ServiceView[]>("service", "list", "--name", "web");
      return views.filter(({ backends }) => backends.length > 0).length >= 10;
    },
    { timeoutMs: 20_000, everyMs: 100, what: "the Services on both nodes" },
  );
});
afterAll(() => TestLab.down(lab, name));

const given = (): TestLab => {
  if (!lab) throw new Error("there is no lab");
  return lab;
};
const pod = (of: string) => {
  const found = pods.find((candidate) => candidate.name === of);
  if (!found) throw new Error(`there is no pod ${of}`);
  return found;
};
const clusterIp = async (of: string) =>
  (await given().client.resource(resources.services).get(of, { namespace: "default" })).spec?.clusterIP ?? "";

describe("axon service", () => {
  it("list: each frontend with its backends, on every node", async () => {
    const views = await json<(ServiceView & { node: string })[]>("service", "list", "--name", "web");
    const wildcard = views.filter(
      ({ frontend, node }) => frontend?.address === "0.0.0.0" && node === "node1",
    );
    expect(wildcard.map(({ type, frontend, backends }) => [type, frontend?.scope, backends.length])).toEqual([
      ["NodePort", "external", 1],
      ["NodePort", "internal", 2],
    ]);
    const { stdout } = await axon("service", "list", "--node", "node1", "--name", "web");
    expect(stdout).toContain("0.0.0.0:30080/TCP");
  });

  it("list --problems: what is not programmed, and why; Kubernetes tells it as one event", async () => {
    const { code, stdout } = await axon("service", "list", "--problems");
    expect(code).toBe(1);
    expect(stdout).toMatch(/default\/sctp .* error: port 80\/SCTP: SCTP cannot change ports/);
    const events = given().client.resource(resources.events);
    const found = await waitFor(
      async () => {
        const { items } = await events.list({ namespace: "default" });
        const own = items.filter(({ involvedObject }) => involvedObject.name === "sctp");
        return own.length > 0 ? own : undefined;
      },
      { timeoutMs: 10_000, everyMs: 100, what: "the event" },
    );
    expect(found.map(({ type, reason }) => `${type} ${reason}`)).toEqual(["Warning NotProgrammed"]);
  });

  it("get: a Service as each node has it", async () => {
    const details = await json<(ServiceDetailView & { node: string })[]>("service", "get", "default/web");
    expect(details.map(({ node, status }) => `${node} ${status}`).sort()).toEqual([
      "node1 done",
      "node2 done",
    ]);
    const backends = details[0]?.frontends.flatMap((frontend) => frontend.backends.map(({ pod }) => pod));
    expect(new Set(backends)).toEqual(new Set(["default/web-0", "default/web-1"]));
    expect((await axon("service", "get", "none")).code).toBe(3);
  });

  it("trace: what a pod, the node and the world get, and what really comes", async () => {
    const ip = await clusterIp("web");
    const fromPod = await json<ServiceTraceView>("service", "trace", "default/client", `${ip}:80`);
    expect(fromPod).toMatchObject({
      verdict: "translated",
      path: { at: "socket" },
      service: { namespace: "default", name: "web" },
      frontend: { type: "ClusterIP", wildcard: false },
    });
    expect(fromPod.backends.map(({ pod: of, share, sees }) => [of, share, sees]).sort()).toEqual([
      ["default/web-0", 0.5, pod("client").v4],
      ["default/web-1", 0.5, pod("client").v4],
    ]);
    const { v4 } = given().node("node1");
    const dialled = `${v4}:30080`;
    const fromWorld = await json<ServiceTraceView>("service", "trace", "world", dialled, "--node", "node1");
    expect(fromWorld).toMatchObject({
      verdict: "translated",
      frontend: { type: "NodePort", wildcard: true, scope: "external" },
      policy: { name: "local" },
      backends: [{ pod: "default/web-0", local: true, share: 1, sees: "192.0.2.1" }],
    });
    expect(await given().reached(given().world, ["tcp", v4, "30080"])).toContain("web-0");
    const fromHost = await json<ServiceTraceView>(
      "service",
      "trace",
      "host",
      "127.0.0.1:30080",
      "--node",
      "node2",
    );
    expect(fromHost).toMatchObject({ frontend: { scope: "internal", wildcard: true } });
    const nothing = await json<ServiceTraceView>("service", "trace", "default/client", `${ip}:81`);
    expect(nothing.verdict).toBe("not-a-service");
    expect((await axon("service", "trace", "default/nobody", `${ip}:80`)).code).toBe(3);
  });

  it("trace: affinity is what the kernel remembers of the client", async () => {
    const ip = await clusterIp("web");
    const said = await given().reached(pod("client"), ["tcp", ip, "80"]);
    const had = said.includes("web-0") ? pod("web-0") : pod("web-1");
    const { affinity } = await json<ServiceTraceView>("service", "trace", pod("client").v4, `${ip}:80`);
    expect(affinity).toMatchObject({ honoured: true, backend: `${had.v4}:${port}`, timeoutS: 10_800 });
  });
});

describe("axon lb, bpf and status", () => {
  it("lb maglev: tables in the kernel, the same on both nodes", async () => {
    const tables = await json<(MaglevView & { node: string })[]>("lb", "maglev", "hash");
    expect(new Set(tables.map(({ node }) => node))).toEqual(new Set(["node1", "node2"]));
    for (const { size, backends } of tables)
      expect([size >= 251, backends.reduce((sum, { slots }) => sum + slots, 0)]).toEqual([true, size]);
    const of = (node: string) =>
      tables
        .filter((table) => table.node === node)
        .map(({ backends }) => backends.map(({ address, slots }) => `${address} ${slots}`).sort());
    expect(of("node1")).toEqual(of("node2"));
  });

  it("bpf stat: how full, and the port pools of each CPU", async () => {
    await given()
      .reached(pod("client"), ["tcp", world.v4, port])
      .catch(() => undefined);
    const [nat] = await json<MapStatView[]>("bpf", "nat", "stat", "--node", "node1");
    expect(nat?.pools?.[0]).toMatchObject({ cpu: 0, first: 32_768 });
    expect(nat?.pools?.at(-1)?.last).toBe(65_535);
    const sum = (of: (pool: NatPoolView) => number) =>
      nat?.pools?.reduce((total, pool) => total + of(pool), 0);
    expect(sum(({ allocated }) => allocated)).toBeGreaterThan(0);
    expect(sum(({ mappings }) => mappings)).toBeGreaterThan(0);
    const [lb] = await json<MapStatView[]>("bpf", "lb", "stat", "--node", "node1");
    const services = lb?.maps.find(({ name: of }) => of === "ax_services");
    expect(services?.entries).toBeGreaterThan(5);
    const { stdout } = await axon("bpf", "lb", "list", "--node", "node1");
    expect(stdout).toMatch(/0\.0\.0\.0:30080 .* NodePort,two-scopes,local-only/);
  });

  it("bpf flush: forgets, on the nodes named; connections can be made anew", async () => {
    const ip = await clusterIp("web");
    const { code, stdout } = await axon("bpf", "ct", "flush", "--yes", "--node", "node1");
    expect([code, stdout]).toEqual([0, expect.stringMatching(/^node1: removed \d+ of ax_ct\n$/)]);
    expect((await axon("bpf", "lb", "flush", "--yes")).stdout).toContain("of ax_affinity");
    await given().reached(pod("client"), ["tcp", ip, "80"]);
    expect((await axon("bpf", "ct", "flush")).code).toBe(2);
  });

  it("status: Services, problems, and how packets from outside are balanced", async () => {
    const nodes = await json<{ loadBalancing: LoadBalancingStatus }[]>("status");
    for (const { loadBalancing } of nodes) {
      expect(loadBalancing).toMatchObject({ problems: 1, algorithm: "random", mode: "snat", socket: true });
      expect(loadBalancing.acceleration).toHaveLength(1);
    }
  });

  it("sysdump: one archive with what every node and the API server tell, and no secret", async () => {
    const secret = { apiVersion: "v1", kind: "Secret", metadata: { name: "key", namespace: "default" } };
    await given().apply({ ...secret, stringData: { password: "correct-horse" } } as KubeObject);
    const directory = mkdtempSync(join(tmpdir(), "axon-sysdump-test-"));
    const file = join(directory, "dump.tar.gz");
    const socket = join(given().paths.nodeDir("node2"), "agent.sock");
    const unpacked = (path: string) => run("tar", ["-xzOf", file, `dump/${path}`]);
    try {
      // Nobody listens there, and nobody starts another as long as this one lives.
      renameSync(socket, `${socket}.away`);
      const { code, stdout } = await axon("sysdump", "--output-file", file);
      expect(code).toBe(0);
      expect(stdout).toMatch(/not there: nodes\/node2\/status\.json: .*agent/);
      expect(statSync(file).mode & 0o777).toBe(0o600);
      const manifest = JSON.parse((await unpacked("manifest.json")).stdout) as { isComplete: boolean };
      expect(manifest.isComplete).toBe(false);
      const status = JSON.parse((await unpacked("nodes/node1/status.json")).stdout) as object;
      expect(status).toMatchObject({ policyCIDRMatchMode: "address" });
      expect((await unpacked("nodes/node1/metrics.txt")).stdout).toContain("cilium_endpoint");
      expect((await unpacked("nodes/node1/flows.jsonl")).stdout).toContain('"verdict"');
      expect((await unpacked("nodes/node2/agent.log")).stdout).toContain('"msg"');
      expect((await unpacked("cluster/services.json")).stdout).toContain('"name": "web"');
      const everything = (await run("tar", ["-xzOf", file])).stdout;
      expect(everything).not.toContain(Buffer.from("correct-horse").toString("base64"));
      expect(everything).not.toContain("correct-horse");
    } finally {
      renameSync(`${socket}.away`, socket);
      rmSync(directory, { recursive: true });
    }
  });
});
