import { spawn } from "node:child_process";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { createServer, Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseInterfaceAddress } from "@axoneme/base";
import { afterAll, describe, expect, it } from "vitest";
import {
  closeFd,
  connectIn,
  dialIn,
  launch,
  listenIn,
  Netlink,
  Netns,
  netnsCookie,
  openNetns,
  sysctlGet,
  sysctlSet,
  sysctlSetAll,
} from "../src/index.ts";

const dir = mkdtempSync(join(tmpdir(), "axon-netns-"));
const openFds = (): number => readdirSync("/proc/self/fd").length;
const ownNamespace = (): string => readlinkSync("/proc/thread-self/ns/net");
const home = ownNamespace();
const mounts = (): number =>
  readFileSync("/proc/self/mounts", "utf8")
    .split("\n")
    .filter((l) => l.includes(dir)).length;

afterAll(() => rmSync(dir, { recursive: true }));

describe("Netns", () => {
  it("makes and deletes a hundred at once, and leaves nothing", async () => {
    const before = openFds();
    const paths = Array.from({ length: 100 }, (_, i) => join(dir, `n${i}`));
    await Promise.all(paths.map((path) => Netns.create(path)));
    expect(new Set(paths.map((path) => statSync(path).ino)).size).toBe(100);
    expect(mounts()).toBe(100);
    expect(ownNamespace()).toBe(home);
    await Promise.all(paths.map((path) => Netns.delete(path)));
    expect(mounts()).toBe(0);
    expect(readdirSync(dir)).toEqual([]);
    expect(openFds()).toBe(before);
  });

  it("has a number of its own, the same by its path and by its descriptor", async () => {
    const [one, two] = [join(dir, "one"), join(dir, "two")];
    await Promise.all([one, two].map((path) => Netns.create(path)));
    const fd = openNetns(one);
    const cookies = [undefined, one, two].map((netns) => netnsCookie(netns));
    expect(new Set(cookies).size).toBe(3);
    expect(netnsCookie(fd)).toBe(cookies[1]);
    expect(ownNamespace()).toBe(home);
    closeFd(fd);
    await Promise.all([one, two].map((path) => Netns.delete(path)));
    expect(() => netnsCookie(one)).toThrow(/ENOENT/);
  });

  it("has lo up and the sysctls asked for, or lo down if told", async () => {
    const up = join(dir, "up");
    const down = join(dir, "down");
    await Netns.create(up, { sysctls: { "net.ipv4.ip_forward": 1 } });
    await Netns.create(down, { loopback: false });
    const state = async (path: string): Promise<boolean> => {
      const netlink = Netlink.open({ netnsPath: path });
      const link = await netlink.linkGet("lo");
      netlink.close();
      return link.up;
    };
    expect([await state(up), await state(down)]).toEqual([true, false]);
    expect([sysctlGet(up, "net.ipv4.ip_forward"), sysctlGet(down, "net.ipv4.ip_forward")]).toEqual([
      "1",
      "0",
    ]);
    await Promise.all([Netns.delete(up), Netns.delete(down)]);
  });

  it("says what is wrong and leaves no file", async () => {
    const taken = join(dir, "taken");
    writeFileSync(taken, "");
    await expect(Netns.create(taken)).rejects.toThrow(
      `cannot create namespace ${taken}: that file exists (EEXIST)`,
    );
    rmSync(taken);
    await expect(Netns.create(join(dir, "no/folder"))).rejects.toMatchObject({ errnoName: "ENOENT" });
    await expect(Netns.delete(join(dir, "absent"))).rejects.toMatchObject({ errnoName: "ENOENT" });
    const bad = join(dir, "bad");
    await expect(Netns.create(bad, { sysctls: { "net.no.such": 1 } })).rejects.toThrow(
      /sysctl net\.no\.such=1.*ENOENT/,
    );
    expect(existsSync(bad)).toBe(false);
  });

  it("is not held by a process with mounts of its own", async () => {
    const path = join(dir, "held");
    await Netns.create(path);
    const { file, args } = launch({ binds: [{ source: "/etc/hostname", target: "/etc/hostname" }] }, [
      "sleep",
      "60",
    ]);
    const child = spawn(file, args, { stdio: "ignore" });
    await once(child, "spawn");
    await Netns.delete(path);
    expect(existsSync(path)).toBe(false);
    child.kill();
    await once(child, "exit");
  });
});

