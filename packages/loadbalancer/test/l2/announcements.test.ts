import { formatIp, parseIp } from "@axoneme/base";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  compileL2Policy,
  L2Announcements,
  type L2Changes,
  type L2Device,
  type L2PolicyObject,
  type L2ServiceObject,
} from "../../src/l2/index.ts";

const device = (name: string, ifindex: number): L2Device => ({
  ...{ name, ifindex },
  mac: Uint8Array.of(2, 0, 0, 0, 0, ifindex),
});
const eth0 = device("eth0", 2);
const eth1 = device("eth1", 3);

function service(
  name: string,
  ips: string[],
  more: { labels?: Record<string, string>; spec?: object } = {},
): L2ServiceObject {
  return {
    metadata: { namespace: "d", name, labels: more.labels ?? {} },
    spec: { type: "LoadBalancer", ...more.spec },
    status: { loadBalancer: { ingress: ips.map((ip) => ({ ip })) } },
  };
}

function policy(name: string, spec: NonNullable<L2PolicyObject["spec"]> = {}): L2PolicyObject {
  return { metadata: { name }, spec: { loadBalancerIPs: true, externalIPs: true, ...spec } };
}

const text = ({ stand, resign, announce, withdraw }: L2Changes): object => ({
  ...(stand.length > 0 ? { stand } : {}),
  ...(resign.length > 0 ? { resign } : {}),
  ...(announce.length > 0 ? { announce: announce.map((e) => `${formatIp(e.address)}%${e.ifindex}`) } : {}),
  ...(withdraw.length > 0 ? { withdraw: withdraw.map((e) => `${formatIp(e.address)}%${e.ifindex}`) } : {}),
});

class Node {
  readonly l2: L2Announcements;
  constructor(labels: Record<string, string> = {}, restored: string[] = []) {
    this.l2 = new L2Announcements(restored.map((ip) => ({ address: parseIp(ip), ifindex: 2 })));
    this.l2.setNode(labels);
    this.l2.setDevices([eth0, eth1]);
  }
  take(): object {
    return text(this.l2.takeChanges());
  }
  lead(key: string, leading = true): object {
    this.l2.setLeading(key, leading);
    return this.take();
  }
}

