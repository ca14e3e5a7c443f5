import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  type EndpointSliceObject,
  type HostPort,
  type LbChange,
  type LocalPod,
  type LocalRedirectPolicyObject,
  ServiceCompiler,
  type ServiceCompilerOptions,
  type ServiceObject,
} from "../src/index.ts";
import { Maps } from "./maps.ts";
import { type Endpoint, endpoint, ingress, problemTexts, service, slice } from "./objects.ts";

const condition = fc.constantFrom<Endpoint["conditions"]>(
  { ready: true },
  { ready: true },
  { ready: false },
  { ready: false, serving: true, terminating: true },
  { ready: false, serving: false, terminating: true },
);
const hints = fc.constantFrom<Partial<Endpoint>>(
  {},
  {},
  { hints: { forZones: [{ name: "z1" }] } },
  { hints: { forZones: [{ name: "z2" }], forNodes: [{ name: "n1" }] } },
);
const anyEndpoint = fc
  .tuple(fc.constantFrom("10.0.0.1", "10.0.0.2", "10.0.0.3"), condition, fc.constantFrom("n1", "n2"), hints)
  .map(([ip, conditions, node, more]) => endpoint(ip, conditions, node, more));
const name = fc.constantFrom("a", "b", "c");
const spec = fc.record({
  ip: fc.constantFrom<string[]>(["10.96.0.1"], ["10.96.0.2"], ["10.96.0.2", "fd00::2"], ["None"]),
  ports: fc.constantFrom<NonNullable<NonNullable<ServiceObject["spec"]>["ports"]>>(
    [{ port: 80 }],
    [{ name: "x", port: 80, nodePort: 30000 }],
    [
      { name: "x", port: 80 },
      { name: "y", port: 81, protocol: "UDP", nodePort: 30001 },
    ],
    [{ name: "s", port: 8080, protocol: "SCTP", nodePort: 30002 }],
  ),
  policy: fc.constantFrom(
    {},
    { externalTrafficPolicy: "Local", healthCheckNodePort: 32_000 },
    { internalTrafficPolicy: "Local" },
    { sessionAffinity: "ClientIP" },
  ),
  externalIPs: fc.constantFrom<string[]>([], ["198.51.100.1"], ["10.96.0.1", "no address"]),
  loadBalancerSourceRanges: fc.constantFrom<string[]>(
    [],
    ["192.0.2.0/24"],
    ["192.0.2.0/24", "203.0.113.7/32"],
  ),
  lb: fc.constantFrom<string[]>([], ["203.0.113.1"], ["203.0.113.1", "203.0.113.2"]),
});
const annotations = fc.constantFrom<Record<string, string>>(
  {},
  { "service.cilium.io/lb-algorithm": "maglev" },
  { "service.cilium.io/forwarding-mode": "dsr", "service.cilium.io/type": "ClusterIP" },
  { "service.cilium.io/lb-algorithm": "best" },
);
const anyService = fc
  .tuple(name, spec, annotations)
  .map(([name, { ip, ports, policy, lb, externalIPs, loadBalancerSourceRanges }, notes]) =>
    service(
      name,
      {
        type: lb.length > 0 ? "LoadBalancer" : "ClusterIP",
        clusterIPs: ip,
        ports,
        externalIPs,
        loadBalancerSourceRanges,
        ...policy,
      },
      { status: ingress(...lb), annotations: notes },
    ),
  );
const slicePorts = fc.constantFrom<{ name?: string; port: number; protocol: string }[]>(
  [{ port: 8080, protocol: "TCP" }],
  [
    { name: "x", port: 8080, protocol: "TCP" },
    { name: "y", port: 8081, protocol: "UDP" },
  ],
  [{ name: "s", port: 8080, protocol: "SCTP" }],
);
const anySlice = fc
  .tuple(
    fc.constantFrom("s1", "s2", "s3"),
    name,
    fc.uniqueArray(anyEndpoint, { selector: (e) => e.addresses?.[0], maxLength: 3 }),
    slicePorts,
    fc.constantFrom<Record<string, string> | undefined>(undefined, undefined, {
      "service.cilium.io/weight": "3",
    }),
  )
  .map(([sliceName, of, endpoints, ports, notes]) => slice(sliceName, of, endpoints, ports, notes));
