import { formatPrefix } from "@axoneme/base";
import { describe, expect, it } from "vitest";
import { type FrontendKind, ServiceCompiler, ServiceFlag, type ServiceObject } from "../src/index.ts";
import { Maps } from "./maps.ts";
import { endpoint, ingress, problemTexts, service, slice, table, viewOf } from "./objects.ts";

const http = { name: "http", port: 80, protocol: "TCP" };

/** Compiles one Service with one slice of two endpoints on n1 and n2. */
function compiled(
  spec: ServiceObject["spec"],
  more: Parameters<typeof service>[2] = {},
  kinds?: FrontendKind[],
): { compiler: ServiceCompiler; maps: Maps } {
  const compiler = new ServiceCompiler({
    node: { name: "n1" },
    settings: kinds ? { kinds: new Set(kinds) } : {},
  });
  const maps = new Maps();
  const ports = [{ ...http, port: 8080 }];
  maps.apply(
    compiler.upsertSlice(
      slice("s", "web", [endpoint("10.0.0.1"), endpoint("10.0.0.2", undefined, "n2")], ports),
    ),
  );
  maps.apply(compiler.upsertService(service("web", spec, more)));
  return { compiler, maps };
}

const everything: NonNullable<ServiceObject["spec"]> = {
  type: "LoadBalancer",
  clusterIPs: ["10.96.0.1"],
  externalIPs: ["198.51.100.1"],
  ports: [{ ...http, nodePort: 30080 }],
};