describe("announcements", () => {
  test("a node stands for a Service that a policy selects, and answers once it leads", () => {
    const node = new Node();
    node.l2.putService(service("a", ["192.0.2.1", "2001:db8::1"]));
    expect(node.take()).toEqual({});
    node.l2.putPolicy(policy("p", { interfaces: ["^eth0$"] }));
    expect(node.take()).toEqual({ stand: ["d/a"] });
    expect(node.lead("d/a")).toEqual({ announce: ["192.0.2.1%2", "2001:db8::1%2"] });
    expect(node.lead("d/a")).toEqual({});
    expect(node.lead("d/a", false)).toEqual({ withdraw: ["192.0.2.1%2", "2001:db8::1%2"] });
  });

  test("addresses and devices follow at once while it leads", () => {
    const node = new Node();
    node.l2.putService(service("a", ["192.0.2.1"]));
    node.l2.putPolicy(policy("p", { interfaces: ["^eth0$"] }));
    node.take();
    node.lead("d/a");
    node.l2.putService(service("a", ["192.0.2.2"]));
    expect(node.take()).toEqual({ announce: ["192.0.2.2%2"], withdraw: ["192.0.2.1%2"] });
    node.l2.putPolicy(policy("p"));
    expect(node.take()).toEqual({ announce: ["192.0.2.2%3"] });
    node.l2.setDevices([eth0]);
    expect(node.take()).toEqual({ withdraw: ["192.0.2.2%3"] });
    node.l2.setDevices([{ ...eth0, mac: Uint8Array.of(2, 0, 0, 0, 9, 9) }]);
    expect(node.take()).toEqual({ announce: ["192.0.2.2%2"] });
    node.l2.deletePolicy("p");
    expect(node.take()).toEqual({ resign: ["d/a"], withdraw: ["192.0.2.2%2"] });
    node.l2.putPolicy(policy("p"));
    expect(node.take()).toEqual({ stand: ["d/a"] });
    node.lead("d/a");
    node.l2.deleteService("d/a");
    expect(node.take()).toEqual({ resign: ["d/a"], withdraw: ["192.0.2.2%2"] });
  });

  const external = { externalIPs: ["198.51.100.1"] };
  test.each([
    [
      "externalTrafficPolicy Local",
      service("a", ["192.0.2.1"], { spec: { externalTrafficPolicy: "Local" } }),
      {},
      0,
    ],
    [
      "our class",
      service("a", ["192.0.2.1"], { spec: { loadBalancerClass: "io.cilium/l2-announcer" } }),
      {},
      1,
    ],
    [
      "another class",
      service("a", ["192.0.2.1"], { spec: { loadBalancerClass: "io.cilium/bgp-control-plane" } }),
      {},
      0,
    ],
    ["external addresses", service("a", [], { spec: { type: "ClusterIP", ...external } }), {}, 1],
    ["external addresses not asked for", service("a", [], { spec: external }), { externalIPs: false }, 0],
    ["load balancer addresses not asked for", service("a", ["192.0.2.1"]), { loadBalancerIPs: false }, 0],
    [
      "no kind of address asked for",
      service("a", ["192.0.2.1"]),
      { loadBalancerIPs: false, externalIPs: false },
      0,
    ],
    ["addresses left on a ClusterIP", service("a", ["192.0.2.1"], { spec: { type: "ClusterIP" } }), {}, 0],
    ["a node selected", service("a", ["192.0.2.1"]), { nodeSelector: { matchLabels: { edge: "yes" } } }, 1],
    [
      "a node not selected",
      service("a", ["192.0.2.1"]),
      { nodeSelector: { matchLabels: { edge: "no" } } },
      0,
    ],
    [
      "a Service by name",
      service("a", ["192.0.2.1"]),
      { serviceSelector: { matchLabels: { "io.kubernetes.service.name": "b" } } },
      0,
    ],
    ["no device that matches", service("a", ["192.0.2.1"]), { interfaces: ["^wlan"] }, 0],
    ["an expression that is none", service("a", ["192.0.2.1"]), { interfaces: ["("] }, 0],
  ] as [string, L2ServiceObject, object, number][])("%s", (_title, object, spec, stands) => {
    const node = new Node({ edge: "yes" });
    node.l2.putPolicy(policy("p", spec));
    node.l2.putService(object);
    expect(node.l2.takeChanges().stand).toHaveLength(stands);
  });

  test("an address of a proxy is not announced", () => {
    const node = new Node();
    node.l2.putPolicy(policy("p"));
    const proxied = service("a", []);
    node.l2.putService({
      ...proxied,
      status: { loadBalancer: { ingress: [{ ip: "192.0.2.1", ipMode: "Proxy" }] } },
    });
    expect(node.take()).toEqual({});
  });

  test("a shared address is announced by one Service alone, and moves on with no gap when it goes", () => {
    const node = new Node();
    node.l2.putPolicy(policy("p", { interfaces: ["eth0"] }));
    node.l2.putService(service("b", ["192.0.2.1"]));
    expect(node.take()).toEqual({ stand: ["d/b"] });
    node.lead("d/b");
    node.l2.putService(service("a", ["192.0.2.1"]));
    expect(node.take()).toEqual({ stand: ["d/a"], resign: ["d/b"] });
    expect(node.lead("d/a")).toEqual({});
    node.l2.putService(service("b", ["192.0.2.1", "192.0.2.9"]));
    expect(node.take()).toEqual({ stand: ["d/b"] });
    expect(node.lead("d/b")).toEqual({ announce: ["192.0.2.9%2"] });
    node.l2.deleteService("d/a");
    expect(node.take()).toEqual({ resign: ["d/a"] });
  });

  test("what an earlier process announced stays until it is known who leads; what nobody wants goes at once", () => {
    const node = new Node({}, ["192.0.2.1", "192.0.2.2", "192.0.2.3"]);
    node.l2.putPolicy(policy("p", { interfaces: ["eth0"] }));
    node.l2.putService(service("a", ["192.0.2.1"]));
    node.l2.putService(service("b", ["192.0.2.2"]));
    expect(node.take()).toEqual({ stand: ["d/a", "d/b"], withdraw: ["192.0.2.3%2"] });
    expect(node.take()).toEqual({});
    expect(node.lead("d/a")).toEqual({ announce: ["192.0.2.1%2"] });
    expect(node.lead("d/b", false)).toEqual({ withdraw: ["192.0.2.2%2"] });
  });
});

