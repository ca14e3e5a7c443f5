import { formatIp, parseIp } from "@axoneme/base";
import { describe, expect, it } from "vitest";
import { type LocalPod, type LocalRedirectPolicyObject, ServiceCompiler, ServiceFlag } from "../src/index.ts";
import { Maps } from "./maps.ts";
import { endpoint, keyOf, problemTexts, service, slice, table, viewOf } from "./objects.ts";

type Spec = NonNullable<LocalRedirectPolicyObject["spec"]>;
const dns = { port: "5353", protocol: "UDP", name: "dns" };
const policy = (
  name: string,
  redirectFrontend: Spec["redirectFrontend"],
  more: Partial<Spec> & { toPorts?: NonNullable<Spec["redirectBackend"]>["toPorts"] } = {},
): LocalRedirectPolicyObject => {
  const { toPorts = [dns], ...spec } = more;
  return {
    metadata: { namespace: "shop", name },
    spec: {
      ...(redirectFrontend && { redirectFrontend }),
      redirectBackend: { localEndpointSelector: { matchLabels: { app: "dns" } }, toPorts },
      ...spec,
    },
  };
};
const toService = { serviceMatcher: { serviceName: "kube-dns", namespace: "shop" } };
const pod = (name: string, ip: string, more: Partial<LocalPod> = {}): LocalPod => ({
  namespace: "shop",
  name,
  labels: { app: "dns" },
  ips: [ip],
  ports: [{ name: "dns", port: 5300, protocol: "UDP" }],
  ready: true,
  ...more,
});

function withService(): { compiler: ServiceCompiler; maps: Maps } {
  const compiler = new ServiceCompiler({ node: { name: "n1" } });
  const maps = new Maps();
  const ports = [
    { name: "dns", port: 53, protocol: "UDP" },
    { name: "dns-tcp", port: 53, protocol: "TCP" },
  ];
  maps.apply(compiler.upsertService(service("kube-dns", { clusterIPs: ["10.96.0.10"], ports })));
  const targets = [
    { name: "dns", port: 53, protocol: "UDP" },
    { name: "dns-tcp", port: 53, protocol: "TCP" },
  ];
  maps.apply(compiler.upsertSlice(slice("s", "kube-dns", [endpoint("10.0.9.9", undefined, "n2")], targets)));
  return { compiler, maps };
}