describe("frontends", () => {
  it("are one row per address, and one for a NodePort on every address of a family", () => {
    const { compiler } = compiled(
      { ...everything, clusterIPs: ["10.96.0.1", "fd00::1"] },
      { status: ingress("203.0.113.1") },
    );
    expect(compiler.views().map(({ type, row }) => [type, row.flags])).toEqual([
      ["NodePort", ServiceFlag.nodePort],
      ["NodePort", ServiceFlag.nodePort],
      ["ClusterIP", ServiceFlag.clusterIp],
      ["ExternalIP", ServiceFlag.externalIp],
      ["LoadBalancer", ServiceFlag.loadBalancer],
      ["ClusterIP", ServiceFlag.clusterIp],
    ]);
    expect(Object.keys(table(compiler))).toEqual([
      ":::30080/6",
      "0.0.0.0:30080/6",
      "10.96.0.1:80/6",
      "198.51.100.1:80/6",
      "203.0.113.1:80/6",
      "fd00::1:80/6",
    ]);
    const ids = compiler.views().map(({ row }) => row.serviceId);
    expect(new Set(ids).size).toBe(1);
  });

  it("share one list of slots where they choose from the same backends", () => {
    const { compiler } = compiled(everything, { status: ingress("203.0.113.1") });
    expect(new Set(compiler.views().map(({ row }) => row.slotsOff)).size).toBe(1);
    expect(compiler.slotsNeeded).toBe(2);
  });

  it.each<[string, FrontendKind[], string[]]>([
    ["ClusterIPs only", ["ClusterIP"], ["10.96.0.1:80/6"]],
    ["NodePorts only", ["NodePort"], ["0.0.0.0:30080/6"]],
    ["what comes from outside", ["LoadBalancer", "ExternalIP"], ["198.51.100.1:80/6", "203.0.113.1:80/6"]],
    ["nothing", [], []],
  ])("in partial mode: %s", (_, kinds, want) => {
    const { compiler } = compiled(everything, { status: ingress("203.0.113.1") }, kinds);
    expect(Object.keys(table(compiler))).toEqual(want);
  });

  it.each<[string, string, string[]]>([
    ["one kind", "LoadBalancer", ["203.0.113.1:80/6"]],
    ["a list", "ClusterIP, nodeport", ["0.0.0.0:30080/6", "10.96.0.1:80/6"]],
    ["ExternalIPs by its other name", "ExternalIPs", ["198.51.100.1:80/6"]],
  ])("by annotation: %s", (_, type, want) => {
    const { compiler } = compiled(everything, {
      status: ingress("203.0.113.1"),
      annotations: { "service.cilium.io/type": type },
    });
    expect(Object.keys(table(compiler))).toEqual(want);
    expect(problemTexts(compiler)).toEqual([]);
  });

  it("leave a load balancer's address alone when its proxy must see the traffic", () => {
    const { compiler } = compiled(
      { type: "LoadBalancer", clusterIPs: ["10.96.0.1"], ports: [http] },
      {
        status: {
          loadBalancer: {
            ingress: [
              { ip: "203.0.113.1", ipMode: "Proxy" },
              { ip: "203.0.113.2", ipMode: "VIP" },
              { hostname: "lb.example" },
            ],
          },
        },
      },
    );
    expect(Object.keys(table(compiler))).toEqual(["10.96.0.1:80/6", "203.0.113.2:80/6"]);
  });

  it("mark a load balancer's address, once for all Services that share it, as long as one has it", () => {
    const spec = { type: "LoadBalancer", clusterIPs: ["10.96.0.1"], ports: [http] };
    const { compiler, maps } = compiled(spec, { status: ingress("203.0.113.1") });
    const other = service(
      "other",
      { type: "LoadBalancer", ports: [{ port: 81 }] },
      { status: ingress("203.0.113.1") },
    );
    maps.apply(compiler.upsertService(other));
    const marks = () =>
      [...maps.services.values()]
        .filter(({ key }) => key.port === 0)
        .map(({ key, row }) => [key.proto, row.slots]);
    expect(marks()).toEqual([[0, 0]]);
    expect(problemTexts(compiler)).toEqual([]);
    maps.apply(compiler.deleteService("shop", "web"));
    expect(marks()).toEqual([[0, 0]]);
    maps.apply(compiler.deleteService("shop", "other"));
    expect(marks()).toEqual([]);
  });

  it("have source ranges on load balancer addresses only, from the field or the old annotation", () => {
    const { compiler, maps } = compiled(
      { ...everything, loadBalancerSourceRanges: ["192.0.2.0/24", "2001:db8::/32"] },
      { status: ingress("203.0.113.1") },
    );
    const view = viewOf(compiler, "203.0.113.1:80/6");
    expect(view?.row.flags).toBe(ServiceFlag.loadBalancer | ServiceFlag.sourceRanges);
    expect(view?.ranges.map(formatPrefix)).toEqual(["192.0.2.0/24", "2001:db8::/32"]);
    expect(viewOf(compiler, "10.96.0.1:80/6")?.row.flags).toBe(ServiceFlag.clusterIp);
    expect(maps.ranges.size).toBe(2);
    const annotations = {
      "service.beta.kubernetes.io/load-balancer-source-ranges": "198.51.100.7/32, nonsense",
    };
    const changes = compiler.upsertService(
      service("web", everything, { status: ingress("203.0.113.1"), annotations }),
    );
    expect(changes.map(({ op }) => op)).toEqual(["put-range", "delete-range", "delete-range"]);
    maps.apply(changes);
    expect([...maps.ranges.values()].map(({ prefix }) => formatPrefix(prefix))).toEqual(["198.51.100.7/32"]);
    expect(problemTexts(compiler)).toEqual([
      'Service web : load balancer source range: "nonsense" is not a prefix (want address/length, as in 10.0.0.0/8)',
    ]);
  });

  it("admit nobody when no source range can be read", () => {
    const { compiler, maps } = compiled(
      { ...everything, loadBalancerSourceRanges: ["nonsense"] },
      { status: ingress("203.0.113.1") },
    );
    expect(viewOf(compiler, "203.0.113.1:80/6")?.row.flags).toBe(
      ServiceFlag.loadBalancer | ServiceFlag.sourceRanges,
    );
    expect(maps.ranges.size).toBe(0);
  });

  it.each<[string, ServiceObject["spec"], string]>([
    [
      "an external address that is none",
      { clusterIPs: ["10.96.0.1"], externalIPs: ["10.0.0.256"], ports: [http] },
      'Service web : externalIP "10.0.0.256" is not an IPv4 or IPv6 address',
    ],
    [
      "an address of a family the Service does not have",
      { clusterIPs: ["10.96.0.1"], externalIPs: ["2001:db8::1"], ports: [http] },
      "Service web : externalIP 2001:db8::1: the Service has no IPv6 family",
    ],
    [
      "the address that means every address",
      { clusterIPs: ["10.96.0.1"], externalIPs: ["0.0.0.0"], ports: [http] },
      "Service web : externalIP 0.0.0.0 stands for no address",
    ],
    [
      "a protocol nobody knows",
      { clusterIPs: ["10.96.0.1"], ports: [http, { port: 81, protocol: "ICMP" }] },
      "Service web 81/ICMP: protocol ICMP is none of TCP, UDP, SCTP",
    ],
  ])("report %s and serve the rest", (_, spec, problem) => {
    const { compiler } = compiled(spec);
    expect(table(compiler)).toEqual({ "10.96.0.1:80/6": ["10.0.0.1:8080", "10.0.0.2:8080"] });
    expect(problemTexts(compiler)).toEqual([problem]);
    expect(compiler.drainProblems()).toHaveLength(1);
    expect(compiler.drainProblems()).toEqual([]);
    compiler.upsertService(service("web", { clusterIPs: ["10.96.0.1"], ports: [http] }));
    expect(compiler.drainProblems()).toEqual([
      { owner: expect.objectContaining({ name: "web" }), problems: [] },
    ]);
  });

  it("read algorithm and forwarding of the annotation, else of the cluster", () => {
    const spec = { ...everything, ports: [{ ...http, nodePort: 30080 }] };
    const rows = (annotations: Record<string, string>, settings: object) => {
      const compiler = new ServiceCompiler({ settings });
      compiler.upsertSlice(slice("s", "web", [endpoint("10.0.0.1")], [{ ...http, port: 8080 }]));
      compiler.upsertService(service("web", spec, { annotations }));
      const row = (text: string) => viewOf(compiler, text)?.row;
      return {
        compiler,
        cluster: [row("10.96.0.1:80/6")?.algorithm, row("10.96.0.1:80/6")?.forwarding],
        node: [row("0.0.0.0:30080/6")?.algorithm, row("0.0.0.0:30080/6")?.forwarding],
      };
    };
    expect(rows({}, {})).toMatchObject({ cluster: [0, 0], node: [0, 0] });
    expect(rows({}, { algorithm: "maglev", forwarding: "dsr" })).toMatchObject({
      cluster: [0, 0],
      node: [1, 1],
    });
    expect(rows({}, { forwarding: "hybrid" })).toMatchObject({ node: [0, 1] });
    expect(
      rows(
        { "service.cilium.io/lb-algorithm": "maglev", "service.cilium.io/forwarding-mode": "snat" },
        { forwarding: "dsr" },
      ),
    ).toMatchObject({ cluster: [1, 0], node: [1, 0] });
    const wrong = rows(
      {
        "service.cilium.io/lb-algorithm": "least",
        "service.cilium.io/forwarding-mode": "x",
        "service.cilium.io/type": "Y",
      },
      {},
    );
    expect(wrong).toMatchObject({ cluster: [0, 0], node: [0, 0] });
    expect(problemTexts(wrong.compiler)).toEqual([
      'Service web : annotation service.cilium.io/lb-algorithm: "least" is none of random, maglev',
      'Service web : annotation service.cilium.io/forwarding-mode: "x" is none of snat, dsr',
      'Service web : annotation service.cilium.io/type: "Y" is no kind of frontend (ClusterIP, NodePort, LoadBalancer, ExternalIP, HostPort, LocalRedirect)',
    ]);
  });

  it("refuse a Maglev size that is no size", () => {
    expect(() => new ServiceCompiler({ settings: { maglevTableSize: 1000 } })).toThrow(
      "1000 is no Maglev table size (251, 509,",
    );
  });

  it("keep a cluster address from a Service that claims it by externalIPs", () => {
    const compiler = new ServiceCompiler();
    compiler.upsertService(
      service("a-thief", { clusterIPs: ["10.96.0.2"], externalIPs: ["10.96.0.1"], ports: [http] }),
    );
    compiler.upsertService(service("owner", { clusterIPs: ["10.96.0.1"], ports: [http] }));
    expect(viewOf(compiler, "10.96.0.1:80/6")?.name).toBe("owner");
    expect(problemTexts(compiler)).toEqual([
      "Service a-thief 80/TCP: 10.96.0.1:80/TCP belongs to Service shop/owner",
    ]);
    compiler.deleteService("shop", "owner");
    expect(viewOf(compiler, "10.96.0.1:80/6")?.name).toBe("a-thief");
    expect(problemTexts(compiler)).toEqual([]);
  });
});

