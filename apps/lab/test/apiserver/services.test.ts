import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Answer, TestServer } from "./harness.ts";

/** Services of every type, as Kubernetes allots, defaults and refuses. */

let server: TestServer;
beforeAll(async () => {
  server = await TestServer.start({ serviceCidrs: ["10.96.0.0/16", "fd96::/112"] });
});
afterAll(() => server.stop());

const path = "/api/v1/namespaces/default/services";
let count = 0;

async function make(spec: object, name = `s${count++}`): Promise<Answer> {
  return server.post(path, { metadata: { name }, spec: { ports: [{ port: 80 }], ...spec } });
}

/** The spec of a Service that must be accepted. */
// biome-ignore lint/suspicious/noExplicitAny: tests look into objects of every kind.
async function made(spec: object, name?: string): Promise<any> {
  const { status, body } = await make(spec, name);
  expect(status, JSON.stringify(body)).toBe(201);
  return body.spec;
}

async function patched(name: string, spec: object): Promise<Answer> {
  return server.patch(`${path}/${name}`, "merge", { spec });
}

describe("node ports", () => {
  test("each port gets one of the range; the same port of two protocols shares it", async () => {
    const ports = [
      { name: "dns", port: 53, protocol: "UDP" },
      { name: "dns-tcp", port: 53, protocol: "TCP" },
      { name: "sctp", port: 53, protocol: "SCTP" },
      { name: "metrics", port: 9153 },
    ];
    const spec = await made({ type: "NodePort", ports });
    const numbers = spec.ports.map((port: { nodePort: number }) => port.nodePort);
    for (const number of numbers) expect(number).toBeGreaterThanOrEqual(30_000);
    for (const number of numbers) expect(number).toBeLessThanOrEqual(32_767);
    expect(numbers.slice(0, 3)).toEqual([numbers[0], numbers[0], numbers[0]]);
    expect(new Set(numbers).size).toBe(2);
  });

  test("a number is one Service's in all protocols, and one port's of a protocol", async () => {
    await made({ type: "NodePort", ports: [{ port: 1, nodePort: 31_500 }] }, "holder");
    const other = await make({ type: "NodePort", ports: [{ port: 1, protocol: "UDP", nodePort: 31_500 }] });
    expect(other.body.message).toMatch(
      /spec\.ports\[0\]\.nodePort: Invalid value: 31500: provided port is already allocated/,
    );
    const twice = await make({
      type: "NodePort",
      ports: [
        { name: "a", port: 1, nodePort: 31_501 },
        { name: "b", port: 2, nodePort: 31_501 },
      ],
    });
    expect(twice.body.message).toMatch(/spec\.ports\[1\]\.nodePort: Duplicate value: 31501/);
    await server.request("DELETE", `${path}/holder`);
    await made({ type: "NodePort", ports: [{ port: 1, protocol: "UDP", nodePort: 31_500 }] });
  });

  test("what a refused Service would have taken is free", async () => {
    await made({ type: "NodePort", ports: [{ port: 1, nodePort: 31_600 }] });
    const ports = [
      { name: "a", port: 1, nodePort: 31_601 },
      { name: "b", port: 2, nodePort: 31_600 },
    ];
    expect((await make({ type: "NodePort", ports })).status).toBe(422);
    await made({ type: "NodePort", ports: [{ port: 1, nodePort: 31_601 }] }, "free");
    const grow = [
      { name: "a", port: 1, nodePort: 31_601 },
      { name: "b", port: 2, nodePort: 31_602 },
      { name: "c", port: 3, nodePort: 31_600 },
    ];
    expect((await patched("free", { ports: grow })).status).toBe(422);
    await made({ type: "NodePort", ports: [{ port: 1, nodePort: 31_602 }] });
  });

  test("a port keeps its number by its name when its other fields change", async () => {
    const { ports } = await made({ type: "NodePort", ports: [{ name: "http", port: 80 }] }, "keeps");
    const { body } = await server.request("PUT", `${path}/keeps`, {
      metadata: { name: "keeps" },
      spec: {
        type: "NodePort",
        ports: [
          { name: "new", port: 81 },
          { name: "http", port: 8080 },
        ],
      },
    });
    expect(body.spec.ports[1].nodePort).toBe(ports[0].nodePort);
    expect(body.spec.ports[0].nodePort).not.toBe(ports[0].nodePort);
  });

  test("ClusterIP Services have none", async () => {
    const { body } = await make({ ports: [{ port: 1, nodePort: 31_700 }] });
    expect(body.message).toMatch(/nodePort: Forbidden: may not be used when `type` is 'ClusterIP'/);
  });
});