describe("a redirected Service", () => {
  it("goes to ready pods of this node by port name, and back when there is none", () => {
    const { compiler, maps } = withService();
    maps.apply(compiler.upsertRedirect(policy("node-local", toService)));
    const plain = { "10.96.0.10:53/6": ["10.0.9.9:53"], "10.96.0.10:53/17": ["10.0.9.9:53"] };
    expect(table(compiler)).toEqual(plain);
    maps.apply(compiler.upsertLocalPod(pod("p", "10.0.0.53")));
    expect(table(compiler)).toEqual({ ...plain, "10.96.0.10:53/17": ["10.0.0.53:5353"] });
    const view = viewOf(compiler, "10.96.0.10:53/17");
    expect([view?.row.flags, view?.type, view?.locality]).toEqual([
      ServiceFlag.clusterIp | ServiceFlag.localRedirect,
      "LocalRedirect",
      "local redirect policy: ready pods of this node",
    ]);
    maps.apply(compiler.upsertLocalPod(pod("p", "10.0.0.53", { ready: false })));
    expect(table(compiler)).toEqual(plain);
    maps.apply(compiler.upsertLocalPod(pod("p", "10.0.0.53")));
    maps.apply(compiler.deleteLocalPod("shop", "p"));
    expect(table(compiler)).toEqual(plain);
    expect(problemTexts(compiler)).toEqual([]);
  });

  it("ignores pods of other namespaces and labels", () => {
    const { compiler } = withService();
    compiler.upsertRedirect(policy("node-local", toService));
    expect(compiler.upsertLocalPod(pod("p", "10.0.0.53", { namespace: "other" }))).toEqual([]);
    expect(compiler.upsertLocalPod(pod("q", "10.0.0.54", { labels: { app: "web" } }))).toEqual([]);
    expect(
      compiler.upsertLocalPod(pod("q", "10.0.0.54", { labels: { app: "dns" } })).map(({ op }) => op),
    ).toEqual(["put-backend", "put-slots", "put-service"]);
  });

  it("takes the port of the pod that the policy names", () => {
    const { compiler } = withService();
    compiler.upsertLocalPod(pod("p", "10.0.0.53"));
    compiler.upsertRedirect(policy("r", toService, { toPorts: [{ ...dns, port: "dns" }] }));
    expect(table(compiler)["10.96.0.10:53/17"]).toEqual(["10.0.0.53:5300"]);
  });

  it("keeps the Service itself for backends that skip, in a scope of its own", () => {
    const { compiler, maps } = withService();
    maps.apply(compiler.upsertRedirect(policy("r", toService, { skipRedirectFromBackend: true })));
    maps.apply(compiler.upsertLocalPod(pod("p", "10.0.0.53")));
    expect(table(compiler)).toMatchObject({
      "10.96.0.10:53/17": ["10.0.0.53:5353"],
      "10.96.0.10:53/17/o": ["10.0.9.9:53"],
    });
    expect([...maps.skips.values()].map(({ client }) => formatIp(client))).toEqual(["10.0.0.53"]);
    const explain = (client: string) =>
      compiler.explain({
        client: parseIp(client),
        key: keyOf("10.96.0.10", 53, 17),
        inside: true,
        nodePortAddress: false,
      });
    expect(explain("10.0.0.53").frontend?.row.flags).toBe(ServiceFlag.clusterIp);
    expect(explain("10.0.0.54").frontend?.type).toBe("LocalRedirect");
    const gone = compiler.deleteRedirect("shop", "r");
    expect(gone.map(({ op }) => op)).toEqual([
      "put-service",
      "delete-service",
      "delete-skip",
      "delete-backend",
    ]);
    maps.apply(gone);
    expect(maps.skips.size).toBe(0);
  });

  it("of two policies follows the first by name", () => {
    const { compiler } = withService();
    compiler.upsertLocalPod(pod("p", "10.0.0.53"));
    compiler.upsertRedirect(policy("b", toService));
    compiler.upsertRedirect(policy("a", toService, { toPorts: [{ ...dns, port: "5454" }] }));
    expect(table(compiler)["10.96.0.10:53/17"]).toEqual(["10.0.0.53:5454"]);
    expect(problemTexts(compiler)).toEqual([
      "CiliumLocalRedirectPolicy b : Service shop/kube-dns is redirected by policy shop/a",
    ]);
    compiler.deleteRedirect("shop", "a");
    expect(table(compiler)["10.96.0.10:53/17"]).toEqual(["10.0.0.53:5353"]);
    expect(problemTexts(compiler)).toEqual([]);
  });

  it("is redirected on the ports of the policy only", () => {
    const { compiler } = withService();
    compiler.upsertLocalPod(pod("p", "10.0.0.53"));
    const serviceMatcher = {
      ...toService.serviceMatcher,
      toPorts: [{ port: "53", protocol: "TCP", name: "t" }],
    };
    compiler.upsertRedirect(
      policy("r", { serviceMatcher }, { toPorts: [{ port: "5354", protocol: "TCP", name: "t" }] }),
    );
    expect(table(compiler)).toEqual({
      "10.96.0.10:53/6": ["10.0.0.53:5354"],
      "10.96.0.10:53/17": ["10.0.9.9:53"],
    });
  });
});