test("what could not be written comes again", () => {
  const node = new Node();
  node.l2.putPolicy(policy("p", { interfaces: ["eth0"] }));
  node.l2.putService(service("a", ["192.0.2.1"]));
  node.take();
  node.l2.setLeading("d/a", true);
  const first = node.l2.takeChanges();
  node.l2.retry(first.announce);
  expect(node.take()).toEqual(text(first));
  node.l2.setLeading("d/a", false);
  const second = node.l2.takeChanges();
  node.l2.retry(second.withdraw);
  expect(node.take()).toEqual(text(second));
});

test("problems of a policy are told by the type of their condition", () => {
  const expression = { matchExpressions: [{ key: "a", operator: "In", values: [] }] };
  const compiled = compileL2Policy(
    policy("p", { nodeSelector: expression, serviceSelector: expression, interfaces: ["eth", "("] }),
  );
  expect(compiled.problems.map(({ type }) => type)).toEqual([
    "io.cilium/bad-node-selector",
    "io.cilium/bad-service-selector",
    "io.cilium/bad-interface-regex",
  ]);
  expect(compiled.problems[2]?.message).toContain('"(" is no regular expression');
});

test("whatever happens in whatever order, several nodes never answer for one address, and the changes add up", () => {
  const ips = ["192.0.2.1", "192.0.2.2"];
  const step = fc.oneof(
    fc.record({
      kind: fc.constant("service" as const),
      name: fc.constantFrom("a", "b", "c"),
      ips: fc.subarray(ips),
      gone: fc.boolean(),
      red: fc.boolean(),
    }),
    fc.record({
      kind: fc.constant("policy" as const),
      name: fc.constantFrom("p", "q"),
      red: fc.boolean(),
      edge: fc.boolean(),
      gone: fc.boolean(),
    }),
    fc.record({ kind: fc.constant("lead" as const), name: fc.constantFrom("a", "b", "c"), node: fc.nat(1) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const nodes = [new Node({ edge: "yes" }), new Node({ edge: "no" })];
      const answers = nodes.map(() => new Set<string>());
      for (const each of steps) {
        // The leader that was is told before the one that is.
        const order = each.kind === "lead" && each.node === 0 ? [1, 0] : [0, 1];
        for (const i of order) {
          const { l2 } = nodes[i] as Node;
          if (each.kind === "lead") l2.setLeading(`d/${each.name}`, each.node === i);
          else if (each.kind === "service") {
            const labels = each.red ? { color: "red" } : {};
            if (each.gone) l2.deleteService(`d/${each.name}`);
            else l2.putService(service(each.name, each.ips, { labels }));
          } else if (each.gone) l2.deletePolicy(each.name);
          else {
            const serviceSelector = each.red ? { matchLabels: { color: "red" } } : {};
            const nodeSelector = each.edge ? { matchLabels: { edge: "yes" } } : {};
            l2.putPolicy(policy(each.name, { serviceSelector, nodeSelector, interfaces: ["eth0"] }));
          }
          const { announce, withdraw } = l2.takeChanges();
          for (const { address } of withdraw) expect(answers[i]?.delete(formatIp(address))).toBe(true);
          for (const { address } of announce) expect(answers[i]?.has(formatIp(address))).toBe(false);
          for (const { address } of announce) answers[i]?.add(formatIp(address));
        }
        for (const ip of ips) expect(answers.filter((held) => held.has(ip)).length).toBeLessThanOrEqual(1);
      }
    }),
    { numRuns: 1000 },
  );
});
