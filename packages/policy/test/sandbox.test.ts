import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  PolicySandbox,
  previewChange,
  type SandboxQuery,
  type SandboxSide,
  suggestPolicies,
} from "../src/index.ts";

const pod = (namespace: string, app: string, more: Record<string, string> = {}): SandboxSide => ({
  isPod: true,
  labels: {
    "k8s:app": app,
    "k8s:io.kubernetes.pod.namespace": namespace,
    "k8s:io.cilium.k8s.policy.cluster": "default",
    "k8s:pod-template-hash": "5d9f",
    ...more,
  },
});
const world = (ip: string, ...names: string[]): SandboxSide => ({
  isPod: false,
  labels: { "reserved:world-ipv4": "" },
  ip,
  names,
});
const host: SandboxSide = { isPod: false, labels: { "reserved:host": "" }, ip: "172.30.0.11" };
const tcp = (source: SandboxSide, destination: SandboxSide, port = 80): SandboxQuery => ({
  source,
  destination,
  proto: 6,
  port,
});

const onlyWeb = {
  apiVersion: "networking.k8s.io/v1",
  kind: "NetworkPolicy",
  metadata: { name: "only-web", namespace: "shop" },
  spec: {
    podSelector: { matchLabels: { app: "cart" } },
    ingress: [{ from: [{ podSelector: { matchLabels: { app: "web" } } }], ports: [{ port: 80 }] }],
  },
};
const denyCidr = {
  apiVersion: "cilium.io/v2",
  kind: "CiliumNetworkPolicy",
  metadata: { name: "no-bad-place", namespace: "shop" },
  spec: {
    endpointSelector: {},
    egressDeny: [{ toCIDR: ["203.0.113.0/24"] }],
    egress: [{ toEntities: ["all"] }],
  },
};
const names = {
  apiVersion: "cilium.io/v2",
  kind: "CiliumNetworkPolicy",
  metadata: { name: "names", namespace: "bank" },
  spec: { endpointSelector: {}, egress: [{ toFQDNs: [{ matchPattern: "*.example.com" }] }] },
};

describe("a sandbox", () => {
  const sandbox = new PolicySandbox([onlyWeb, denyCidr, names]);

  test("says who allows, and who else matched", () => {
    const { isAllowed, ingress, egress } = sandbox.judge(tcp(pod("shop", "web"), pod("shop", "cart")));
    expect(isAllowed).toBe(true);
    expect(ingress).toMatchObject({ verdict: "allow", isEnforced: true, rule: { path: "spec.ingress[0]" } });
    expect(egress).toMatchObject({ verdict: "allow", rule: { policy: { name: "no-bad-place" } } });
  });

  test("says whose default deny it is", () => {
    const { isAllowed, ingress } = sandbox.judge(tcp(pod("shop", "intruder"), pod("shop", "cart")));
    expect(isAllowed).toBe(false);
    expect(ingress).toMatchObject({
      verdict: "default-deny",
      rule: { policy: { name: "only-web" } },
      others: [],
    });
    expect(sandbox.judge(tcp(pod("shop", "web"), pod("shop", "cart"), 81)).isAllowed).toBe(false);
  });

  test("says which rule denies, and which it beats", () => {
    const { egress } = sandbox.judge(tcp(pod("shop", "web"), world("203.0.113.9")));
    expect(egress).toMatchObject({ verdict: "deny", rule: { path: "spec.egressDeny[0]" } });
    expect(egress?.others.map(({ path }) => path)).toEqual(["spec.egress[0]"]);
    expect(sandbox.judge(tcp(pod("shop", "web"), world("198.51.100.1"))).isAllowed).toBe(true);
  });

  test.each([
    ["address", false],
    ["nodes", true],
    ["identity", true],
  ] as const)("knows a pod by its address where rules on prefixes match by %s", (cidrMatch, isAllowed) => {
    const own = new PolicySandbox([denyCidr], { cidrMatch });
    const inside = { ...pod("dev", "x"), ip: "203.0.113.9" };
    expect(own.judge(tcp(pod("shop", "web"), inside)).isAllowed).toBe(isAllowed);
    expect(own.judge(tcp(pod("shop", "web"), { ...inside, ip: "203.0.114.9" })).isAllowed).toBe(true);
    expect(own.judge(tcp(pod("shop", "web"), { ...host, ip: "203.0.113.8" })).isAllowed).toBe(
      cidrMatch === "identity",
    );
  });

  test("knows addresses by their names", () => {
    const client = pod("bank", "teller");
    expect(sandbox.judge(tcp(client, world("198.51.100.1"))).isAllowed).toBe(false);
    expect(sandbox.judge(tcp(client, world("198.51.100.1", "api.example.com"))).isAllowed).toBe(true);
    expect(sandbox.judge(tcp(client, world("198.51.100.1", "example.com"))).isAllowed).toBe(false);
  });

  test("what is selected by nobody is open", () => {
    expect(sandbox.judge(tcp(host, pod("dev", "x")))).toMatchObject({
      isAllowed: true,
      ingress: { verdict: "allow", isEnforced: false, rule: undefined },
    });
    expect(sandbox.isolation(pod("shop", "cart"))).toEqual({ ingress: true, egress: true });
    expect(sandbox.isolation(pod("dev", "x"))).toEqual({ ingress: false, egress: false });
  });
});

