import { parseOptions } from "@axoneme/app";
import { formatPrefix } from "@axoneme/base";
import { describe, expect, it } from "vitest";
import { serviceConfig } from "../src/lb/config.ts";
import { agentOptions } from "../src/options.ts";

const read = (raw: Record<string, unknown>) => serviceConfig(parseOptions(agentOptions, raw));

describe("options of Services", () => {
  it("have defaults that fit each other", () => {
    expect(read({})).toEqual({
      kinds: new Set(["ClusterIP", "NodePort", "LoadBalancer", "ExternalIPs", "HostPort"]),
      nodePorts: { first: 30_000, last: 32_767 },
      nodePortAddresses: [],
      natPorts: { first: 32_768, last: 65_535 },
      deny: [],
      healthz: undefined,
    });
  });

  it("read CIDRs, addresses and host:port", () => {
    const { nodePortAddresses, deny, healthz } = read({
      nodePortAddresses: ["10.0.0.0/8", "fd00::/8"],
      denyCIDRs: ["192.0.2.7"],
      healthzAddress: "[::]:10256",
    });
    expect(nodePortAddresses.map(formatPrefix)).toEqual(["10.0.0.0/8", "fd00::/8"]);
    expect(deny.map(formatPrefix)).toEqual(["192.0.2.7/32"]);
    expect(healthz).toEqual({ host: "::", port: 10_256 });
    expect(read({ healthzAddress: ":10256" }).healthz).toEqual({ host: "", port: 10_256 });
  });

  it("name everything that is wrong, and what would be right", () => {
    const bad = () =>
      read({ natPortRange: "32000-40000", nodePortAddresses: ["10.0.0.0/33"], healthzAddress: "10256" });
    expect(bad).toThrow(
      /"natPortRange" 32000-40000 overlaps "nodePortRange" 30000-32767: .*begin it at 32768/,
    );
    expect(bad).toThrow(/"nodePortAddresses" must contain CIDRs like .*got "10.0.0.0\/33"/);
    expect(bad).toThrow(/"healthzAddress" must be host:port, got "10256"/);
    expect(() => read({ natPortRange: "40000" })).toThrow(/"natPortRange" must be first-last/);
    expect(() => read({ natPortRange: "50000-40000" })).toThrow(/"natPortRange" must be first-last/);
    expect(() => read({ serviceKinds: ["NodePorts"] })).toThrow(/"serviceKinds" may contain only/);
    expect(() => read({ maglevTableSize: 1000 })).toThrow(/"maglevTableSize" must be one of 251/);
  });
});
