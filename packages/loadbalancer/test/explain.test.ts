import { parseIp } from "@axoneme/base";
import { describe, expect, it } from "vitest";
import { type FrontendQuery, ServiceCompiler } from "../src/index.ts";
import { endpoint, ingress, keyOf, service, slice } from "./objects.ts";

const compiler = new ServiceCompiler({ node: { name: "n1", zone: "z1" } });
compiler.upsertService(
  service(
    "web",
    {
      type: "LoadBalancer",
      clusterIPs: ["10.96.0.1"],
      externalTrafficPolicy: "Local",
      loadBalancerSourceRanges: ["192.0.2.0/24"],
      sessionAffinity: "ClientIP",
      ports: [{ port: 80, nodePort: 30080 }],
    },
    { status: ingress("203.0.113.1"), annotations: { "service.cilium.io/lb-algorithm": "maglev" } },
  ),
);
compiler.upsertService(service("empty", { clusterIPs: ["10.96.0.9"], ports: [{ port: 80 }] }));
compiler.upsertSlice(slice("s", "web", [endpoint("10.0.0.1"), endpoint("10.0.0.2", undefined, "n2")]));
compiler.upsertHostPorts("shop/pod", [
  { hostIP: "127.0.0.1", hostPort: 9090, containerPort: 80, podIPs: ["10.0.0.7"] },
]);

describe("an explanation", () => {
  const ask = (text: string, port: number, more: Partial<FrontendQuery> = {}) =>
    compiler.explain({
      client: undefined,
      key: keyOf(text, port),
      inside: true,
      nodePortAddress: false,
      ...more,
    });

  it.each<[string, ReturnType<typeof ask>, string, number | undefined, string[]]>([
    [
      "of a cluster address",
      ask("10.96.0.1", 80),
      "chosen exact",
      2,
      [
        "exact row for 10.96.0.1:80/TCP",
        "Service shop/web: all ready endpoints",
        "2 candidates (Maglev table of 509, kept per client for 10800 s)",
      ],
    ],
    [
      "of an address that is no Service's",
      ask("10.96.0.7", 80),
      "no-service undefined",
      undefined,
      ["no exact row for 10.96.0.7:80/TCP"],
    ],
    [
      "of a NodePort from outside",
      ask("172.30.0.11", 30080, { inside: false, nodePortAddress: true }),
      "chosen wildcard",
      1,
      [
        "no exact row for 172.30.0.11:30080/TCP",
        "row for port 30080 on every node address",
        "Service shop/web: policy Local: ready endpoints of this node",
        "1 candidates (Maglev table of 251, kept per client for 10800 s)",
      ],
    ],
    [
      "of a NodePort from inside",
      ask("172.30.0.11", 30080, { nodePortAddress: true }),
      "chosen wildcard",
      2,
      [
        "no exact row for 172.30.0.11:30080/TCP",
        "row for port 30080 on every node address",
        "the client is inside the cluster: it has a row of its own",
        "internal row of node port (IPv4) 30080/TCP",
        "Service shop/web: all ready endpoints",
        "2 candidates (Maglev table of 509, kept per client for 10800 s)",
      ],
    ],
    [
      "of a NodePort on another's address",
      ask("172.30.0.99", 30080),
      "no-service undefined",
      undefined,
      [
        "no exact row for 172.30.0.99:30080/TCP",
        "port 30080 is served on node addresses, and 172.30.0.99 is none of this node's",
      ],
    ],
    [
      "of a client outside the source ranges",
      ask("203.0.113.1", 80, { inside: false, client: parseIp("198.51.100.1") }),
      "refused exact",
      1,
      ["exact row for 203.0.113.1:80/TCP", "no source range admits 198.51.100.1 (192.0.2.0/24)"],
    ],
    [
      "of a Service without endpoints",
      ask("10.96.0.9", 80),
      "refused exact",
      0,
      [
        "exact row for 10.96.0.9:80/TCP",
        "Service shop/empty: no endpoint is usable",
        "nothing to choose from: connections are refused",
      ],
    ],
    [
      "of a loopback hostPort from outside",
      ask("127.0.0.1", 9090, { inside: false }),
      "not-translated exact",
      1,
      ["exact row for 127.0.0.1:9090/TCP", "bound to a loopback address: from outside it is not served"],
    ],
  ])("%s", (_, { outcome, match, frontend, steps }, want, candidates, wantSteps) => {
    expect(`${outcome} ${match}`).toBe(want);
    expect(frontend?.backends.length).toBe(candidates);
    expect(steps).toEqual(wantSteps);
  });
});