describe("load balancers", () => {
  test("defaults", async () => {
    expect(await made({ type: "LoadBalancer" })).toMatchObject({
      allocateLoadBalancerNodePorts: true,
      externalTrafficPolicy: "Cluster",
      internalTrafficPolicy: "Cluster",
      sessionAffinity: "None",
    });
  });

  test("without node ports, unless one is asked for; turning them off keeps those there are", async () => {
    const off = { type: "LoadBalancer", allocateLoadBalancerNodePorts: false };
    expect((await made(off)).ports[0].nodePort).toBeUndefined();
    expect((await made({ ...off, ports: [{ port: 1, nodePort: 31_800 }] })).ports[0].nodePort).toBe(31_800);
    expect((await make({ type: "NodePort", ports: [{ port: 1, nodePort: 31_800 }] })).status).toBe(422);
    const before = await made({ type: "LoadBalancer" }, "turned-off");
    const { body } = await patched("turned-off", { allocateLoadBalancerNodePorts: false });
    expect(body.spec.ports).toEqual(before.ports);
  });

  test("externalTrafficPolicy Local gets a port for health checks, kept, and released with the policy", async () => {
    const spec = await made({ type: "LoadBalancer", externalTrafficPolicy: "Local" }, "local");
    expect(spec.healthCheckNodePort).toBeGreaterThanOrEqual(30_000);
    expect(spec.healthCheckNodePort).not.toBe(spec.ports[0].nodePort);
    const { body } = await patched("local", { ports: [{ port: 81 }] });
    expect(body.spec.healthCheckNodePort).toBe(spec.healthCheckNodePort);
    expect((await patched("local", { healthCheckNodePort: 31_901 })).body.message).toMatch(
      /field is immutable/,
    );
    const cluster = await patched("local", { externalTrafficPolicy: "Cluster" });
    expect(cluster.body.spec.healthCheckNodePort).toBeUndefined();
    await made({ type: "NodePort", ports: [{ port: 1, nodePort: spec.healthCheckNodePort }] });
  });

  test("a port for health checks may be asked for, where there is a use for it", async () => {
    const local = { type: "LoadBalancer", externalTrafficPolicy: "Local", healthCheckNodePort: 31_900 };
    expect((await made(local)).healthCheckNodePort).toBe(31_900);
    expect((await make(local)).body.message).toMatch(
      /healthCheckNodePort: Invalid value: 31900: provided port is already/,
    );
    expect((await make({ ...local, type: "NodePort" })).body.message).toMatch(
      /may only be set when `type` is 'LoadBalancer'/,
    );
  });

  test("loadBalancerClass is set once, and goes with the type", async () => {
    await made({ type: "LoadBalancer", loadBalancerClass: "io.cilium/l2-announcer" }, "class");
    const changed = await patched("class", { loadBalancerClass: "example.com/other" });
    expect(changed.body.message).toMatch(
      /loadBalancerClass: Invalid value: "example.com\/other": may not change once set/,
    );
    const { body } = await patched("class", { type: "ClusterIP" });
    expect(body.spec).not.toHaveProperty("loadBalancerClass");
    expect(body.spec).not.toHaveProperty("allocateLoadBalancerNodePorts");
    expect((await make({ loadBalancerClass: "a/b" })).body.message).toMatch(
      /may only be used when `type` is 'LoadBalancer'/,
    );
  });

  test("source ranges are prefixes, of load balancers alone", async () => {
    await made({ type: "LoadBalancer", loadBalancerSourceRanges: ["10.0.0.0/8", "fd00::/8"] });
    expect((await make({ type: "LoadBalancer", loadBalancerSourceRanges: ["10.0.0.1"] })).status).toBe(422);
    expect((await make({ type: "NodePort", loadBalancerSourceRanges: ["10.0.0.0/8"] })).status).toBe(422);
  });

  test("the status takes addresses with their mode, VIP by default, and conditions", async () => {
    await made({ type: "LoadBalancer" }, "addressed");
    const set = (ingress: object[]) =>
      server.patch(`${path}/addressed/status`, "merge", { status: { loadBalancer: { ingress } } });
    const { body } = await set([
      { ip: "192.0.2.1" },
      { ip: "192.0.2.2", ipMode: "Proxy" },
      { hostname: "a.example" },
    ]);
    expect(body.status.loadBalancer.ingress).toEqual([
      { ip: "192.0.2.1", ipMode: "VIP" },
      { ip: "192.0.2.2", ipMode: "Proxy" },
      { hostname: "a.example" },
    ]);
    expect((await set([{ ip: "192.0.2.1", ipMode: "Other" }])).status).toBe(422);
    expect((await set([{ ip: "192.0.2.300" }])).status).toBe(422);
    expect((await set([{ hostname: "a", ipMode: "VIP" }])).status).toBe(422);
    const after = await patched("addressed", { externalTrafficPolicy: "Local" });
    expect(after.body.status).toEqual(body.status);
  });
});