describe("a preview", () => {
  const flows = [
    tcp(pod("shop", "web"), pod("shop", "cart")),
    tcp(pod("shop", "intruder"), pod("shop", "cart")),
    tcp(pod("shop", "intruder"), pod("shop", "cart")),
    tcp(pod("shop", "cart"), pod("shop", "db"), 5432),
  ];
  const pods = ["web", "cart", "db", "intruder"].map((app) => ({
    name: `shop/${app}-1`,
    side: pod("shop", app),
  }));

  test("tells what a new policy cuts off, and who becomes isolated", () => {
    const {
      pods: changed,
      flows: cut,
      nowDenied,
      nowAllowed,
    } = previewChange([], { objects: [onlyWeb], isDeletion: false }, { pods, flows });
    expect(changed).toEqual([
      {
        name: "shop/cart-1",
        before: { ingress: false, egress: false },
        after: { ingress: true, egress: false },
        policies: ["NetworkPolicy shop/only-web"],
      },
    ]);
    expect([cut.length, nowDenied, nowAllowed]).toEqual([1, 1, 0]);
    expect(cut[0]?.after.ingress).toMatchObject({
      verdict: "default-deny",
      rule: { policy: { name: "only-web" } },
    });
  });

  test("a policy that goes opens what it held", () => {
    const deletion = { objects: [onlyWeb], isDeletion: true };
    expect(previewChange([onlyWeb], deletion, { pods, flows })).toMatchObject({
      nowDenied: 0,
      nowAllowed: 1,
    });
  });

  test("names what is not understood", () => {
    const broken = { ...onlyWeb, spec: { ...onlyWeb.spec, ingress: [{ from: [{ podSelecter: {} }] }] } };
    const { problems } = previewChange([], { objects: [broken], isDeletion: false }, { pods, flows });
    expect(problems.join()).toContain("podSelecter");
  });
});

