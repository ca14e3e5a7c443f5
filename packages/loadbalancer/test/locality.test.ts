import { describe, expect, it } from "vitest";
import { ServiceCompiler, ServiceFlag, type ServiceObject } from "../src/index.ts";
import { type Endpoint, endpoint, service, slice, viewOf } from "./objects.ts";

const zones = (...names: string[]): Partial<Endpoint> => ({
  hints: { forZones: names.map((name) => ({ name })) },
});
const nodes = (...names: string[]): Partial<Endpoint> => ({
  hints: { forNodes: names.map((name) => ({ name })) },
});
const ready = { ready: true };
const unready = { ready: false };
const draining = { ready: false, serving: true, terminating: true };
const gone = { ready: false, serving: false, terminating: true };

function compiled(policy: ServiceObject["spec"], endpoints: Endpoint[], node: object): ServiceCompiler {
  const compiler = new ServiceCompiler({ node });
  const ports = [{ port: 80, nodePort: 30080 }];
  compiler.upsertService(service("web", { type: "NodePort", clusterIPs: ["10.96.0.1"], ports, ...policy }));
  compiler.upsertSlice(slice("s", "web", endpoints));
  return compiler;
}

/** Last number of each backend's address. */
function chosen(compiler: ServiceCompiler, frontend: string): number[] | undefined {
  return viewOf(compiler, frontend)?.backends.map(({ addr }) => addr[15] ?? 0);
}

describe("hints", () => {
  const n1 = { name: "n1", zone: "z1" };
  it.each<[string, object, Endpoint[], number[], string]>([
    [
      "for the zone",
      n1,
      [endpoint("10.0.0.1", ready, "n1", zones("z1")), endpoint("10.0.0.2", ready, "n2", zones("z2"))],
      [1],
      "ready endpoints hinted for this node's zone",
    ],
    [
      "for the node go before those for the zone",
      n1,
      [
        endpoint("10.0.0.1", ready, "n1", { hints: { ...nodes("n1").hints, ...zones("z1").hints } }),
        endpoint("10.0.0.2", ready, "n2", { hints: { ...nodes("n2").hints, ...zones("z1").hints } }),
      ],
      [1],
      "ready endpoints hinted for this node",
    ],
    [
      "for another node leave those for the zone",
      { name: "n3", zone: "z1" },
      [
        endpoint("10.0.0.1", ready, "n1", { hints: { ...nodes("n1").hints, ...zones("z1").hints } }),
        endpoint("10.0.0.2", ready, "n2", { hints: { ...nodes("n2").hints, ...zones("z2").hints } }),
      ],
      [1],
      "ready endpoints hinted for this node's zone",
    ],
    [
      "of some endpoints only are ignored",
      n1,
      [endpoint("10.0.0.1", ready, "n1", zones("z1")), endpoint("10.0.0.2")],
      [1, 2],
      "all ready endpoints; hints ignored: not every endpoint has one",
    ],
    [
      "of endpoints that are not ready do not matter",
      n1,
      [endpoint("10.0.0.1", ready, "n1", zones("z1")), endpoint("10.0.0.2", unready)],
      [1],
      "ready endpoints hinted for this node's zone",
    ],
    [
      "are ignored on a node without a zone",
      { name: "n1" },
      [endpoint("10.0.0.1", ready, "n1", zones("z1"))],
      [1],
      "all ready endpoints; zone hints ignored: this node has no zone",
    ],
    [
      "for other zones only are ignored",
      n1,
      [endpoint("10.0.0.1", ready, "n1", zones("z2")), endpoint("10.0.0.2", ready, "n1", zones("z2", "z3"))],
      [1, 2],
      "all ready endpoints; zone hints ignored: none is for this node's zone",
    ],
    [
      "play no part when nothing is ready",
      n1,
      [endpoint("10.0.0.1", draining, "n1", zones("z2")), endpoint("10.0.0.2", gone)],
      [1],
      "no ready endpoint: those that still serve while terminating",
    ],
  ])("%s", (_, node, endpoints, want, why) => {
    const compiler = compiled({}, endpoints, node);
    expect(chosen(compiler, "10.96.0.1:80/6")).toEqual(want);
    const view = viewOf(compiler, "10.96.0.1:80/6");
    expect(view?.locality).toBe(why);
    const narrowed = why.startsWith("ready endpoints hinted");
    expect(Boolean((view?.row.flags ?? 0) & ServiceFlag.topology)).toBe(narrowed);
  });

  it("are looked at again when the node's zone becomes known, and only then", () => {
    const compiler = compiled(
      {},
      [endpoint("10.0.0.1", ready, "n1", zones("z1")), endpoint("10.0.0.2", ready, "n2", zones("z2"))],
      { name: "n1" },
    );
    expect(chosen(compiler, "10.96.0.1:80/6")).toEqual([1, 2]);
    expect(compiler.setNode({ name: "n1", zone: "z2" }).map(({ op }) => op)).toEqual([
      "put-slots",
      "put-service",
      "put-service",
    ]);
    expect(chosen(compiler, "10.96.0.1:80/6")).toEqual([2]);
    expect(compiler.setNode({ name: "n1", zone: "z2" })).toEqual([]);
  });

  it("are ignored when the cluster says so", () => {
    const compiler = new ServiceCompiler({ node: n1, settings: { topology: false } });
    compiler.upsertService(service("web", { clusterIPs: ["10.96.0.1"], ports: [{ port: 80 }] }));
    compiler.upsertSlice(
      slice("s", "web", [
        endpoint("10.0.0.1", ready, "n1", zones("z1")),
        endpoint("10.0.0.2", ready, "n2", zones("z2")),
      ]),
    );
    expect(chosen(compiler, "10.96.0.1:80/6")).toEqual([1, 2]);
  });
});