describe("a redirected address", () => {
  const toAddress = { addressMatcher: { ip: "169.254.169.254", toPorts: [{ port: "80", protocol: "TCP" }] } };
  const toPorts = [{ port: "8080", protocol: "TCP" }];

  it("goes to pods of this node; without one its traffic is left alone", () => {
    const compiler = new ServiceCompiler();
    const maps = new Maps();
    maps.apply(
      compiler.upsertRedirect(policy("meta", toAddress, { toPorts, skipRedirectFromBackend: true })),
    );
    expect(maps.services.size).toBe(0);
    maps.apply(compiler.upsertLocalPod(pod("p", "10.0.0.5")));
    expect(table(compiler)).toEqual({ "169.254.169.254:80/6": ["10.0.0.5:8080"] });
    expect(viewOf(compiler, "169.254.169.254:80/6")?.row.flags).toBe(
      ServiceFlag.localRedirect | ServiceFlag.skip,
    );
    const { outcome } = compiler.explain({
      client: parseIp("10.0.0.5"),
      key: keyOf("169.254.169.254", 80),
      inside: true,
      nodePortAddress: false,
    });
    expect(outcome).toBe("not-translated");
    maps.apply(compiler.deleteLocalPod("shop", "p"));
    expect([maps.services.size, maps.backends.size, maps.skips.size]).toEqual([0, 0, 0]);
  });

  it("is refused when a Service has it", () => {
    const compiler = new ServiceCompiler();
    compiler.upsertService(service("web", { clusterIPs: ["169.254.169.254"], ports: [{ port: 80 }] }));
    compiler.upsertLocalPod(pod("p", "10.0.0.5"));
    compiler.upsertRedirect(policy("meta", toAddress, { toPorts }));
    expect(viewOf(compiler, "169.254.169.254:80/6")?.owner).toBe("Service");
    expect(problemTexts(compiler)).toEqual([
      "CiliumLocalRedirectPolicy meta 80/TCP: 169.254.169.254:80/TCP belongs to Service shop/web",
    ]);
  });
});

describe("a policy that makes no sense", () => {
  it.each<[string, LocalRedirectPolicyObject, string]>([
    [
      "has no frontend",
      policy("r", {}),
      "redirectFrontend wants either an addressMatcher or a serviceMatcher",
    ],
    [
      "is for another namespace",
      policy("r", { serviceMatcher: { serviceName: "x", namespace: "other" } }),
      "serviceMatcher.namespace is other: a policy redirects Services of its own namespace only",
    ],
    [
      "has a bad address",
      policy("r", { addressMatcher: { ip: "10.0.0.0/8", toPorts: [dns] } }),
      'addressMatcher.ip "10.0.0.0/8" is not an IPv4 or IPv6 address',
    ],
    [
      "has a bad port",
      policy("r", toService, { toPorts: [{ port: "0", protocol: "TCP" }] }),
      'redirectBackend.toPorts: "0" is no port from 1 to 65535',
    ],
    [
      "has a bad selector",
      {
        metadata: { namespace: "shop", name: "r" },
        spec: {
          redirectFrontend: toService,
          redirectBackend: {
            localEndpointSelector: { matchExpressions: [{ key: "a", operator: "Near" }] },
            toPorts: [dns],
          },
        },
      },
      'redirectBackend.localEndpointSelector: matchExpressions on a: unknown operator "Near"',
    ],
    [
      "pairs no ports",
      policy("r", {
        addressMatcher: {
          ip: "10.9.9.9",
          toPorts: [
            { port: "1", protocol: "UDP", name: "dns" },
            { port: "2", protocol: "UDP", name: "b" },
          ],
        },
      }),
      'no port of redirectBackend.toPorts has its name "b" and protocol',
    ],
  ])("%s: it is reported", (_, object, reason) => {
    const { compiler } = withService();
    compiler.upsertLocalPod(pod("p", "10.0.0.53"));
    compiler.upsertRedirect(object);
    expect(
      compiler.problemsOf("CiliumLocalRedirectPolicy", "shop", "r").map((problem) => problem.reason),
    ).toContain(reason);
    expect(viewOf(compiler, "10.96.0.10:53/17")?.type).toBe("ClusterIP");
  });
});
