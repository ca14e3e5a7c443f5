import fc from "fast-check";
import type { Endpoints, Node, Pod, Service } from "kubernetes-types/core/v1";
import type { EndpointSlice } from "kubernetes-types/discovery/v1";
import { describe, expect, it } from "vitest";
import type { Action } from "../../src/controllers/action.ts";
import { mirrorEndpoints } from "../../src/controllers/endpointmirror.ts";
import { maxEndpointsPerSlice, reconcileEndpointSlices } from "../../src/controllers/endpointslice.ts";
import { reconcileDependent, reconcileOwner } from "../../src/controllers/garbage.ts";
import { reconcileNode, reconcileOrphanedPods } from "../../src/controllers/nodelifecycle.ts";
import { condition, nameOf } from "../../src/controllers/objects.ts";
import { schedule } from "../../src/controllers/scheduler.ts";
import { World } from "../support/world.ts";

function readyNode(name: string, extra: Partial<Node> = {}): Node {
  return {
    apiVersion: "v1",
    kind: "Node",
    metadata: { name, labels: { "kubernetes.io/hostname": name } },
    status: { conditions: [{ type: "Ready", status: "True" }] },
    ...extra,
  };
}

function pod(
  name: string,
  spec: Partial<NonNullable<Pod["spec"]>> = {},
  labels: Record<string, string> = {},
): Pod {
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, namespace: "default", uid: `uid-${name}`, labels },
    spec: { containers: [{ name: "c" }], ...spec },
  };
}

function bindings(actions: readonly Action[]): Record<string, string> {
  return Object.fromEntries(actions.flatMap((a) => (a.verb === "bind" ? [[a.ref.name, a.node]] : [])));
}

describe("the scheduler", () => {
  const now = 0;

  it("spreads pods by count", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 5 }), fc.integer({ min: 0, max: 40 }), (nodes, count) => {
        const view = {
          nodes: Array.from({ length: nodes }, (_, i) => readyNode(`n${i}`)),
          pending: Array.from({ length: count }, (_, i) => pod(`p${i}`)),
          placed: [],
          now,
        };
        const loads = Array.from(
          { length: nodes },
          (_, i) => Object.values(bindings(schedule(view))).filter((n) => n === `n${i}`).length,
        );
        expect(loads.reduce((a, b) => a + b, 0)).toBe(count);
        expect(Math.max(...loads) - Math.min(...loads)).toBeLessThanOrEqual(1);
      }),
    );
  });

  it("respects selectors, taints, readiness and cordons, and says why a pod fits nowhere", () => {
    const nodes = [
      readyNode("cordoned", { spec: { unschedulable: true } }),
      readyNode("tainted", { spec: { taints: [{ key: "k", effect: "NoSchedule" }] } }),
      readyNode("away", { status: { conditions: [{ type: "Ready", status: "False" }] } }),
    ];
    const actions = schedule({ nodes, pending: [pod("p")], placed: [], now });
    expect(bindings(actions)).toEqual({});
    const message = actions.flatMap((a) => (a.verb === "event" ? [a.message] : []))[0];
    expect(message).toBe(
      "0/3 nodes are available: 1 node(s) had untolerated taint {k: }, 1 node(s) were not ready, 1 node(s) were unschedulable.",
    );
    const tolerant = pod("t", { tolerations: [{ key: "k", operator: "Exists" }] });
    expect(bindings(schedule({ nodes, pending: [tolerant], placed: [], now }))).toEqual({ t: "tainted" });
    const chosen = pod("s", { nodeSelector: { "kubernetes.io/hostname": "b" } });
    expect(
      bindings(schedule({ nodes: [readyNode("a"), readyNode("b")], pending: [chosen], placed: [], now })),
    ).toEqual({ s: "b" });
  });

  it("keeps pods apart and together as affinity asks", () => {
    const term = { labelSelector: { matchLabels: { app: "server" } }, topologyKey: "kubernetes.io/hostname" };
    const server = pod("server", { nodeName: "a" }, { app: "server" });
    const beside = pod("beside", {
      affinity: { podAffinity: { requiredDuringSchedulingIgnoredDuringExecution: [term] } },
    });
    const apart = pod("apart", {
      affinity: { podAntiAffinity: { requiredDuringSchedulingIgnoredDuringExecution: [term] } },
    });
    const view = { nodes: [readyNode("a"), readyNode("b")], pending: [beside, apart], placed: [server], now };
    expect(bindings(schedule(view))).toEqual({ beside: "a", apart: "b" });
  });
});

