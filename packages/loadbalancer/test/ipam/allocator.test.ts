import { describe, expect, test } from "vitest";
import {
  type LoadBalancedService,
  LoadBalancerIpam,
  type PoolObject,
  requestOf,
} from "../../src/ipam/index.ts";

type Spec = NonNullable<LoadBalancedService["spec"]>;
interface Options extends Spec {
  annotations?: Record<string, string>;
  labels?: Record<string, string>;
  /** Addresses of its status. */
  has?: string[];
  marked?: boolean;
}

function service(key: string, options: Options = {}): LoadBalancedService {
  const [namespace = "", name = ""] = key.split("/");
  const { annotations, labels, has = [], marked = false, ...spec } = options;
  return {
    metadata: { namespace, name, labels: labels ?? {}, annotations: annotations ?? {} },
    spec: { type: "LoadBalancer", ipFamilies: ["IPv4"], ports: [{ port: 80, protocol: "TCP" }], ...spec },
    status: {
      loadBalancer: { ingress: has.map((ip) => ({ ip })) },
      conditions: marked ? [{ type: "cilium.io/IPAMRequestSatisfied" }] : [],
    },
  };
}

function pool(
  name: string,
  cidrs: string[],
  spec: NonNullable<PoolObject["spec"]> = {},
  created = "1",
): PoolObject {
  return {
    metadata: { name, creationTimestamp: created },
    spec: { blocks: cidrs.map((cidr) => ({ cidr })), ...spec },
  };
}

class Bench {
  readonly ipam = new LoadBalancerIpam();
  put(key: string, options?: Options): void {
    this.ipam.putService(requestOf(service(key, options), true));
  }
  has(key: string): readonly string[] | undefined {
    return this.ipam.serviceState(key)?.addresses;
  }
  reason(key: string): string | undefined {
    return this.ipam.serviceState(key)?.verdict?.reason;
  }
}

function bench(...pools: PoolObject[]): Bench {
  const made = new Bench();
  for (const each of pools) made.ipam.putPool(each);
  return made;
}

describe("who gets an address", () => {
  test("Services of type LoadBalancer, the lowest free one; others are left alone", () => {
    const b = bench(pool("p", ["10.0.0.0/30"]));
    b.put("d/a");
    b.put("d/b", { loadBalancerClass: "io.cilium/l2-announcer" });
    b.put("d/c", { loadBalancerClass: "example.com/other", has: ["192.0.2.1"] });
    b.put("d/d", { type: "ClusterIP" });
    expect([b.has("d/a"), b.has("d/b"), b.has("d/c"), b.has("d/d")]).toEqual([
      ["10.0.0.0"],
      ["10.0.0.1"],
      undefined,
      undefined,
    ]);
  });

  test("without any pool nothing is touched, whoever gave the addresses; the first pool takes charge", () => {
    const b = bench();
    b.put("d/a", { has: ["203.0.113.5"] });
    expect(b.ipam.serviceState("d/a")).toBeUndefined();
    b.ipam.putPool(pool("p", ["10.0.0.0/30"]));
    expect(b.has("d/a")).toEqual(["10.0.0.0"]);
  });

  test("classless Services are not ours where the option says so", () => {
    const ipam = new LoadBalancerIpam();
    ipam.putPool(pool("p", ["10.0.0.0/30"]));
    ipam.putService(requestOf(service("d/a"), false));
    expect(ipam.serviceState("d/a")).toBeUndefined();
  });

  test("the first and last address of a prefix are left out where the pool says so", () => {
    const b = bench(pool("p", ["10.0.0.0/30"], { allowFirstLastIPs: "No" }));
    for (const name of ["a", "b", "c"]) b.put(`d/${name}`);
    expect([b.has("d/a"), b.has("d/b"), b.reason("d/c")]).toEqual([["10.0.0.1"], ["10.0.0.2"], "out_of_ips"]);
    expect(b.ipam.poolState("p")).toMatchObject({ total: 2n, used: 2n, available: 0n });
  });

  test("ranges, and single addresses", () => {
    const b = bench({
      metadata: { name: "p" },
      spec: { blocks: [{ start: "10.0.0.9" }, { start: "10.0.0.3", stop: "10.0.0.4" }] },
    });
    for (const name of ["a", "b", "c"]) b.put(`d/${name}`);
    expect(["d/a", "d/b", "d/c"].map((key) => b.has(key))).toEqual([
      ["10.0.0.3"],
      ["10.0.0.4"],
      ["10.0.0.9"],
    ]);
  });

  test("both families, in the Service's order", () => {
    const b = bench(pool("p", ["10.0.0.0/30", "2001:db8::/64"]));
    b.put("d/a", { ipFamilies: ["IPv6", "IPv4"] });
    expect(b.has("d/a")).toEqual(["2001:db8::", "10.0.0.0"]);
    b.put("d/a", { ipFamilies: ["IPv6"] });
    expect(b.has("d/a")).toEqual(["2001:db8::"]);
    expect(b.ipam.poolState("p")).toMatchObject({ total: 4n + (1n << 64n), used: 1n });
  });

  test("a family without a pool is told; the other is given, and the rest follows with a pool", () => {
    const b = bench(pool("p", ["10.0.0.0/30"]));
    b.put("d/a", { ipFamilies: ["IPv4", "IPv6"] });
    expect([b.has("d/a"), b.reason("d/a")]).toEqual([["10.0.0.0"], "no_pool"]);
    b.ipam.putPool(pool("q", ["2001:db8::/64"]));
    expect([b.has("d/a"), b.reason("d/a")]).toEqual([["10.0.0.0", "2001:db8::"], "satisfied"]);
  });
});