const anyHostPort = fc.record({
  hostIP: fc.constantFrom("", "0.0.0.0", "127.0.0.1", "192.0.2.9", "::"),
  hostPort: fc.constantFrom(30000, 30001, 8080),
  protocol: fc.constantFrom("TCP", "UDP"),
  containerPort: fc.constantFrom(80, 8080),
  podIPs: fc.constantFrom<string[]>(["10.0.0.7"], ["10.0.0.8", "fd10::8"]),
});
const anyPod = fc
  .tuple(
    fc.constantFrom("p1", "p2"),
    fc.constantFrom<Record<string, string>>({ app: "dns" }, { app: "web" }),
    fc.boolean(),
  )
  .map(
    ([name, labels, ready]): LocalPod => ({
      namespace: "shop",
      name,
      labels,
      ips: [name === "p1" ? "10.0.0.21" : "10.0.0.22"],
      ports: [{ name: "dns", port: 5353, protocol: "TCP" }],
      ready,
    }),
  );
const anyRedirect = fc
  .tuple(
    fc.constantFrom("r1", "r2"),
    fc.constantFrom<NonNullable<LocalRedirectPolicyObject["spec"]>["redirectFrontend"]>(
      { serviceMatcher: { serviceName: "a", namespace: "shop" } },
      {
        serviceMatcher: {
          serviceName: "b",
          namespace: "shop",
          toPorts: [{ port: "80", protocol: "TCP", name: "x" }],
        },
      },
      { addressMatcher: { ip: "169.254.20.10", toPorts: [{ port: "80", protocol: "TCP" }] } },
      { addressMatcher: { ip: "10.96.0.1", toPorts: [{ port: "80", protocol: "TCP" }] } },
      {},
    ),
    fc.boolean(),
    fc.constantFrom("5353", "dns"),
  )
  .map(
    ([name, redirectFrontend, skipRedirectFromBackend, port]): LocalRedirectPolicyObject => ({
      metadata: { namespace: "shop", name },
      spec: {
        ...(redirectFrontend && { redirectFrontend }),
        redirectBackend: {
          localEndpointSelector: { matchLabels: { app: "dns" } },
          toPorts: [{ port, protocol: "TCP", name: "x" }],
        },
        skipRedirectFromBackend,
      },
    }),
  );
const kind = <K extends string, T>(kind: K, object: fc.Arbitrary<T>) =>
  fc.record({ kind: fc.constant(kind), object });
const event = fc.oneof(
  { weight: 4, arbitrary: kind("service", anyService) },
  kind("unservice", name),
  { weight: 4, arbitrary: kind("slice", anySlice) },
  kind("unslice", anySlice),
  kind(
    "node",
    fc.record({ name: fc.constantFrom("n1", "n2"), zone: fc.constantFrom("z1", "z2", undefined) }),
  ),
  kind(
    "hostports",
    fc.record({
      pod: fc.constantFrom("shop/p1", "shop/p2"),
      ports: fc.array(anyHostPort, { maxLength: 2 }),
    }),
  ),
  { weight: 2, arbitrary: kind("pod", anyPod) },
  kind("unpod", fc.constantFrom("p1", "p2")),
  { weight: 2, arbitrary: kind("redirect", anyRedirect) },
  kind("unredirect", fc.constantFrom("r1", "r2")),
  kind("tick", fc.integer({ min: 1, max: 1500 })),
  kind("restart", fc.constant(undefined)),
);
type Event = typeof event extends fc.Arbitrary<infer T> ? T : never;

/** The objects there are, and a compiler that was told of them one by one. */
class World {
  readonly maps = new Maps();
  compiler: ServiceCompiler;
  readonly #options: ServiceCompilerOptions;
  #node: { name: string; zone: string | undefined } = { name: "n1", zone: "z1" };
  readonly #services = new Map<string, ServiceObject>();
  readonly #slices = new Map<string, EndpointSliceObject>();
  readonly #hostPorts = new Map<string, readonly HostPort[]>();
  readonly #pods = new Map<string, LocalPod>();
  readonly #redirects = new Map<string, LocalRedirectPolicyObject>();