describe("externalTrafficPolicy Local", () => {
  const external = "0.0.0.0:30080/6";
  const internal = "0.0.0.0:30080/6/i";
  it.each<[string, Endpoint[], number[], number[]]>([
    [
      "takes ready endpoints of this node from outside, all from inside",
      [endpoint("10.0.0.1"), endpoint("10.0.0.2", ready, "n2")],
      [1],
      [1, 2],
    ],
    [
      "takes draining ones of this node, although another node has ready ones",
      [endpoint("10.0.0.1", draining), endpoint("10.0.0.2", ready, "n2")],
      [1],
      [2],
    ],
    ["takes nothing without one here", [endpoint("10.0.0.2", ready, "n2")], [], [2]],
    [
      "takes draining ones everywhere when nothing is ready",
      [endpoint("10.0.0.1", draining), endpoint("10.0.0.2", draining, "n2")],
      [1],
      [1, 2],
    ],
  ])("%s", (_, endpoints, outside, inside) => {
    const compiler = compiled({ externalTrafficPolicy: "Local" }, endpoints, { name: "n1" });
    expect([chosen(compiler, external), chosen(compiler, internal)]).toEqual([outside, inside]);
    expect(viewOf(compiler, external)?.row.flags).toBe(
      ServiceFlag.nodePort | ServiceFlag.twoScopes | ServiceFlag.localOnly,
    );
    expect(viewOf(compiler, internal)?.row.flags).toBe(ServiceFlag.nodePort);
  });

  it("counts ready endpoints of this node for the health check, each address once", () => {
    const policy = { externalTrafficPolicy: "Local", healthCheckNodePort: 32_123 };
    const endpoints = [
      endpoint("10.0.0.1"),
      endpoint("10.0.0.2", draining),
      endpoint("10.0.0.3", ready, "n2"),
    ];
    const compiler = compiled(policy, endpoints, { name: "n1" });
    const check = { namespace: "shop", name: "web", port: 32_123 };
    expect(compiler.healthChecks()).toEqual([{ ...check, localEndpoints: 1 }]);
    compiler.upsertSlice(slice("t", "web", [endpoint("10.0.0.1"), endpoint("10.0.0.4")]));
    expect(compiler.healthChecks()).toEqual([{ ...check, localEndpoints: 2 }]);
    compiler.deleteService("shop", "web");
    expect(compiler.healthChecks()).toEqual([]);
  });
});

describe("internalTrafficPolicy Local", () => {
  it("narrows the cluster address only", () => {
    const endpoints = [endpoint("10.0.0.1"), endpoint("10.0.0.2", ready, "n2")];
    const compiler = compiled({ internalTrafficPolicy: "Local" }, endpoints, { name: "n1" });
    expect(chosen(compiler, "10.96.0.1:80/6")).toEqual([1]);
    expect(viewOf(compiler, "10.96.0.1:80/6")?.row.flags).toBe(ServiceFlag.clusterIp | ServiceFlag.localOnly);
    expect(chosen(compiler, "0.0.0.0:30080/6")).toEqual([1, 2]);
  });
});