describe("selectors", () => {
  test("labels, and the names that stand for namespace and name", () => {
    const b = bench(
      pool("red", ["10.1.0.0/24"], { serviceSelector: { matchLabels: { color: "red" } } }),
      pool("ns", ["10.2.0.0/24"], {
        serviceSelector: { matchLabels: { "io.kubernetes.service.namespace": "x" } },
      }),
      pool("name", ["10.3.0.0/24"], {
        serviceSelector: {
          matchExpressions: [{ key: "io.kubernetes.service.name", operator: "In", values: ["n"] }],
        },
      }),
    );
    b.put("d/a", { labels: { color: "red" } });
    b.put("x/b");
    b.put("d/n");
    b.put("d/c");
    expect(["d/a", "x/b", "d/n"].map((key) => b.has(key))).toEqual([
      ["10.1.0.0"],
      ["10.2.0.0"],
      ["10.3.0.0"],
    ]);
    expect(b.reason("d/c")).toBe("no_pool");
    b.put("d/a", { labels: {} });
    expect([b.has("d/a"), b.reason("d/a")]).toEqual([[], "no_pool"]);
  });
});

describe("what changes later", () => {
  test("a released address goes to the one that has waited longest", () => {
    const b = bench(pool("p", ["10.0.0.1/32"]));
    for (const name of ["a", "c", "b"]) b.put(`d/${name}`);
    b.ipam.takeChanges();
    b.ipam.deleteService("d/a");
    expect([b.has("d/c"), b.reason("d/b")]).toEqual([["10.0.0.1"], "out_of_ips"]);
    b.put("d/c", { type: "NodePort", marked: true });
    expect(b.ipam.serviceState("d/c")).toEqual({ addresses: [], verdict: undefined });
    expect(b.has("d/b")).toEqual(["10.0.0.1"]);
  });

  test("a disabled pool gives nothing more, and takes nothing away", () => {
    const b = bench(pool("p", ["10.0.0.0/30"]));
    b.put("d/a");
    b.ipam.putPool(pool("p", ["10.0.0.0/30"], { disabled: true }));
    b.put("d/b");
    expect([b.has("d/a"), b.reason("d/b")]).toEqual([["10.0.0.0"], "no_pool"]);
    b.ipam.putPool(pool("p", ["10.0.0.0/30"]));
    expect(b.has("d/b")).toEqual(["10.0.0.1"]);
  });

  test("addresses outside of all pools are taken away, and replaced where a pool has others", () => {
    const b = bench(pool("p", ["10.0.0.0/30"]));
    b.put("d/a");
    b.ipam.putPool(pool("p", ["10.9.0.0/30"]));
    expect(b.has("d/a")).toEqual(["10.9.0.0"]);
    b.ipam.deletePool("p");
    expect([b.has("d/a"), b.reason("d/a")]).toEqual([[], "no_pool"]);
  });

  test("the younger of two pools that overlap is in conflict until the overlap is gone", () => {
    const b = bench(
      pool("old", ["10.0.0.0/24"], { disabled: true }, "1"),
      pool("new", ["10.0.0.128/25"], {}, "2"),
    );
    expect(b.ipam.poolState("new")?.conflict).toMatchObject({
      reason: "cidr_overlap",
      message: expect.stringContaining("old"),
    });
    expect(b.ipam.poolState("old")?.conflict).toBeUndefined();
    b.put("d/a");
    expect(b.reason("d/a")).toBe("no_pool");
    b.ipam.putPool(pool("old", ["10.0.0.0/25"], { disabled: true }, "1"));
    expect([b.has("d/a"), b.ipam.poolState("new")?.conflict]).toEqual([["10.0.0.128"], undefined]);
  });

  test("a block that makes no sense is told, and the pool not used", () => {
    const b = bench({ metadata: { name: "p" }, spec: { blocks: [{ start: "10.0.0.9", stop: "10.0.0.1" }] } });
    expect(b.ipam.poolState("p")?.conflict).toMatchObject({
      reason: "invalid_block",
      message: "spec.blocks[0]: stop 10.0.0.1 comes before start 10.0.0.9",
    });
  });
});

