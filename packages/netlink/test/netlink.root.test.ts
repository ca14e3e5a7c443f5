import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { formatIp, formatPrefix, parseInterfaceAddress, parseIp, parseMac, parsePrefix } from "@axoneme/base";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  isErrno,
  LinkReaper,
  NeighState,
  Netlink,
  Netns,
  openNetns,
  Protocol,
  Scope,
  Table,
} from "../src/index.ts";

const dir = mkdtempSync(join(tmpdir(), "axon-netlink-"));
const paths = { a: join(dir, "a"), b: join(dir, "b") };
let a: Netlink;
let b: Netlink;
let bFd: number;

const openFds = (): number => readdirSync("/proc/self/fd").length;

beforeAll(async () => {
  await Promise.all([Netns.create(paths.a), Netns.create(paths.b)]);
  a = Netlink.open({ netnsPath: paths.a });
  b = Netlink.open({ netnsPath: paths.b });
  bFd = openNetns(paths.b);
});

afterAll(async () => {
  a.close();
  b.close();
  await Promise.all([Netns.delete(paths.a), Netns.delete(paths.b)]);
  rmSync(dir, { recursive: true });
});

describe("links", () => {
  it("creates a veth pair across two namespaces in one message", async () => {
    const mac = parseMac("02:00:00:00:00:0a");
    await a.linkAdd({
      kind: "veth",
      name: "v0",
      mtu: 1400,
      up: true,
      peer: { name: "eth0", mac, mtu: 1400, netnsFd: bFd },
    });
    await b.linkSet({ index: (await b.linkGet("eth0")).index, up: true });
    const [near, far] = await Promise.all([a.linkGet("v0"), b.linkGet("eth0")]);
    expect(near).toMatchObject({ kind: "veth", mtu: 1400, up: true, lowerUp: true, parent: far.index });
    expect(far).toMatchObject({ name: "eth0", mtu: 1400, up: true, mac, parent: near.index });
    await a.linkDel(near.index);
    await expect(b.linkGet("eth0")).rejects.toMatchObject({ errnoName: "ENODEV" });
  });

  it("creates, changes, lists and deletes bridge and vxlan", async () => {
    await a.batch((nl) => {
      void nl.linkAdd({ kind: "bridge", name: "br0", up: true });
      void nl.linkAdd({ kind: "veth", name: "d0", peer: { name: "d0p" } });
      void nl.linkAdd({ kind: "vxlan", name: "vx0", external: true, port: 8472 });
    });
    const bridge = await a.linkGet("br0");
    const end = await a.linkGet("d0");
    const mac = parseMac("02:00:00:00:00:01");
    await a.linkSet({
      index: end.index,
      up: true,
      mtu: 1234,
      mac,
      name: "d1",
      master: bridge.index,
      alias: "an end",
    });
    const list = await a.linkList();
    expect(list.map((link) => link.name).sort()).toEqual(["br0", "d0p", "d1", "lo", "vx0"]);
    const changed = list.find((link) => link.name === "d1");
    expect(changed).toMatchObject({ up: true, mtu: 1234, mac, master: bridge.index, alias: "an end" });
    const vxlan = list.find((link) => link.name === "vx0");
    expect(vxlan?.vxlan).toEqual({ id: 0, port: 8472, external: true, learning: false });
    await a.linkSet({ index: end.index, master: 0, netnsFd: bFd });
    expect((await b.linkGet("d1")).kind).toBe("veth");
    await Promise.all([a.linkDel("br0"), a.linkDel("vx0"), b.linkDel("d1")]);
    expect((await a.linkList()).map((link) => link.name)).toEqual(["lo"]);
  });

  it("says what is wrong in a sentence", async () => {
    const spec = { kind: "veth", name: "taken", peer: { name: "taken1" } } as const;
    await a.linkAdd(spec);
    const error = await a.linkAdd(spec).catch((thrown: unknown) => thrown);
    expect(isErrno(error, "EEXIST")).toBe(true);
    expect(String(error)).toBe(
      "NetlinkError: cannot create veth taken: a link with that name exists (EEXIST)",
    );
    expect(error).toMatchObject({ errno: 17, code: "netlink.eexist", op: "create", object: "veth taken" });
    await a.linkDel("taken");
    await expect(a.linkDel("taken")).rejects.toThrow(
      "cannot delete link taken: there is no such link (ENODEV)",
    );
  });

  it("gives the kernel's own words where there are any", async () => {
    await expect(a.linkAdd({ kind: "bridge", name: "d0", mtu: 1 << 30 })).rejects.toThrow(/mtu/i);
  });
});