describe("sysctls", () => {
  it("are written in the namespace and nowhere else", async () => {
    const path = join(dir, "sysctl");
    await Netns.create(path);
    const outside = sysctlGet(undefined, "net.ipv4.conf.all.rp_filter");
    await sysctlSetAll(path, { "net.ipv4.conf.all.rp_filter": 2, "net.ipv6.conf.all.forwarding": 1 });
    expect(sysctlGet(path, "net/ipv4/conf/all/rp_filter")).toBe("2");
    expect(sysctlGet(path, "net.ipv6.conf.all.forwarding")).toBe("1");
    expect(sysctlGet(undefined, "net.ipv4.conf.all.rp_filter")).toBe(outside);
    await expect(sysctlSet(path, "net.ipv4.ip_forward", "many")).rejects.toThrow(
      /cannot write sysctl net\.ipv4\.ip_forward=many in namespace .*EINVAL/,
    );
    expect(() => sysctlGet(path, "net.no")).toThrow(/ENOENT/);
    await Netns.delete(path);
  });
});

describe("sockets", () => {
  it("listen and connect inside, over TCP and UDP, IPv4 and IPv6", async () => {
    const path = join(dir, "socket");
    await Netns.create(path);
    const before = openFds();
    const server = createServer((socket) => socket.end("hello"));
    server.listen({ fd: listenIn(path, { host: "::", port: 7001 }) });
    await once(server, "listening");
    for (const host of ["127.0.0.1", "::1"]) {
      const socket = await dialIn(path, { host, port: 7001 });
      const [data] = (await once(socket, "data")) as [Buffer];
      expect(data.toString()).toBe("hello");
      socket.destroy();
    }
    const raw = new Socket({ fd: await connectIn(path, { host: "127.0.0.1", port: 7001 }) });
    expect(String((await once(raw, "data"))[0])).toBe("hello");
    raw.destroy();

    const echo = createSocket("udp4");
    echo.bind({ fd: listenIn(path, { host: "127.0.0.1", port: 7002, protocol: "udp" }) });
    const client = createSocket("udp4");
    client.bind({ fd: listenIn(path, { host: "127.0.0.1", port: 0, protocol: "udp" }) });
    const got = once(echo, "message");
    client.send("ping", 7002, "127.0.0.1");
    expect(String((await got)[0])).toBe("ping");
    echo.close();
    client.close();
    await new Promise((resolve) => server.close(resolve));

    await expect(connectIn(path, { host: "127.0.0.1", port: 7009 })).rejects.toThrow(
      /cannot connect to tcp 127\.0\.0\.1:7009 in namespace .*nobody listens there \(ECONNREFUSED\)/,
    );
    await expect(connectIn(undefined, { host: "127.0.0.1", port: 7001 })).rejects.toThrow(/ECONNREFUSED/);
    await expect(connectIn(path, { host: "8.8.8.8", port: 1 })).rejects.toMatchObject({
      errnoName: "ENETUNREACH",
    });
    expect(() => listenIn(path, { host: "1.2.3.4", port: 7001 })).toThrow(/EADDRNOTAVAIL/);
    await expect.poll(openFds, { timeout: 5000 }).toBe(before);
    await Netns.delete(path);
  });

  it("gives up connecting in time", async () => {
    const path = join(dir, "slow");
    await Netns.create(path);
    const netlink = Netlink.open({ netnsPath: path });
    await netlink.linkAdd({ kind: "veth", name: "v", up: true, peer: { name: "w" } });
    const { index: peer } = await netlink.linkGet("w");
    const { index } = await netlink.linkGet("v");
    await netlink.linkSet({ index: peer, up: true });
    await netlink.addrAdd({ index, prefix: parseInterfaceAddress("10.3.0.1/24") });
    await netlink.neighAdd({
      index,
      ip: parseInterfaceAddress("10.3.0.2/24").ip,
      mac: Uint8Array.from([2, 0, 0, 0, 0, 1]),
    });
    const connecting = connectIn(path, { host: "10.3.0.2", port: 1, timeoutMs: 50 });
    await expect(connecting).rejects.toMatchObject({ errnoName: "ETIMEDOUT" });
    netlink.close();
    await Netns.delete(path);
  });
});