describe("requested addresses", () => {
  const ips = (text: string): Options => ({ annotations: { "lbipam.cilium.io/ips": text } });

  test.each([
    ["the annotation", ips("10.0.0.7"), ["10.0.0.7"]],
    ["its former name", { annotations: { "io.cilium/lb-ipam-ips": "10.0.0.7" } }, ["10.0.0.7"]],
    ["spec.loadBalancerIP", { loadBalancerIP: "10.0.0.7" }, ["10.0.0.7"]],
    ["several", ips("10.0.0.7, 10.0.0.3"), ["10.0.0.7", "10.0.0.3"]],
  ] as [string, Options, string[]][])("%s", (_title, options, wanted) => {
    const b = bench(pool("p", ["10.0.0.0/24"]));
    b.put("d/a", options);
    expect(b.has("d/a")).toEqual(wanted);
  });

  test("the reason says what is in the way", () => {
    const b = bench(
      pool("p", ["10.0.0.0/24"]),
      pool("red", ["10.1.0.0/24"], { serviceSelector: { matchLabels: { color: "red" } } }),
      pool("off", ["10.2.0.0/24"], { disabled: true }),
    );
    b.put("d/first", ips("10.0.0.7"));
    const reasons = ["10.0.0.7", "10.1.0.1", "10.2.0.1", "192.0.2.1", "ten"].map((text) => {
      b.put("d/a", ips(text));
      return b.reason("d/a");
    });
    expect(reasons).toEqual([
      "already_allocated",
      "pool_selector_mismatch",
      "pool_not_in_use",
      "no_pool",
      "invalid_request",
    ]);
    b.put("d/a", ips("10.0.0.7"));
    b.put("d/first", ips("10.0.0.8"));
    expect([b.has("d/a"), b.reason("d/a")]).toEqual([["10.0.0.7"], "satisfied"]);
  });

  test("an address that is asked for no more stays", () => {
    const b = bench(pool("p", ["10.0.0.0/24"]));
    b.put("d/a", ips("10.0.0.7"));
    b.put("d/a");
    expect(b.has("d/a")).toEqual(["10.0.0.7"]);
  });
});

describe("sharing", () => {
  const shared = (port: number, more: Options & { across?: string } = {}): Options => {
    const { across, ...options } = more;
    const extra = across === undefined ? {} : { "lbipam.cilium.io/sharing-cross-namespace": across };
    return { ports: [{ port }], ...options, annotations: { "lbipam.cilium.io/sharing-key": "k", ...extra } };
  };
  const local = { externalTrafficPolicy: "Local", selector: { app: "a" } };

  test.each([
    ["one key, other ports", shared(80), "d/b", shared(443), true],
    ["one key, the same port", shared(80), "d/b", shared(80), false],
    [
      "one port of two protocols",
      shared(80),
      "d/b",
      shared(80, { ports: [{ port: 80, protocol: "UDP" }] }),
      true,
    ],
    [
      "another key",
      shared(80),
      "d/b",
      { ...shared(443), annotations: { "lbipam.cilium.io/sharing-key": "l" } },
      false,
    ],
    ["another namespace", shared(80), "e/b", shared(443), false],
    ["another namespace, one of them agrees", shared(80, { across: "e" }), "e/b", shared(443), false],
    ["another namespace, both agree", shared(80, { across: "e" }), "e/b", shared(443, { across: "*" }), true],
    ["one of them Local", shared(80), "d/b", shared(443, local), false],
    ["both Local, the same pods", shared(80, local), "d/b", shared(443, local), true],
    [
      "both Local, other pods",
      shared(80, local),
      "d/b",
      shared(443, { ...local, selector: { app: "b" } }),
      false,
    ],
  ] as [string, Options, string, Options, boolean][])("%s", (_title, first, key, second, together) => {
    const b = bench(pool("p", ["10.0.0.0/24"]));
    b.put("d/a", first);
    b.put(key, second);
    expect(b.has(key)).toEqual([together ? "10.0.0.0" : "10.0.0.1"]);
    expect(b.ipam.poolState("p")?.used).toBe(together ? 1n : 2n);
  });

  test("who changes its ports so that they clash moves; the other stays", () => {
    const b = bench(pool("p", ["10.0.0.0/24"]));
    b.put("d/a", shared(80));
    b.put("d/b", shared(443));
    b.put("d/b", shared(80));
    expect([b.has("d/a"), b.has("d/b")]).toEqual([["10.0.0.0"], ["10.0.0.1"]]);
  });

  test("who waits gets in when the port in the way is gone", () => {
    const b = bench(pool("p", ["10.0.0.1/32"]));
    b.put("d/a", shared(80));
    b.put("d/b", shared(80));
    expect(b.reason("d/b")).toBe("out_of_ips");
    b.put("d/a", shared(81));
    expect(b.has("d/b")).toEqual(["10.0.0.1"]);
  });
});