describe("addresses, routes, rules, neighbours", () => {
  it("does what a pod needs in one batch", async () => {
    await a.linkAdd({ kind: "bridge", name: "p0", up: true });
    const { index } = await a.linkGet("p0");
    const v4 = parseInterfaceAddress("10.9.8.7/24");
    const v6 = parseInterfaceAddress("fd09::7/64");
    const gateway = parseIp("169.254.1.1");
    await a.batch((nl) => {
      void nl.addrAdd({ index, prefix: v4 });
      void nl.addrAdd({ index, prefix: v6, noDad: true });
      void nl.routeAdd({ oif: index, dst: parsePrefix("169.254.1.1/32") });
      void nl.routeAdd({ oif: index, gateway, mtu: 1300 });
      void nl.routeAdd({ oif: index, dst: parsePrefix("::/0"), gateway: parseIp("fd09::1") });
      void nl.routeAdd({
        oif: index,
        dst: parsePrefix("10.20.0.0/16"),
        gateway: parseIp("fe80::1"),
        onlink: true,
      });
      void nl.routeAdd({ oif: index, dst: parsePrefix("10.30.0.0/16"), table: 2005, src: v4.ip });
      void nl.neighAdd({ index, ip: gateway, mac: parseMac("02:00:00:00:00:fe") });
      void nl.neighAdd({ index, ip: parseIp("fd09::1"), mac: parseMac("02:00:00:00:00:fd") });
      void nl.ruleAdd({ family: 4, priority: 9, table: 2005, mark: 0x200, mask: 0xf00 });
      void nl.ruleAdd({ family: 6, priority: 9, table: 2005, src: parsePrefix("fd09::/64") });
    });

    const addresses = await a.addrList({ index });
    expect(addresses.map((address) => formatPrefix(address.prefix))).toEqual(
      expect.arrayContaining(["10.9.8.7/24", "fd09::7/64"]),
    );
    const nodad = addresses.find((address) => formatPrefix(address.prefix) === "fd09::7/64");
    expect(nodad).toMatchObject({ tentative: false, scope: Scope.universe });

    const routes = await a.routeList({ oif: index, protocol: Protocol.static });
    const text = routes.map((route) => {
      const via = route.gateway === undefined ? "" : ` via ${formatIp(route.gateway)}`;
      return `${formatPrefix(route.dst)}${via} table ${route.table}`;
    });
    expect(text.sort()).toEqual([
      "0.0.0.0/0 via 169.254.1.1 table 254",
      "10.20.0.0/16 via fe80::1 table 254",
      "10.30.0.0/16 table 2005",
      "169.254.1.1/32 table 254",
      "::/0 via fd09::1 table 254",
    ]);
    expect(routes.find((route) => route.gateway && formatIp(route.gateway) === "169.254.1.1")?.mtu).toBe(
      1300,
    );
    expect((await a.routeGet(parseIp("8.8.8.8"))).oif).toBe(index);
    expect(await a.routeList({ table: 2005 })).toHaveLength(1);
    expect(await a.routeList({ table: 77 })).toEqual([]);

    const neighbours = await a.neighList({ index });
    const permanent = neighbours.filter((entry) => entry.state === NeighState.permanent);
    expect(permanent.map((entry) => formatIp(entry.ip)).sort()).toEqual(["169.254.1.1", "fd09::1"]);

    const rules = (await a.ruleList()).filter((rule) => rule.table === 2005);
    expect(rules.map((rule) => [rule.family, rule.priority, rule.mark, rule.mask])).toEqual([
      [4, 9, 0x200, 0xf00],
      [6, 9, undefined, undefined],
    ]);
    expect(rules[1]?.src && formatPrefix(rules[1].src)).toBe("fd09::/64");

    await a.batch((nl) => {
      void nl.ruleDel({ family: 4, priority: 9, table: 2005, mark: 0x200, mask: 0xf00 });
      void nl.ruleDel({ family: 6, priority: 9, table: 2005 });
      void nl.neighDel({ index, ip: gateway });
      void nl.routeDel({ dst: parsePrefix("10.30.0.0/16"), table: 2005 });
      void nl.routeReplace({ oif: index, gateway, mtu: 1200 });
      void nl.neighReplace({ index, ip: parseIp("fd09::1"), mac: parseMac("02:00:00:00:00:01") });
      void nl.addrDel({ index, prefix: v6 });
      void nl.addrReplace({ index, prefix: v4 });
    });
    const defaults = (await a.routeList({ family: 4, table: Table.main })).filter((r) => r.dst.length === 96);
    expect(defaults.map((route) => route.mtu)).toEqual([1200]);
    await a.linkDel(index);
  });

  it("goes on after a failure in a batch and throws the first", async () => {
    const batch = a.batch((nl) => {
      void nl.linkAdd({ kind: "bridge", name: "first" });
      void nl.linkDel("absent");
      void nl.linkAdd({ kind: "bridge", name: "third" });
    });
    await expect(batch).rejects.toThrow("cannot delete link absent: there is no such link (ENODEV)");
    const names = (await a.linkList()).map((link) => link.name);
    expect(names).toEqual(expect.arrayContaining(["first", "third"]));
    await Promise.all([a.linkDel("first"), a.linkDel("third")]);
  });

  it("words the errors of every kind of object", async () => {
    const prefix = parseInterfaceAddress("10.0.0.1/24");
    await expect(a.addrAdd({ index: 9999, prefix })).rejects.toThrow(
      /address 10\.0\.0\.1\/24 on link 9999: .*ENODEV/,
    );
    await expect(a.addrDel({ index: 1, prefix })).rejects.toThrow(/EADDRNOTAVAIL/);
    await expect(a.routeDel({ dst: parsePrefix("10.77.0.0/16") })).rejects.toThrow(
      "cannot delete route 10.77.0.0/16: there is no such route (ESRCH)",
    );
    await expect(a.ruleDel({ family: 4, priority: 3, table: 3 })).rejects.toThrow(
      /rule 3 to table 3: .*ENOENT/,
    );
    await expect(a.neighDel({ index: 1, ip: prefix.ip })).rejects.toThrow(/neighbour 10\.0\.0\.1.*ENOENT/);
    await expect(a.routeGet(parseIp("8.8.8.8"))).rejects.toThrow(/ENETUNREACH/);
  });
});