describe("endpoint slices", () => {
  const service: Service = {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: "web", namespace: "default", uid: "svc" },
    spec: {
      selector: { app: "web" },
      ipFamilies: ["IPv4", "IPv6"],
      ports: [{ name: "http", port: 80, targetPort: "web" }],
    },
  };
  const serving = (i: number, ready = true): Pod => ({
    ...pod(
      `p${i}`,
      { nodeName: "n1", containers: [{ name: "c", ports: [{ name: "web", containerPort: 8080 }] }] },
      { app: "web" },
    ),
    status: {
      phase: "Running",
      podIPs: [{ ip: `10.0.${i >> 8}.${i & 255}` }, { ip: `fd00::${i.toString(16)}` }],
      conditions: [{ type: "Ready", status: ready ? "True" : "False" }],
    },
  });
  const step = (world: World, pods: Pod[], svc = service): number => {
    const before = world.writes;
    const slices = world.of<EndpointSlice>("EndpointSlice");
    world.run(reconcileEndpointSlices({ service: svc, pods, slices, nodes: new Map() }));
    return world.writes - before;
  };
  const addresses = (world: World, family: string): string[] =>
    world
      .of<EndpointSlice>("EndpointSlice")
      .filter((slice) => slice.addressType === family)
      .flatMap((slice) => slice.endpoints.map((endpoint) => endpoint.addresses[0] ?? ""));

  it("has a slice per family with the pod's own port", () => {
    const world = new World();
    step(world, [serving(1), serving(2, false)]);
    const [v4] = world.of<EndpointSlice>("EndpointSlice").filter((slice) => slice.addressType === "IPv4");
    expect(v4?.ports).toEqual([{ name: "http", protocol: "TCP", port: 8080 }]);
    expect(v4?.endpoints.map((endpoint) => endpoint.conditions?.ready)).toEqual([true, false]);
    expect(addresses(world, "IPv6")).toEqual(["fd00::1", "fd00::2"]);
    expect(v4?.metadata?.labels?.["kubernetes.io/service-name"]).toBe("web");
  });

  it("shows a deleted pod as terminating, and serving while it still is", () => {
    const world = new World();
    const going = serving(1);
    going.metadata = { ...going.metadata, deletionTimestamp: "2026-01-01T00:00:00Z" };
    step(world, [going]);
    const [slice] = world.of<EndpointSlice>("EndpointSlice");
    expect(slice?.endpoints[0]?.conditions).toEqual({ ready: false, serving: true, terminating: true });
  });

  it("publishes unready pods when asked to", () => {
    const world = new World();
    step(world, [serving(1, false)], {
      ...service,
      spec: { ...service.spec, publishNotReadyAddresses: true },
    });
    expect(world.of<EndpointSlice>("EndpointSlice")[0]?.endpoints[0]?.conditions?.ready).toBe(true);
  });

  it("gives each pod its own port of a name, of sidecars too, and every protocol", () => {
    const world = new World();
    const named = (i: number, containerPort: number): Pod => {
      const base = serving(i);
      const c = {
        name: "c",
        ports: [
          { name: "web", containerPort },
          { name: "sig", containerPort: 9, protocol: "SCTP" },
        ],
      };
      return { ...base, spec: { ...base.spec, containers: [c] } };
    };
    const sidecar = { name: "s", restartPolicy: "Always", ports: [{ name: "web", containerPort: 15001 }] };
    const withSidecar = serving(3);
    withSidecar.spec = { ...withSidecar.spec, containers: [{ name: "c" }], initContainers: [sidecar] };
    const ports = [
      { name: "http", port: 80, targetPort: "web" },
      { name: "sig", port: 3868, targetPort: "sig", protocol: "SCTP" },
      { name: "dns", port: 53, protocol: "UDP" },
    ];
    const spec = { ...service.spec, ipFamilies: ["IPv4"], ports };
    step(world, [named(1, 8080), named(2, 9090), withSidecar], { ...service, spec });
    const byAddress = world
      .of<EndpointSlice>("EndpointSlice")
      .flatMap((slice) =>
        slice.endpoints.map((endpoint) => [
          endpoint.addresses[0],
          slice.ports?.map(({ port, protocol }) => `${port}/${protocol}`),
        ]),
      );
    expect(Object.fromEntries(byAddress)).toEqual({
      "10.0.0.1": ["8080/TCP", "9/SCTP", "53/UDP"],
      "10.0.0.2": ["9090/TCP", "9/SCTP", "53/UDP"],
      "10.0.0.3": ["15001/TCP", "53/UDP"],
    });
  });

  it.each([
    [undefined, undefined],
    ["PreferClose", { forZones: [{ name: "z1" }] }],
    ["PreferSameZone", { forZones: [{ name: "z1" }] }],
    ["PreferSameNode", { forNodes: [{ name: "n1" }], forZones: [{ name: "z1" }] }],
  ])(
    "names zone and node of an endpoint; with trafficDistribution %s it hints %j, of ready ones",
    (trafficDistribution, hints) => {
      const world = new World();
      const node = readyNode("n1");
      node.metadata = { ...node.metadata, labels: { "topology.kubernetes.io/zone": "z1" } };
      const spec = {
        ...service.spec,
        ipFamilies: ["IPv4"],
        ...(trafficDistribution === undefined ? {} : { trafficDistribution }),
      };
      const pods = [serving(1), serving(2, false)];
      const view = { service: { ...service, spec }, pods, slices: [], nodes: new Map([["n1", node]]) };
      world.run(reconcileEndpointSlices(view));
      const [ready, unready] = world.one<EndpointSlice>("EndpointSlice").endpoints;
      expect(ready).toMatchObject({ nodeName: "n1", zone: "z1" });
      expect([ready?.hints, unready?.hints]).toEqual([hints, undefined]);
    },
  );

  it("holds every pod exactly once per family, at most 100 in a slice, and rewrites few slices", () => {
    fc.assert(
      fc.property(
        fc.array(fc.uniqueArray(fc.integer({ min: 1, max: 400 }), { maxLength: 350 }), {
          minLength: 1,
          maxLength: 4,
        }),
        (rounds) => {
          const world = new World();
          for (const ids of rounds) {
            step(
              world,
              ids.map((i) => serving(i)),
            );
            const wanted = ids.map((i) => `10.0.${i >> 8}.${i & 255}`).sort();
            expect(addresses(world, "IPv4").sort()).toEqual(wanted);
            expect(addresses(world, "IPv6")).toHaveLength(ids.length);
            for (const slice of world.of<EndpointSlice>("EndpointSlice")) {
              expect(slice.endpoints.length).toBeLessThanOrEqual(maxEndpointsPerSlice);
            }
            expect(
              step(
                world,
                ids.map((i) => serving(i)),
              ),
            ).toBe(0);
          }
        },
      ),
      { numRuns: 25 },
    );
    const world = new World();
    const many = Array.from({ length: 350 }, (_, i) => serving(i + 1));
    step(world, many);
    // One pod more: one slice of each family changes.
    expect(step(world, [...many, serving(999)])).toBe(2);
    expect(step(world, many)).toBe(2);
  });
});