describe("an operator that starts anew", () => {
  const restored = (pools: PoolObject[], services: LoadBalancedService[]): Bench => {
    const b = new Bench();
    b.ipam.restore(
      pools,
      services.map((each) => requestOf(each, true)),
    );
    return b;
  };

  test("keeps every address that may stay, before it gives any", () => {
    const b = restored(
      [pool("p", ["10.0.0.0/30"])],
      [service("d/a"), service("d/b", { has: ["10.0.0.0"] }), service("d/c", { has: ["10.0.0.3"] })],
    );
    expect(["d/a", "d/b", "d/c"].map((key) => b.has(key))).toEqual([
      ["10.0.0.1"],
      ["10.0.0.0"],
      ["10.0.0.3"],
    ]);
  });

  test("of two with one address the older keeps it", () => {
    const aged = (key: string, created: string): LoadBalancedService => {
      const made = service(key, { has: ["10.0.0.0"] });
      return { ...made, metadata: { ...made.metadata, creationTimestamp: created } };
    };
    const b = restored([pool("p", ["10.0.0.0/30"])], [aged("d/a", "2026-02"), aged("d/b", "2026-01")]);
    expect([b.has("d/a"), b.has("d/b")]).toEqual([["10.0.0.1"], ["10.0.0.0"]]);
  });

  test("takes away what no pool has; without pools only from Services that it once served", () => {
    const b = restored([pool("p", ["10.0.0.0/30"])], [service("d/a", { has: ["192.0.2.1"] })]);
    expect(b.has("d/a")).toEqual(["10.0.0.0"]);
    const none = restored(
      [],
      [service("d/a", { has: ["192.0.2.1"], marked: true }), service("d/b", { has: ["192.0.2.2"] })],
    );
    expect([none.has("d/a"), none.has("d/b")]).toEqual([[], undefined]);
  });
});

test("the work of a change is that of the Services it concerns, at 20,000 Services", () => {
  const b = bench(
    pool("p", ["10.0.0.0/16"], { serviceSelector: { matchLabels: { pool: "p" } } }),
    pool("q", ["10.9.0.0/31"]),
  );
  const labels = { pool: "p" };
  for (let i = 0; i < 20_000; i++) b.put(`d/s${i}`, { labels });
  for (let i = 0; i < 1_000; i++) b.put(`d/w${i}`, { ports: [{ port: i + 1 }] });
  const cost = (change: () => void): number => {
    const before = b.ipam.looks;
    change();
    return b.ipam.looks - before;
  };
  expect(cost(() => b.put("d/new", { labels }))).toBe(1);
  expect(cost(() => b.put("d/new", { labels, ports: [{ port: 81 }] }))).toBe(1);
  expect(cost(() => b.ipam.deleteService("d/new"))).toBe(0);
  // "q" is exhausted and 998 wait: one of them gets what is freed.
  expect(cost(() => b.ipam.deleteService("d/w0"))).toBe(1);
  expect(b.has("d/w2")).toEqual(["10.9.0.0"]);
  // A pool that comes is of interest to those who wait alone.
  expect(cost(() => b.ipam.putPool(pool("r", ["10.8.0.0/24"])))).toBe(997);
});
