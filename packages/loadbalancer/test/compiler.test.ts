import { formatIp, parseIp } from "@axoneme/base";
import { describe, expect, it } from "vitest";
import { ServiceCompiler, ServiceFlag } from "../src/index.ts";
import { Maps } from "./maps.ts";
import { type Endpoint, endpoint, ingress, service, slice, table } from "./objects.ts";

const web = service("web", { clusterIPs: ["10.96.0.1"], ports: [{ port: 80, protocol: "TCP" }] });

describe("ServiceCompiler", () => {
  it("pairs ports by name and protocol, families by address", () => {
    const compiler = new ServiceCompiler();
    const maps = new Maps();
    const ports = [
      { name: "http", port: 80, protocol: "TCP" },
      { name: "dns", port: 53, protocol: "UDP" },
    ];
    maps.apply(compiler.upsertService(service("web", { clusterIPs: ["10.96.0.1", "fd00::1"], ports })));
    const targets = [
      { name: "dns", port: 5353, protocol: "UDP" },
      { name: "http", port: 8080, protocol: "TCP" },
    ];
    maps.apply(
      compiler.upsertSlice(slice("v4", "web", [endpoint("10.0.0.2"), endpoint("10.0.0.1")], targets)),
    );
    maps.apply(compiler.upsertSlice(slice("v6", "web", [endpoint("fd10::1")], targets)));
    expect(table(compiler)).toEqual({
      "10.96.0.1:80/6": ["10.0.0.1:8080", "10.0.0.2:8080"],
      "10.96.0.1:53/17": ["10.0.0.1:5353", "10.0.0.2:5353"],
      "fd00::1:80/6": ["fd10::1:8080"],
      "fd00::1:53/17": ["fd10::1:5353"],
    });
    expect(compiler.serviceAt({ addr: parseIp("fd00::1"), port: 53, proto: 0, scope: 0 })).toEqual({
      namespace: "shop",
      name: "web",
    });
  });

  it.each<[string, Endpoint[], string[]]>([
    ["ready ones only", [endpoint("10.0.0.1"), endpoint("10.0.0.2", { ready: false })], ["10.0.0.1:8080"]],
    ["those without conditions", [endpoint("10.0.0.1", {})], ["10.0.0.1:8080"]],
    [
      "no terminating one beside a ready one",
      [endpoint("10.0.0.1"), endpoint("10.0.0.2", { ready: false, serving: true, terminating: true })],
      ["10.0.0.1:8080"],
    ],
    [
      "terminating ones that serve when nothing is ready",
      [
        endpoint("10.0.0.1", { ready: false, serving: false, terminating: true }),
        endpoint("10.0.0.2", { ready: false, serving: true, terminating: true }),
        endpoint("10.0.0.3", { ready: false, serving: true }),
      ],
      ["10.0.0.2:8080"],
    ],
    ["nothing when nothing serves", [endpoint("10.0.0.1", { ready: false })], []],
  ])("uses %s", (_, endpoints, want) => {
    const compiler = new ServiceCompiler();
    compiler.upsertService(web);
    compiler.upsertSlice(slice("s", "web", endpoints));
    expect(table(compiler)).toEqual({ "10.96.0.1:80/6": want });
  });

  it("counts a pod of both families as one local endpoint of a health check", () => {
    const compiler = new ServiceCompiler({ node: { name: "n1" } });
    compiler.upsertService(
      service("web", {
        type: "LoadBalancer",
        clusterIPs: ["10.96.0.1", "fd00::1"],
        externalTrafficPolicy: "Local",
        healthCheckNodePort: 32_000,
        ports: [{ port: 80, protocol: "TCP" }],
      }),
    );
    compiler.upsertSlice(slice("v4", "web", [endpoint("10.0.0.1"), endpoint("10.0.1.2", {}, "n2")]));
    compiler.upsertSlice(slice("v6", "web", [endpoint("fd10::1"), endpoint("fd10:1::2", {}, "n2")]));
    expect(compiler.healthChecks()).toMatchObject([{ port: 32_000, localEndpoints: 1 }]);
  });

  it("keeps the row of a backend that drains, until its endpoint goes", () => {
    const compiler = new ServiceCompiler();
    const maps = new Maps();
    maps.apply(compiler.upsertService(web));
    maps.apply(compiler.upsertSlice(slice("s", "web", [endpoint("10.0.0.1"), endpoint("10.0.0.2")])));
    const drains = endpoint("10.0.0.2", { ready: false, serving: true, terminating: true });
    maps.apply(compiler.upsertSlice(slice("s", "web", [endpoint("10.0.0.1"), drains])));
    expect([...maps.backends.values()].map(({ addr, state }) => [formatIp(addr), state])).toEqual([
      ["10.0.0.1", 0],
      ["10.0.0.2", 1],
    ]);
    expect([...maps.services.values()][0]?.row.count).toBe(1);
    maps.apply(compiler.upsertSlice(slice("s", "web", [endpoint("10.0.0.1")])));
    expect(maps.backends.size).toBe(1);
  });

  it("flips by one write to a fresh list, and writes nothing when nothing changed", () => {
    const compiler = new ServiceCompiler();
    compiler.upsertService(web);
    const first = compiler.upsertSlice(slice("s", "web", [endpoint("10.0.0.1")]));
    expect(first.map(({ op }) => op)).toEqual(["put-backend", "put-slots", "put-service"]);
    expect(compiler.upsertSlice(slice("s", "web", [endpoint("10.0.0.1")]))).toEqual([]);
    const next = compiler.upsertSlice(slice("s", "web", [endpoint("10.0.0.2")]));
    expect(next.map(({ op }) => op)).toEqual(["put-backend", "put-slots", "put-service", "delete-backend"]);
  });

  it("serves NodePort, LoadBalancer and external addresses, with both scopes under externalTrafficPolicy Local", () => {
    const compiler = new ServiceCompiler({ node: { name: "n1" } });
    const spec = {
      type: "LoadBalancer",
      clusterIPs: ["10.96.0.1"],
      externalIPs: ["198.51.100.1"],
      externalTrafficPolicy: "Local",
      ports: [{ port: 80, nodePort: 30080 }],
    };
    compiler.upsertService(service("web", spec, { status: ingress("203.0.113.1") }));
    compiler.upsertSlice(slice("s", "web", [endpoint("10.0.0.1", {}, "n1"), endpoint("10.0.0.2", {}, "n2")]));
    const local = ["10.0.0.1:8080"];
    const all = [...local, "10.0.0.2:8080"];
    expect(table(compiler)).toEqual({
      "10.96.0.1:80/6": all,
      "0.0.0.0:30080/6": local,
      "0.0.0.0:30080/6/i": all,
      "198.51.100.1:80/6": local,
      "198.51.100.1:80/6/i": all,
      "203.0.113.1:80/6": local,
      "203.0.113.1:80/6/i": all,
    });
    expect(compiler.setNode({ name: "n2" }).map(({ op }) => op)).toContain("put-service");
    expect(table(compiler)["0.0.0.0:30080/6"]).toEqual(["10.0.0.2:8080"]);
  });

  it("leaves alone what is headless, external or another proxy's", () => {
    const compiler = new ServiceCompiler();
    const ports = [{ port: 80 }];
    expect(compiler.upsertService(service("a", { clusterIP: "None", clusterIPs: ["None"], ports }))).toEqual(
      [],
    );
    expect(compiler.upsertService(service("b", { type: "ExternalName", ports }))).toEqual([]);
    const labels = { "service.kubernetes.io/service-proxy-name": "other" };
    const foreign = service("c", { clusterIPs: ["10.96.0.9"], ports });
    expect(compiler.upsertService({ ...foreign, metadata: { ...foreign.metadata, labels } })).toEqual([]);
  });

  it("says affinity and its default of three hours", () => {
    const compiler = new ServiceCompiler();
    compiler.upsertService(
      service("web", { clusterIPs: ["10.96.0.1"], sessionAffinity: "ClientIP", ports: [{ port: 80 }] }),
    );
    const [view] = [...compiler.views()];
    expect(view?.row).toMatchObject({
      affinityTimeoutS: 10_800,
      flags: ServiceFlag.clusterIp | ServiceFlag.affinity,
    });
  });

  it("gives an address two Services claim to the first by name, and to the other once that goes", () => {
    const compiler = new ServiceCompiler();
    const spec = { clusterIPs: [], externalIPs: ["198.51.100.1"], ports: [{ port: 80 }] };
    compiler.upsertService(service("b", spec));
    compiler.upsertService(service("a", spec));
    expect([...compiler.views()].map(({ name }) => name)).toEqual(["a"]);
    compiler.deleteService("shop", "a");
    expect([...compiler.views()].map(({ name }) => name)).toEqual(["b"]);
  });

  it("goes on after a restart without a write, and never empties a service while slices are still being listed", () => {
    const maps = new Maps();
    const before = new ServiceCompiler();
    maps.apply(before.upsertService(web));
    maps.apply(before.upsertSlice(slice("s", "web", [endpoint("10.0.0.1"), endpoint("10.0.0.2")])));
    const after = new ServiceCompiler();
    after.restore(maps.rows());
    expect(after.upsertService(web)).toEqual([]);
    expect(after.upsertSlice(slice("s", "web", [endpoint("10.0.0.1"), endpoint("10.0.0.2")]))).toEqual([]);
    expect(after.prune()).toEqual([]);
    expect(after.upsertSlice(slice("s", "web", [endpoint("10.0.0.1")])).map(({ op }) => op)).toEqual([
      "put-slots",
      "put-service",
      "delete-backend",
    ]);
  });
});