describe("endpoints somebody writes for a Service without selector", () => {
  const service: Service = {
    metadata: { name: "db", namespace: "default", uid: "svc" },
    spec: { ports: [{ port: 5432 }] },
  };
  const endpoints = (ips: string[], labels: Record<string, string> = {}): Endpoints => ({
    apiVersion: "v1",
    kind: "Endpoints",
    metadata: { name: "db", namespace: "default", uid: "ep", labels },
    subsets: [{ addresses: ips.map((ip) => ({ ip })), ports: [{ port: 5432 }] }],
  });
  const mirror = (world: World, written: Endpoints | undefined, of = service): EndpointSlice[] => {
    const slices = world.of<EndpointSlice>("EndpointSlice");
    world.run(mirrorEndpoints({ service: of, endpoints: written, slices }));
    return world.of<EndpointSlice>("EndpointSlice");
  };

  it("become slices, one a family, that follow and go with them", () => {
    const world = new World();
    const made = mirror(world, endpoints(["192.0.2.1", "2001:db8::1"]));
    expect(made.map(({ addressType, endpoints: rows }) => [addressType, rows[0]?.addresses])).toEqual([
      ["IPv4", ["192.0.2.1"]],
      ["IPv6", ["2001:db8::1"]],
    ]);
    expect(made[0]).toMatchObject({
      metadata: { labels: { "kubernetes.io/service-name": "db" } },
      ports: [{ name: "", port: 5432, protocol: "TCP" }],
    });
    const [changed] = mirror(world, endpoints(["192.0.2.2"]));
    expect([changed?.metadata?.name, changed?.endpoints[0]?.addresses]).toEqual([
      made[0]?.metadata?.name,
      ["192.0.2.2"],
    ]);
    const before = world.writes;
    mirror(world, endpoints(["192.0.2.2"]));
    expect(world.writes).toBe(before);
    expect(mirror(world, undefined)).toEqual([]);
  });

  it("are left alone where they say so, and where the Service has a selector", () => {
    const skipped = endpoints(["192.0.2.1"], { "endpointslice.kubernetes.io/skip-mirror": "true" });
    expect(mirror(new World(), skipped)).toEqual([]);
    const selecting = { ...service, spec: { ...service.spec, selector: { a: "b" } } };
    expect(mirror(new World(), endpoints(["192.0.2.1"]), selecting)).toEqual([]);
  });
});