describe("SCTP", () => {
  const sctp = (nodePort: number) => ({
    clusterIPs: ["10.96.0.1"],
    ports: [{ name: "s", port: 3868, protocol: "SCTP", nodePort }],
  });
  it.each<[string, number, number, string[], string[]]>([
    ["serves equal ports", 3868, 3868, ["0.0.0.0:3868/132", "10.96.0.1:3868/132"], []],
    [
      "reports the NodePort that differs",
      30000,
      3868,
      ["10.96.0.1:3868/132"],
      [
        "Service web 3868/SCTP: SCTP cannot change ports (the kernel has no CRC32c for it): frontend port 30000, backend port 3868",
      ],
    ],
    [
      "reports a backend port that differs",
      3868,
      3869,
      [],
      [
        "Service web 3868/SCTP: SCTP cannot change ports (the kernel has no CRC32c for it): frontend port 3868, backend port 3869",
      ],
    ],
  ])("%s", (_, nodePort, target, frontends, problems) => {
    const compiler = new ServiceCompiler();
    compiler.upsertService(service("web", sctp(nodePort)));
    compiler.upsertSlice(
      slice("s", "web", [endpoint("10.0.0.1")], [{ name: "s", port: target, protocol: "SCTP" }]),
    );
    expect(Object.keys(table(compiler))).toEqual(frontends);
    expect(problemTexts(compiler)).toEqual(problems);
  });
});

