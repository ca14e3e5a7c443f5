import { type Ip, parseIp, parsePrefix, prefixKey } from "@axoneme/base";
import { Ipcache, LocalIdentities, reserved } from "@axoneme/identity";
import { PolicyEngine } from "@axoneme/policy";
import { beforeEach, describe, expect, test } from "vitest";
import { AddressPlaces } from "../src/state/places.ts";
import { NamedPrefixes } from "../src/state/prefixes.ts";
import { ModelKernel } from "./model-kernel.ts";

const nodeIp = parseIp("172.30.0.12");
const pods = parsePrefix("10.1.0.0/16");
const named = parsePrefix("10.1.2.0/24");
const whole = parsePrefix("10.1.0.0/16");
const around = parsePrefix("10.0.0.0/8");

describe("a prefix that rules name", () => {
  let ipcache: Ipcache;
  let prefixes: NamedPrefixes;
  let kernel: ModelKernel;

  beforeEach(() => {
    kernel = new ModelKernel();
    ipcache = new Ipcache();
    const engine = new PolicyEngine();
    prefixes = new NamedPrefixes({
      engine,
      kernel: kernel.asKernel(),
      localIdentities: new LocalIdentities({ dualStack: true }),
      ipcache,
      ipcacheWriter: { flush: () => undefined },
      names: { prefixAdded: () => undefined, prefixRemoved: () => undefined },
      places: new AddressPlaces({ engine, ipcache, match: "address", commitRows: () => undefined }),
    });
    prefixes.start(true);
  });

  const name = (...all: (typeof named)[]): void => {
    for (const prefix of all) prefixes.learn(prefix);
    prefixes.announce(all);
  };
  const podsAreKnown = (): void =>
    ipcache.upsert(pods, "k8s", "node", { identity: reserved.unmanaged, nodeIp, direct: true });
  const whoIs = (ip: string): { identity: number | undefined; nodeIp: Ip | undefined } => {
    const found = ipcache.lookup(parseIp(ip));
    return { identity: found?.identity, nodeIp: found?.nodeIp };
  };
  const ofPods = { identity: reserved.unmanaged, nodeIp };

  test.each(["before", "after"])("changes nothing about who pods are, known %s it", (when) => {
    if (when === "before") podsAreKnown();
    name(around, whole, named);
    if (when === "after") podsAreKnown();
    expect([whoIs("10.1.2.3"), whoIs("10.1.3.3")]).toEqual([ofPods, ofPods]);
    expect(whoIs("10.2.0.1").identity).toBe(kernel.cidrs.get({ addr: around.ip, prefixlen: around.length }));
    ipcache.delete(pods, "k8s", "node");
    expect(whoIs("10.1.2.3").identity).toBe(kernel.cidrs.get({ addr: named.ip, prefixlen: named.length }));
  });

  test("gives addresses its number, and gives it back", () => {
    name(around, named);
    const all = [around, named].map(({ ip, length }) => kernel.cidrs.get({ addr: ip, prefixlen: length }));
    expect([kernel.cidrOf(parseIp("10.9.0.1")), kernel.cidrOf(parseIp("10.1.2.3"))]).toEqual(all);
    expect([kernel.cidrOf(parseIp("192.0.2.1")), kernel.cidrOf(parseIp("fd00::1"))]).toEqual([
      reserved.worldIpv4,
      reserved.worldIpv6,
    ]);
    prefixes.forget(named);
    expect(kernel.cidrOf(parseIp("10.1.2.3"))).toBe(all[0]);
    expect(prefixes.textOf(all[0] ?? 0)).toBe("10.0.0.0/8");
    expect([...ipcache.entries()].map(({ prefix }) => prefixKey(prefix))).toEqual([prefixKey(around)]);
  });

  test("of IPv6 holds no IPv4 address, however short it is", () => {
    name(parsePrefix("::/8"));
    expect(kernel.cidrOf(parseIp("192.0.2.1"))).toBe(reserved.worldIpv4);
  });
});