describe("the node lifecycle", () => {
  const base = { pods: [] as Pod[], graceMs: 40_000, evictAfterMs: 300_000 };
  const lease = (at: number) => ({ spec: { renewTime: new Date(at).toISOString() } });

  it("leaves a node with a fresh lease alone and looks again when it would go stale", () => {
    expect(reconcileNode({ ...base, node: readyNode("n"), lease: lease(1_000_000), now: 1_010_000 })).toEqual(
      [{ verb: "again", afterMs: 30_000 }],
    );
  });

  it("marks a silent node unknown, taints it, and evicts what does not tolerate that", () => {
    const world = new World();
    world.now = 1_100_000;
    world.add(readyNode("n", { metadata: { name: "n", namespace: "default" } }));
    const running = {
      ...pod("p", { nodeName: "n" }),
      status: { phase: "Running", conditions: [{ type: "Ready", status: "True" }] },
    };
    const steps = (now: number): readonly Action[] =>
      reconcileNode({
        ...base,
        node: world.one<Node>("Node"),
        lease: lease(1_000_000),
        pods: [running],
        now,
      });
    world.run(steps(world.now));
    expect(condition(world.one<Node>("Node").status?.conditions, "Ready")?.status).toBe("Unknown");
    expect(world.one<Node>("Node").spec?.taints?.map(({ effect }) => effect)).toEqual([
      "NoSchedule",
      "NoExecute",
    ]);
    expect(steps(world.now).filter(({ verb }) => verb === "delete")).toEqual([]);
    expect(steps(world.now + 300_001).filter(({ verb }) => verb === "delete")).toHaveLength(1);
  });

  it("takes the taints away when the node is ready again", () => {
    const tainted = readyNode("n", {
      spec: { taints: [{ key: "node.kubernetes.io/not-ready", effect: "NoExecute" }] },
    });
    const actions = reconcileNode({ ...base, node: tainted, lease: lease(1_000_000), now: 1_000_001 });
    expect(actions).toContainEqual(
      expect.objectContaining({ verb: "patch", patch: { spec: { taints: [] } } }),
    );
  });

  it("deletes pods of nodes that are gone, at once", () => {
    const actions = reconcileOrphanedPods(
      [pod("a", { nodeName: "n" }), pod("b", { nodeName: "gone" }), pod("c")],
      new Set(["n"]),
    );
    expect(actions).toEqual([
      expect.objectContaining({
        verb: "delete",
        gracePeriodSeconds: 0,
        ref: expect.objectContaining({ name: "b" }),
      }),
    ]);
  });
});

describe("garbage collection", () => {
  const owner = {
    apiVersion: "apps/v1",
    kind: "ReplicaSet",
    name: "rs",
    uid: "o1",
    blockOwnerDeletion: true,
  };
  const owned = (...owners: (typeof owner)[]): Pod => ({
    ...pod("p"),
    metadata: { ...pod("p").metadata, ownerReferences: owners },
  });

  it("deletes what has lost all owners, and only then", () => {
    expect(reconcileDependent({ object: owned(owner), ownerState: () => "present" })).toEqual([]);
    expect(reconcileDependent({ object: owned(owner), ownerState: () => "absent" })).toMatchObject([
      { verb: "delete", propagationPolicy: "Background" },
    ]);
    const other = { ...owner, name: "other", uid: "o2" };
    const actions = reconcileDependent({
      object: owned(owner, other),
      ownerState: ({ uid }) => (uid === "o1" ? "absent" : "present"),
    });
    expect(actions).toMatchObject([{ verb: "patch", patch: { metadata: { ownerReferences: [other] } } }]);
  });

  it("lets an owner that is deleted in the foreground go after its dependents", () => {
    const deleting = {
      apiVersion: "apps/v1",
      kind: "ReplicaSet",
      metadata: {
        name: "rs",
        uid: "o1",
        deletionTimestamp: "2026-01-01T00:00:00Z",
        finalizers: ["foregroundDeletion", "mine"],
      },
    };
    expect(reconcileOwner({ owner: deleting, dependents: [owned(owner)] })).toEqual([]);
    expect(reconcileDependent({ object: owned(owner), ownerState: () => "waiting" })).toMatchObject([
      { propagationPolicy: "Foreground" },
    ]);
    expect(reconcileOwner({ owner: deleting, dependents: [] })).toMatchObject([
      { patch: { metadata: { finalizers: ["mine"] } } },
    ]);
  });

  it("frees the dependents of an owner that is deleted with Orphan, before it goes", () => {
    const deleting = {
      apiVersion: "apps/v1",
      kind: "ReplicaSet",
      metadata: { name: "rs", uid: "o1", deletionTimestamp: "2026-01-01T00:00:00Z", finalizers: ["orphan"] },
    };
    const actions = reconcileOwner({ owner: deleting, dependents: [owned(owner)] });
    expect(actions.map((action) => (action.verb === "patch" ? [action.ref.kind, action.patch] : []))).toEqual(
      [
        ["Pod", { metadata: { ownerReferences: [] } }],
        ["ReplicaSet", { metadata: { finalizers: [] } }],
      ],
    );
    expect(nameOf(deleting)).toBe("rs");
  });
});