describe("endpoints", () => {
  it("without a selector are served as the slices say", () => {
    const { compiler } = compiled({ clusterIPs: ["10.96.0.1"], ports: [http] });
    expect(table(compiler)).toEqual({ "10.96.0.1:80/6": ["10.0.0.1:8080", "10.0.0.2:8080"] });
  });

  it("that are not ready count with publishNotReadyAddresses, unless they terminate", () => {
    const compiler = new ServiceCompiler();
    compiler.upsertService(
      service("web", { clusterIPs: ["10.96.0.1"], publishNotReadyAddresses: true, ports: [{ port: 80 }] }),
    );
    compiler.upsertSlice(
      slice("s", "web", [
        endpoint("10.0.0.1", { ready: false }),
        endpoint("10.0.0.2", { ready: false, terminating: true }),
      ]),
    );
    expect(table(compiler)).toEqual({ "10.96.0.1:80/6": ["10.0.0.1:8080"] });
  });

  it("with a named port of different numbers are paired by name", () => {
    const { compiler } = compiled({ clusterIPs: ["10.96.0.1"], ports: [http] });
    compiler.upsertSlice(slice("t", "web", [endpoint("10.0.0.3")], [{ ...http, port: 9090 }]));
    expect(table(compiler)).toEqual({
      "10.96.0.1:80/6": ["10.0.0.1:8080", "10.0.0.2:8080", "10.0.0.3:9090"],
    });
  });

  it("in two slices count once, and the better state holds", () => {
    const { compiler } = compiled({ clusterIPs: ["10.96.0.1"], ports: [http] });
    const ports = [{ ...http, port: 8080 }];
    compiler.upsertSlice(slice("t", "web", [endpoint("10.0.0.1", { ready: false })], ports));
    expect(table(compiler)).toEqual({ "10.96.0.1:80/6": ["10.0.0.1:8080", "10.0.0.2:8080"] });
  });

  it("that are no addresses are reported", () => {
    const { compiler } = compiled({ clusterIPs: ["10.96.0.1"], ports: [http] });
    const ports = [{ ...http, port: 8080 }];
    compiler.upsertSlice(
      slice("t", "web", [endpoint("10.0.0.3"), endpoint("pod"), endpoint("fd00::1")], ports, {
        "service.cilium.io/weight": "heavy",
      }),
    );
    expect(problemTexts(compiler)).toEqual([
      'Service web : EndpointSlice t: "pod" is no IPv4 address',
      'Service web : EndpointSlice t: "fd00::1" is no IPv4 address',
      'Service web : EndpointSlice t: annotation service.cilium.io/weight: "heavy" is no number from 0 to 65535',
    ]);
  });
});