  constructor(options: ServiceCompilerOptions) {
    this.#options = options;
    this.compiler = new ServiceCompiler({ ...options, node: this.#node });
  }

  happen(event: Event): void {
    if (event.kind === "restart") this.#restart();
    else this.maps.apply(this.#changesOf(event));
  }

  #changesOf({ kind, object }: Exclude<Event, { kind: "restart" }>): LbChange[] {
    const { compiler, maps } = this;
    switch (kind) {
      case "service":
        this.#services.set(object.metadata?.name ?? "", object);
        return compiler.upsertService(object);
      case "unservice":
        this.#services.delete(object);
        return compiler.deleteService("shop", object);
      case "slice":
        this.#slices.set(object.metadata?.name ?? "", object);
        return compiler.upsertSlice(object);
      case "unslice":
        this.#slices.delete(object.metadata?.name ?? "");
        return compiler.deleteSlice(object);
      case "node":
        this.#node = object;
        return compiler.setNode(object);
      case "hostports":
        this.#hostPorts.set(object.pod, object.ports);
        return compiler.upsertHostPorts(object.pod, object.ports);
      case "pod":
        this.#pods.set(object.name, object);
        return compiler.upsertLocalPod(object);
      case "unpod":
        this.#pods.delete(object);
        return compiler.deleteLocalPod("shop", object);
      case "redirect":
        this.#redirects.set(object.metadata?.name ?? "", object);
        return compiler.upsertRedirect(object);
      case "unredirect":
        this.#redirects.delete(object);
        return compiler.deleteRedirect("shop", object);
      case "tick":
        maps.now += object;
        return compiler.reclaim(maps.now);
    }
  }

  /** Tells a compiler of everything there is. */
  tell(compiler: ServiceCompiler, maps: Maps): void {
    for (const one of this.#slices.values()) maps.apply(compiler.upsertSlice(one));
    for (const [pod, ports] of this.#hostPorts) maps.apply(compiler.upsertHostPorts(pod, ports));
    for (const one of this.#redirects.values()) maps.apply(compiler.upsertRedirect(one));
    for (const one of this.#services.values()) maps.apply(compiler.upsertService(one));
    for (const one of this.#pods.values()) maps.apply(compiler.upsertLocalPod(one));
  }

  /** A new agent changes nothing but what it must. */
  #restart(): void {
    const before = this.maps.meaning();
    this.compiler = new ServiceCompiler({ ...this.#options, node: this.#node });
    this.compiler.restore(this.maps.rows());
    this.tell(this.compiler, this.maps);
    this.maps.apply(this.compiler.prune());
    expect(this.maps.meaning()).toEqual(before);
  }

  fresh(): { maps: Maps; compiler: ServiceCompiler } {
    const compiler = new ServiceCompiler({ ...this.#options, node: this.#node });
    const maps = new Maps();
    this.tell(compiler, maps);
    return { maps, compiler };
  }
}

describe("any history", () => {
  it.each<[string, ServiceCompilerOptions]>([
    ["with the defaults", {}],
    ["with Maglev by default", { settings: { algorithm: "maglev", maglevTableSize: 251 } }],
    ["in partial mode", { settings: { kinds: new Set(["ClusterIP", "LocalRedirect"]) } }],
  ])(
    "%s ends in the rows a fresh compiler makes, and no row ever names what is not there",
    (_, options) => {
      fc.assert(
        fc.property(fc.array(event, { maxLength: 60, size: "max" }), (events) => {
          const world = new World(options);
          for (const one of events) world.happen(one);
          const fresh = world.fresh();
          expect(world.maps.meaning()).toEqual(fresh.maps.meaning());
          expect(problemTexts(world.compiler).sort()).toEqual(problemTexts(fresh.compiler).sort());
          expect(world.compiler.healthChecks().sort(byName)).toEqual(
            fresh.compiler.healthChecks().sort(byName),
          );
        }),
        { numRuns: 200 },
      );
    },
    60_000,
  );

  it("with too few slots never writes beyond them, and serves all once there is room", () => {
    fc.assert(
      fc.property(fc.array(event, { maxLength: 40, size: "max" }), (events) => {
        const world = new World({ maxSlots: 6 });
        // Who finds room depends on who comes first: a new agent may choose otherwise.
        for (const one of events.filter(({ kind }) => kind !== "restart")) {
          world.happen(one);
          expect(world.compiler.slotsNeeded).toBeLessThanOrEqual(6);
        }
        for (const name of ["a", "b", "c"] as const) world.happen({ kind: "unservice", object: name });
        for (let i = 0; i < 3; i++) world.happen({ kind: "tick", object: 1000 });
        world.happen({
          kind: "service",
          object: service("a", { clusterIPs: ["10.96.0.1"], ports: [{ port: 80 }] }),
        });
        world.happen({ kind: "unredirect", object: "r1" });
        world.happen({ kind: "unredirect", object: "r2" });
        world.happen({ kind: "hostports", object: { pod: "shop/p1", ports: [] } });
        world.happen({ kind: "hostports", object: { pod: "shop/p2", ports: [] } });
        for (let i = 0; i < 3; i++) world.happen({ kind: "tick", object: 1000 });
        world.happen({ kind: "slice", object: slice("s1", "a", [endpoint("10.0.0.1")]) });
        for (let i = 0; i < 3; i++) world.happen({ kind: "tick", object: 1000 });
        expect(problemTexts(world.compiler).filter((text) => text.includes("no room"))).toEqual([]);
      }),
      { numRuns: 200 },
    );
  }, 60_000);
});

const byName = (a: { name: string }, b: { name: string }): number => (a.name < b.name ? -1 : 1);
