import { crdManifests } from "@axoneme/kube";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { TestServer } from "./harness.ts";

/** The definitions of load balancing as stock kubectl sees them. */

let server: TestServer;
beforeAll(async () => {
  server = await TestServer.start();
  await ok(["apply", "-f", "-"], { apiVersion: "v1", kind: "List", items: crdManifests });
});
afterAll(() => server.stop());

async function ok(args: string[], input?: object): Promise<string> {
  const { code, stdout, stderr } = await server.kubectl(args, input && JSON.stringify(input));
  expect(code, `kubectl ${args.join(" ")}\n${stdout}${stderr}`).toBe(0);
  return stdout;
}

async function fails(args: string[], input?: object): Promise<string> {
  const { code, stderr } = await server.kubectl(args, input && JSON.stringify(input));
  expect(code, `kubectl ${args.join(" ")} should fail`).not.toBe(0);
  return stderr;
}

const object = (apiVersion: string, kind: string, name: string, spec: object): object => ({
  ...{ apiVersion, kind, metadata: { name }, spec },
});
const apply = ["apply", "-f", "-"];

describe("kinds of load balancing", { timeout: 30_000 }, () => {
  test("a pool: both versions, short names, columns from its conditions", async () => {
    const pool = (version: string, name: string, cidr: string): object =>
      object(`cilium.io/${version}`, "CiliumLoadBalancerIPPool", name, { blocks: [{ cidr }] });
    await ok(apply, pool("v2", "blue", "10.0.10.0/24"));
    await ok(apply, pool("v2alpha1", "red", "2001:db8::/64"));
    const condition = (type: string, status: string, message: string): object => ({
      ...{ type: `cilium.io/${type}`, status, message, reason: "noop" },
      lastTransitionTime: "2026-01-01T00:00:00Z",
    });
    const conditions = [condition("PoolConflict", "False", ""), condition("IPsAvailable", "Unknown", "254")];
    const patch = JSON.stringify({ status: { conditions } });
    await ok(["patch", "ippool", "blue", "--subresource=status", "--type=merge", "-p", patch]);
    expect(await ok(["get", "lbippools"])).toMatch(
      /NAME +DISABLED +CONFLICTING +IPS AVAILABLE +AGE\nblue +false +False +254 +\S+\nred +false +\S+\n/,
    );
    const both = pool("v2", "bad", "10.0.0.0/8") as { spec: { blocks: object[] } };
    both.spec.blocks = [{ cidr: "10.0.0.0/8", start: "10.0.0.1" }];
    expect(await fails(apply, both)).toMatch(/spec\.blocks\[0\].*\(oneOf\)|spec\.blocks\[0\].*not/);
    expect(await ok(["explain", "ippool.spec.blocks"])).toMatch(/stop\t<string>/);
  });

  test("an L2 announcement policy", async () => {
    const spec = {
      loadBalancerIPs: true,
      interfaces: ["^eth[0-9]+"],
      nodeSelector: { matchLabels: { a: "b" } },
    };
    await ok(apply, object("cilium.io/v2alpha1", "CiliumL2AnnouncementPolicy", "all", spec));
    expect(await ok(["get", "l2announcement"])).toMatch(/NAME +LOADBALANCER +EXTERNAL +AGE\nall +true +/);
  });

  test("a local redirect policy keeps its frontend and backend; its description may change", async () => {
    const policy = (port: string, description: string): object =>
      object("cilium.io/v2", "CiliumLocalRedirectPolicy", "dns", {
        description,
        redirectFrontend: { serviceMatcher: { serviceName: "kube-dns", namespace: "default" } },
        redirectBackend: {
          localEndpointSelector: { matchLabels: { app: "cache" } },
          toPorts: [{ port, protocol: "UDP" }],
        },
      });
    await ok(apply, policy("53", "first"));
    await ok(apply, policy("53", "second"));
    expect(await fails(apply, policy("54", "third"))).toMatch(
      /spec\.redirectBackend: Invalid value: .*: redirectBackend is immutable/,
    );
    expect(await ok(["get", "clrp"])).toMatch(/NAME +SERVICE +ADDRESS +AGE\ndns +kube-dns +\S+\n/);
  });

  test("an edge deny list", async () => {
    const list = object("axoneme.io/v1alpha1", "EdgeDenyList", "bots", { cidrs: ["192.0.2.0/24"] });
    await ok(apply, list);
    await ok([
      "patch",
      "edl",
      "bots",
      "--subresource=status",
      "--type=merge",
      "-p",
      '{"status":{"prefixes":1}}',
    ]);
    expect(await ok(["get", "edl"])).toMatch(/NAME +PREFIXES +VALID +AGE\nbots +1 +/);
    const bad = object("axoneme.io/v1alpha1", "EdgeDenyList", "bad", { cidrs: ["192.0.2.1"] });
    expect(await fails(apply, bad)).toMatch(/spec\.cidrs\[0\]/);
  });
});
