import { describe, expect, it } from "vitest";
import { type HostPort, ServiceCompiler, ServiceFlag } from "../src/index.ts";
import { Maps } from "./maps.ts";
import { problemTexts, service, table, viewOf } from "./objects.ts";

const port = (more: Partial<HostPort>): HostPort => ({
  hostPort: 8080,
  containerPort: 80,
  podIPs: ["10.0.0.7", "fd10::7"],
  ...more,
});

describe("a hostPort", () => {
  it.each<[string, string | undefined, Record<string, string[]>, number]>([
    [
      "on no address is on every address of both families",
      undefined,
      { ":::8080/6": ["fd10::7:80"], "0.0.0.0:8080/6": ["10.0.0.7:80"] },
      0,
    ],
    ["on 0.0.0.0 is on every IPv4 address", "0.0.0.0", { "0.0.0.0:8080/6": ["10.0.0.7:80"] }, 0],
    ["on :: is on every IPv6 address", "::", { ":::8080/6": ["fd10::7:80"] }, 0],
    [
      "on 127.0.0.1 is for the node itself",
      "127.0.0.1",
      { "127.0.0.1:8080/6": ["10.0.0.7:80"] },
      ServiceFlag.loopbackOnly,
    ],
    ["on ::1 is for the node itself", "::1", { "::1:8080/6": ["fd10::7:80"] }, ServiceFlag.loopbackOnly],
    ["on an address is there", "192.0.2.9", { "192.0.2.9:8080/6": ["10.0.0.7:80"] }, 0],
  ])("%s", (_, hostIP, want, flags) => {
    const compiler = new ServiceCompiler();
    compiler.upsertHostPorts("shop/pod", [port(hostIP === undefined ? {} : { hostIP })]);
    expect(table(compiler)).toEqual(want);
    for (const { row, owner } of compiler.views())
      expect([row.flags, owner]).toEqual([ServiceFlag.hostPort | flags, "Pod"]);
  });

  it("serves several protocols on one port, and goes with its pod", () => {
    const compiler = new ServiceCompiler();
    const maps = new Maps();
    const ports = [port({ hostIP: "0.0.0.0" }), port({ hostIP: "0.0.0.0", protocol: "UDP" })];
    maps.apply(compiler.upsertHostPorts("shop/pod", ports));
    expect(Object.keys(table(compiler))).toEqual(["0.0.0.0:8080/6", "0.0.0.0:8080/17"]);
    expect(compiler.upsertHostPorts("shop/pod", ports)).toEqual([]);
    maps.apply(compiler.upsertHostPorts("shop/pod", []));
    expect([maps.services.size, maps.backends.size]).toEqual([0, 0]);
  });

  it("changes its row when the pod gets another address", () => {
    const compiler = new ServiceCompiler();
    const maps = new Maps();
    maps.apply(compiler.upsertHostPorts("shop/pod", [port({ hostIP: "0.0.0.0" })]));
    maps.apply(compiler.upsertHostPorts("shop/pod", [port({ hostIP: "0.0.0.0", podIPs: ["10.0.0.8"] })]));
    expect(table(compiler)).toEqual({ "0.0.0.0:8080/6": ["10.0.0.8:80"] });
    expect(maps.backends.size).toBe(1);
  });

  it("of two pods belongs to the first by name; the other is told, and has it afterwards", () => {
    const compiler = new ServiceCompiler();
    compiler.upsertHostPorts("shop/b", [port({ hostIP: "0.0.0.0" })]);
    compiler.upsertHostPorts("shop/a", [port({ hostIP: "0.0.0.0", podIPs: ["10.0.0.9"] })]);
    expect(viewOf(compiler, "0.0.0.0:8080/6")?.name).toBe("a");
    expect(problemTexts(compiler)).toEqual([
      "Pod b 8080/TCP: node port (IPv4) 8080/TCP belongs to Pod shop/a",
    ]);
    compiler.upsertHostPorts("shop/a", []);
    expect(viewOf(compiler, "0.0.0.0:8080/6")?.name).toBe("b");
    expect(problemTexts(compiler)).toEqual([]);
  });

  it.each([
    ["on every address", "0.0.0.0"],
    ["on one address", "192.0.2.9"],
    ["on a loopback address", "127.0.0.1"],
  ])("%s gives way to a NodePort of its number", (_, hostIP) => {
    const compiler = new ServiceCompiler();
    const maps = new Maps();
    maps.apply(compiler.upsertHostPorts("shop/pod", [port({ hostIP, hostPort: 30080 })]));
    expect(compiler.views().map(({ owner }) => owner)).toEqual(["Pod"]);
    const nodePort = service("web", { clusterIPs: ["10.96.0.1"], ports: [{ port: 80, nodePort: 30080 }] });
    maps.apply(compiler.upsertService(nodePort));
    expect(compiler.views().map(({ owner }) => owner)).toEqual(["Service", "Service"]);
    const text = hostIP === "0.0.0.0" ? "node port (IPv4) " : `${hostIP}:`;
    expect(problemTexts(compiler)).toEqual([
      `Pod pod 30080/TCP: ${text}30080/TCP belongs to Service shop/web`,
    ]);
    maps.apply(compiler.deleteService("shop", "web"));
    expect(compiler.views().map(({ owner }) => owner)).toEqual(["Pod"]);
    expect(problemTexts(compiler)).toEqual([]);
  });

  it.each<[string, Partial<HostPort>, string]>([
    [
      "SCTP that would change its port",
      { protocol: "SCTP" },
      "SCTP cannot change ports (the kernel has no CRC32c for it): containerPort 80 must equal hostPort 8080",
    ],
    ["an address that is none", { hostIP: "eth0" }, 'hostIP "eth0" is not an IPv4 or IPv6 address'],
    ["a protocol nobody knows", { protocol: "GRE" }, "protocol GRE is none of TCP, UDP, SCTP"],
  ])("reports %s", (_, more, reason) => {
    const compiler = new ServiceCompiler();
    compiler.upsertHostPorts("shop/pod", [port(more)]);
    expect(compiler.views()).toEqual([]);
    expect(compiler.problemsOf("Pod", "shop", "pod").map((problem) => problem.reason)).toEqual([reason]);
  });
});