describe("the reaper", () => {
  it("takes links out of use at once and deletes them together", async () => {
    const before = openFds();
    const reaper = LinkReaper.open({ netnsPath: paths.a });
    const names = Array.from({ length: 50 }, (_, i) => `r${i}`);
    await a.batch((nl) => {
      for (const name of names) void nl.linkAdd({ kind: "veth", name, up: true, peer: { name: `${name}p` } });
    });
    const { index } = await a.linkGet("r0");
    await reaper.retire(index);
    await reaper.idle();
    await expect(a.linkGet("r0")).rejects.toMatchObject({ errnoName: "ENODEV" });
    const start = performance.now();
    await Promise.all(names.slice(1).map((name) => reaper.retire(name)));
    await reaper.idle();
    // One by one they would take 49 times 15 ms.
    expect(performance.now() - start).toBeLessThan(500);
    expect((await a.linkList()).map((link) => link.name)).toEqual(["lo"]);
    await expect(reaper.retire("absent")).rejects.toMatchObject({ errnoName: "ENODEV" });
    reaper.close();
    await expect.poll(openFds).toBe(before);
  });
});

describe("the socket", () => {
  it("creates and deletes 1000 pairs and keeps no descriptor", async () => {
    const before = openFds();
    for (let round = 0; round < 10; round++) {
      const names = Array.from({ length: 100 }, (_, i) => `x${round}-${i}`);
      await a.batch((nl) => {
        for (const name of names)
          void nl.linkAdd({ kind: "veth", name, group: 7, peer: { name: `${name}p` } });
      });
      expect(await a.linkList()).toHaveLength(201);
      await a.linkDelGroup(7);
    }
    expect((await a.linkList()).map((link) => link.name)).toEqual(["lo"]);
    expect(openFds()).toBe(before);
  });

  it("answers more requests in one turn than fit one send", async () => {
    const answers = await Promise.all(Array.from({ length: 2000 }, () => a.linkGet("lo")));
    expect(answers.every((link) => link.name === "lo")).toBe(true);
  });

  it("fails what is queued when it is closed, and later requests", async () => {
    const before = openFds();
    const short = Netlink.open({ netnsPath: paths.a });
    const answer = short.linkGet("lo");
    short.close();
    await expect(answer).rejects.toMatchObject({ errnoName: "ECANCELED" });
    await expect(short.linkList()).rejects.toMatchObject({ errnoName: "ECANCELED" });
    expect(openFds()).toBe(before);
  });

  it("names a namespace that is not there", () => {
    expect(() => Netlink.open({ netnsPath: join(dir, "none") })).toThrow(/namespace .*none.*ENOENT/);
    expect(() => Netlink.open({ netnsPath: "/etc/hostname" })).toThrow(/not a network namespace/);
  });
});