describe("a suggestion", () => {
  test("is what a person would write", () => {
    const seen = [
      tcp(pod("shop", "web"), pod("shop", "cart"), 8080),
      tcp(pod("shop", "cart"), world("198.51.100.1", "api.example.com"), 443),
      {
        ...tcp(pod("shop", "cart"), pod("kube-system", "dns", { "k8s:k8s-app": "kube-dns" }), 53),
        proto: 17,
      },
      tcp(host, pod("shop", "cart"), 8080),
    ];
    const [cart] = suggestPolicies(seen, ({ labels }) => labels["k8s:app"] === "cart");
    expect(cart).toEqual({
      apiVersion: "cilium.io/v2",
      kind: "CiliumNetworkPolicy",
      metadata: { name: "cart-suggested", namespace: "shop" },
      spec: {
        endpointSelector: { matchLabels: { app: "cart" } },
        enableDefaultDeny: { ingress: true, egress: true },
        ingress: [
          {
            fromEndpoints: [{ matchLabels: { app: "web" } }],
            toPorts: [{ ports: [{ port: "8080", protocol: "TCP" }] }],
          },
          { fromEntities: ["host"], toPorts: [{ ports: [{ port: "8080", protocol: "TCP" }] }] },
        ],
        egress: [
          {
            toEndpoints: [
              { matchLabels: { "k8s-app": "kube-dns", "k8s:io.kubernetes.pod.namespace": "kube-system" } },
            ],
            toPorts: [{ ports: [{ port: "53", protocol: "UDP" }], rules: { dns: [{ matchPattern: "*" }] } }],
          },
          {
            toFQDNs: [{ matchName: "api.example.com" }],
            toPorts: [{ ports: [{ port: "443", protocol: "TCP" }] }],
          },
        ],
      },
    });
  });

  const dns = pod("kube-system", "dns", { "k8s:k8s-app": "kube-dns" });
  const asks = (name: string, of = pod("shop", "cart")) => ({ ...tcp(of, dns, 53), proto: 17, asked: name });
  const dnsRules = (policies: ReturnType<typeof suggestPolicies>) =>
    policies.flatMap(({ spec }) =>
      (spec["egress"] as { toPorts?: { rules?: { dns: object[] } }[] }[]).flatMap(({ toPorts = [] }) =>
        toPorts.flatMap(({ rules }) => rules?.dns ?? []),
      ),
    );
  const onlyCart = ({ labels }: SandboxSide) => labels["k8s:app"] === "cart";

  test("lets a workload ask for the names it asked for, and for those that it reaches; no patterns unless wanted", () => {
    const seen = [
      asks("API.example.com."),
      asks("cdn.example.com."),
      asks("cart.shop.svc.cluster.local."),
      asks("odd\\.name.example.com."),
      asks("."),
      asks("secret.example.com.", pod("shop", "web")),
      tcp(pod("shop", "cart"), world("198.51.100.1", "www.example.com."), 443),
      tcp(pod("shop", "cart"), world("198.51.100.1", "api.example.com."), 443),
    ];
    expect(dnsRules(suggestPolicies(seen, onlyCart))).toEqual([
      { matchName: "api.example.com" },
      { matchName: "cart.shop.svc.cluster.local" },
      { matchName: "cdn.example.com" },
      { matchName: "www.example.com" },
    ]);
    const [grouped] = suggestPolicies(seen, onlyCart, { patternsFrom: 3 });
    expect(dnsRules(grouped ? [grouped] : [])).toEqual([
      { matchPattern: "*.example.com" },
      { matchName: "cart.shop.svc.cluster.local" },
    ]);
    expect(grouped?.spec["egress"]).toContainEqual({
      toFQDNs: [{ matchPattern: "*.example.com" }],
      toPorts: [{ ports: [{ port: "443", protocol: "TCP" }] }],
    });
  });

  test("lets every name be asked for where it was not seen what was", () => {
    const unseen = { ...tcp(pod("shop", "cart"), dns, 53), proto: 17 };
    expect(dnsRules(suggestPolicies([unseen], onlyCart))).toEqual([{ matchPattern: "*" }]);
  });

  const app = fc.constantFrom("a", "b", "c", "d");
  const namespace = fc.constantFrom("x", "y");
  const anyPod = fc.tuple(namespace, app).map(([ns, name]) => pod(ns, name));
  const outside = fc.oneof(
    fc.constantFrom("198.51.100.1", "203.0.113.7").map((ip) => world(ip)),
    fc.constantFrom("one.example.com", "two.example.org").map((name) => world("198.51.100.9", name)),
    fc.constant(host),
  );
  const port = fc.constantFrom(53, 80, 443, 5432);
  const connection = fc.oneof(
    fc.tuple(anyPod, fc.oneof(anyPod, outside), port, fc.constantFrom(6, 17, 132)),
    fc.tuple(outside, anyPod, port, fc.constantFrom(6, 17)),
    fc.tuple(anyPod, anyPod, fc.constantFrom(8, 13), fc.constant(1)),
  );
  const queries = fc.array(
    connection.map(
      ([source, destination, to, proto]): SandboxQuery => ({ source, destination, port: to, proto }),
    ),
    { minLength: 1, maxLength: 30 },
  );

  test("denies none of what it was made from, isolates all it is about, and is understood whole", () => {
    fc.assert(
      fc.property(queries, (seen) => {
        const policies = suggestPolicies(seen, () => true);
        const sandbox = new PolicySandbox(policies);
        expect(sandbox.policies.flatMap(({ problems }) => problems)).toEqual([]);
        for (const query of seen) {
          expect(sandbox.judge(query), JSON.stringify(query)).toMatchObject({ isAllowed: true });
          for (const side of [query.source, query.destination])
            if (side.isPod) expect(sandbox.isolation(side)).toEqual({ ingress: true, egress: true });
        }
        // Something nobody was seen to do.
        const [first] = seen;
        if (first?.source.isPod)
          expect(sandbox.judge({ ...first, port: 9999, proto: 6 }).isAllowed).toBe(false);
      }),
      { numRuns: 60 },
    );
  }, 60_000);
});