describe("changes of type", () => {
  test("release what the former type had, and allot what the new one has", async () => {
    const first = await made({ type: "LoadBalancer", externalTrafficPolicy: "Local" }, "changing");
    const plain = (await patched("changing", { type: "ClusterIP" })).body.spec;
    expect(plain.clusterIP).toBe(first.clusterIP);
    for (const field of ["externalTrafficPolicy", "healthCheckNodePort", "allocateLoadBalancerNodePorts"])
      expect(plain).not.toHaveProperty(field);
    expect(plain.ports[0]).not.toHaveProperty("nodePort");
    await made({ type: "NodePort", ports: [{ port: 1, nodePort: first.ports[0].nodePort }] });
    const again = (await patched("changing", { type: "NodePort" })).body.spec;
    expect(again.ports[0].nodePort).not.toBe(first.ports[0].nodePort);
    const name = (await patched("changing", { type: "ExternalName", externalName: "example.com" })).body.spec;
    for (const field of ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"])
      expect(name).not.toHaveProperty(field);
    expect((await make({ clusterIP: first.clusterIP })).status).toBe(201);
    const back = (await patched("changing", { type: "ClusterIP", externalName: null })).body.spec;
    expect(back.clusterIP).not.toBe(first.clusterIP);
    expect(back.internalTrafficPolicy).toBe("Cluster");
  });

  test("from one family to two and back: the first address stays", async () => {
    const single = await made({}, "families");
    const dual = (await patched("families", { ipFamilyPolicy: "PreferDualStack" })).body.spec;
    expect(dual).toMatchObject({ clusterIP: single.clusterIP, ipFamilies: ["IPv4", "IPv6"] });
    expect(dual.clusterIPs).toHaveLength(2);
    expect((await patched("families", { ipFamilies: ["IPv6", "IPv4"] })).body.message).toMatch(
      /may not change once set/,
    );
    const back = (await patched("families", { ipFamilyPolicy: "SingleStack" })).body.spec;
    expect(back).toMatchObject({ clusterIPs: [single.clusterIP], ipFamilies: ["IPv4"] });
    await made({ clusterIPs: [dual.clusterIPs[1]], ipFamilies: ["IPv6"] });
  });

  test("headless without selector: either family; with one: the cluster's first", async () => {
    const headless = { clusterIP: "None" };
    expect(await made(headless)).toMatchObject({
      ipFamilies: ["IPv4", "IPv6"],
      ipFamilyPolicy: "RequireDualStack",
    });
    expect(await made({ ...headless, selector: { a: "b" } })).toMatchObject({
      ipFamilies: ["IPv4"],
      ipFamilyPolicy: "SingleStack",
    });
    expect((await make({ ...headless, type: "NodePort" })).status).toBe(422);
    expect((await made({ ...headless, ports: [] })).ports).toEqual([]);
  });
});

describe("other fields", () => {
  test("session affinity: the timeout has a default and bounds, and goes with the affinity", async () => {
    const spec = await made({ sessionAffinity: "ClientIP" }, "sticky");
    expect(spec.sessionAffinityConfig).toEqual({ clientIP: { timeoutSeconds: 10_800 } });
    const timeout = (timeoutSeconds: number) =>
      make({ sessionAffinity: "ClientIP", sessionAffinityConfig: { clientIP: { timeoutSeconds } } });
    expect([(await timeout(1)).status, (await timeout(86_400)).status]).toEqual([201, 201]);
    expect([(await timeout(0)).status, (await timeout(86_401)).status]).toEqual([422, 422]);
    expect((await patched("sticky", { sessionAffinity: "None" })).body.spec).not.toHaveProperty(
      "sessionAffinityConfig",
    );
  });

  test("external addresses make a ClusterIP Service externally accessible; some are refused", async () => {
    expect(await made({ externalIPs: ["192.0.2.10", "2001:db8::10"] })).toMatchObject({
      externalTrafficPolicy: "Cluster",
    });
    for (const address of ["127.0.0.1", "169.254.1.1", "0.0.0.0", "::1", "fe80::1", "224.0.0.1", "ten"])
      expect((await make({ externalIPs: [address] })).status, address).toBe(422);
    expect((await make({ externalTrafficPolicy: "Local" })).body.message).toMatch(/externally-accessible/);
  });

  test.each([
    ["trafficDistribution", { trafficDistribution: "PreferSameNode" }, 201],
    ["an unknown trafficDistribution", { trafficDistribution: "Nearest" }, 422],
    ["an unknown internalTrafficPolicy", { internalTrafficPolicy: "Near" }, 422],
    ["SCTP", { ports: [{ port: 1, protocol: "SCTP", targetPort: "sig" }] }, 201],
    ["an unknown protocol", { ports: [{ port: 1, protocol: "ICMP" }] }, 422],
    ["a target port whose name is too long", { ports: [{ port: 1, targetPort: "a-name-beyond-15" }] }, 422],
    [
      "an ExternalName with an address",
      { type: "ExternalName", externalName: "a.b", clusterIP: "10.96.1.1" },
      422,
    ],
    ["no port", { ports: [] }, 422],
  ])("%s", async (_title, spec, status) => {
    expect((await make(spec)).status).toBe(status);
  });

  test("slices keep hints for zones and nodes", async () => {
    const hints = { forNodes: [{ name: "n1" }], forZones: [{ name: "z1" }] };
    const slice = {
      metadata: { name: "hinted" },
      addressType: "IPv4",
      endpoints: [{ addresses: ["10.0.0.1"], hints }],
      ports: [{ name: "sig", port: 3868, protocol: "SCTP" }],
    };
    const { body } = await server.post("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", slice);
    expect(body.endpoints[0].hints).toEqual(hints);
  });

  test("what is held is known after a restart", async () => {
    const local = { type: "LoadBalancer", externalTrafficPolicy: "Local" };
    const spec = await made(local, "stays");
    await server.restart();
    for (const nodePort of [spec.healthCheckNodePort, spec.ports[0].nodePort])
      expect((await make({ type: "NodePort", ports: [{ port: 1, nodePort }] })).status).toBe(422);
    expect((await make({ clusterIP: spec.clusterIP })).status).toBe(422);
  });

  test("kubectl shows them", async () => {
    const get = async (...args: string[]): Promise<string> => (await server.kubectl(args)).stdout;
    await made(
      {
        type: "LoadBalancer",
        loadBalancerClass: "a/b",
        externalTrafficPolicy: "Local",
        sessionAffinity: "ClientIP",
      },
      "shown",
    );
    const patch = { status: { loadBalancer: { ingress: [{ ip: "192.0.2.1" }] } } };
    await server.patch(`${path}/shown/status`, "merge", patch);
    expect(await get("get", "svc", "shown")).toMatch(
      /shown +LoadBalancer +10\.96\.\S+ +192\.0\.2\.1 +80:3\d{4}\/TCP/,
    );
    const text = await get("describe", "svc", "shown");
    expect(text).toMatch(/LoadBalancer Ingress: +192\.0\.2\.1 \(VIP\)/);
    expect(text).toMatch(/External Traffic Policy: +Local\n/);
    expect(text).toMatch(/HealthCheck NodePort: +3\d{4}\n/);
    expect(text).toMatch(/Session Affinity: +ClientIP\n/);
  }, 30_000);
});
