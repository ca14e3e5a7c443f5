/** Pinned maps of another version: what is converted, when, and what is refused. */
import { existsSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { ctSize, decodeCt, decodeCtKey, PolicyVerdict } from "@axoneme/abi";
import { type Ip, parseIp, silentLogger } from "@axoneme/base";
import { BpfMap, findCgroup2, MapType, queryTcx } from "@axoneme/bpf";
import { Netlink } from "@axoneme/netlink";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { buildNext } from "../../../scripts/build-next.mjs";
import { hooks, Kernel } from "../src/index.ts";

const bpffs = `/sys/fs/bpf/axmig-${process.pid}`;
const cgroup = join(findCgroup2(), `axmig-${process.pid}`);
const now = join(import.meta.dirname, "../../../build/bpf");
const device = `axmig${process.pid}`.slice(0, 14);
let next = "";
let netlink: Netlink;
let ifindex = 0;
const opened: Kernel[] = [];

function open(objectDir: string, maxEntries = { ax_ct: 4096, ax_nat: 1024 }): Kernel {
  const kernel = Kernel.open({ objectDir, bpffs, maxEntries }, silentLogger);
  opened.push(kernel);
  return kernel;
}

function close(kernel: Kernel): void {
  opened.splice(opened.indexOf(kernel), 1);
  kernel.close();
}

beforeAll(async () => {
  next = join(await buildNext(), "build/bpf");
  netlink = Netlink.open();
  await netlink.linkAdd({ kind: "veth", name: device, peer: { name: `${device}p` } });
  ifindex = (await netlink.linkGet(device)).index;
  mkdirSync(cgroup);
});

beforeEach(() => {
  opened.length = 0;
});

afterEach(() => {
  for (const kernel of opened) kernel.close();
  rmSync(bpffs, { recursive: true, force: true });
});

afterAll(async () => {
  await netlink.linkDel(device);
  netlink.close();
  rmSync(cgroup, { recursive: true, force: true });
});

const blankCt = () => decodeCt(new DataView(new ArrayBuffer(4096)), 0);
const keyOf = (port: number) => ({
  ...decodeCtKey(new DataView(new ArrayBuffer(256)), 0),
  a: parseIp("10.0.0.1"),
  b: parseIp("10.0.0.2"),
  aport: port,
  bport: 80,
  proto: 6,
});

/** A node with rows of every kind that has to survive. */
function fill(kernel: Kernel): void {
  const { maps } = kernel;
  const ct = blankCt();
  for (let port = 1; port <= 2000; port++)
    maps.ct.put(keyOf(port), {
      ...ct,
      epoch: 7,
      expiresS: 4_000_000_000,
      frontendPort: port,
      side: [
        { ...ct.side[0], ifindex: 3, identity: port },
        { ...ct.side[1], nexthop: parseIp("fd00::9"), ruleId: 5 },
      ],
    });
  maps.ipcache.put(
    { prefixlen: 128, addr: parseIp("fd00::1") },
    { identity: 300, flags: 1, nodeIp: parseIp("10.9.9.9") },
  );
  maps.policy.put(
    { policyId: 4, identity: 300, port: 80, proto: 6, shape: 24, cidr: 0 },
    { precedence: 9, ruleId: 2, proxyPort: 0, verdict: PolicyVerdict.ALLOW },
  );
  maps.affinity.put({ client: parseIp("10.0.0.1"), serviceId: 3 }, { backendId: 77, lastS: 12 });
  const svc = { addr: parseIp("10.96.0.1"), port: 443, proto: 6, scope: 0 };
  for (let i = 0; i < 5000; i++)
    maps.services.put(
      { ...svc, port: i },
      {
        serviceId: i,
        slotsOff: 1,
        slots: 2,
        count: 2,
        affinityTimeoutS: 0,
        flags: 1,
        algorithm: 0,
        forwarding: 0,
      },
    );
}

/** As rows of this version, out of the maps of this version. */
function content(kernel: Kernel) {
  const { ct, ipcache, policy, affinity, services } = kernel.maps;
  return {
    ct: ct
      .entries()
      .map(([key, row]) => [key.aport, row.frontendPort, row.side[0].identity, row.side[1].ruleId].join())
      .sort(),
    nexthops: new Set(ct.entries().map(([, row]) => Buffer.from(row.side[1].nexthop).toString("hex"))),
    ipcache: ipcache.entries(),
    policy: policy.entries(),
    affinity: affinity.entries(),
    services: services
      .entries()
      .map(([key, row]) => [key.port, row.serviceId, row.count, row.flags].join())
      .sort(),
  };
}

describe("to the next version and back", () => {
  it("all rows are where they were, and each program was replaced in its place", () => {
    const first = open(now);
    fill(first);
    const before = content(first);
    first.attachments.attachDevice("dev", ifindex, hooks.node);
    first.attachments.attachPod(ifindex);
    first.attachments.attachSockets(cgroup);
    first.maps.endpoints.put(parseIp("10.0.0.1"), {
      ...{ ifindex, identity: 1, policyId: 0, id: 1, flags: 0 },
      ...{ mac: new Uint8Array(6), hostMac: new Uint8Array(6) },
    });
    const [link] = queryTcx({ ifindex, direction: "ingress" });
    close(first);

    const upgraded = open(next);
    expect(upgraded.converted).toEqual(
      expect.arrayContaining([
        "ax_ct",
        "ax_nat",
        "ax_svc_flows",
        "ax_affinity",
        "ax_policy",
        "ax_ipcache",
        "ax_services",
      ]),
    );
    expect(upgraded.converted).not.toContain("ax_endpoints");
    const [there] = queryTcx({ ifindex, direction: "ingress" });
    expect(there?.linkId).toBe(link?.linkId);
    expect(there?.progId).not.toBe(link?.progId);
    expect(upgraded.attachments.isPodAttached(ifindex)).toBe(true);
    expect(readdirSync(bpffs).sort()).toEqual(["links", "maps", "progs"]);
    const rows = BpfMap.openPinned(join(bpffs, "maps/ax_ct"));
    expect(rows.dump().count).toBe(2000);
    expect(rows.valueSize).toBeGreaterThan(ctSize);
    rows.close();
    close(upgraded);

    const back = open(now);
    expect(back.attachments.isPodAttached(ifindex)).toBe(true);
    expect(content(back)).toEqual(before);
    expect(new Set(back.maps.ct.entries().map(([, { epoch }]) => epoch))).toEqual(new Set([0]));
    expect(open(now).converted).toEqual([]);
    back.attachments.detachPod(ifindex);
    back.attachments.detach("dev", hooks.node);
    back.attachments.detachSockets();
  });

  it("another size of a table is no other version", () => {
    const first = open(now);
    fill(first);
    const { ct } = content(first);
    close(first);
    const second = open(now, { ax_ct: 8192, ax_nat: 1024 });
    expect(second.converted).toEqual(["ax_ct"]);
    expect(second.maps.connections.maxEntries).toBe(8192);
    expect(content(second).ct).toEqual(ct);
    close(second);
    const small = open(now, { ax_ct: 1024, ax_nat: 1024 });
    expect(small.maps.ct.entries().length).toBeGreaterThan(900);
  });
});

describe("an agent that dies on the way", () => {
  it("before the turn leaves the maps of before in force", () => {
    const first = open(now);
    fill(first);
    const before = content(first);
    close(first);
    const dir = join(bpffs, "handover_0123_1");
    const half = BpfMap.create({
      name: "ax_ct",
      type: MapType.HASH,
      keySize: 4,
      valueSize: 4,
      maxEntries: 1,
    });
    half.pin(join(dir, "maps/ax_ct"));
    half.close();
    const turn = BpfMap.create({
      name: "ax_turn",
      type: MapType.ARRAY,
      keySize: 4,
      valueSize: 4,
      maxEntries: 1,
    });
    turn.pin(join(dir, "turn"));
    turn.close();
    const second = open(now);
    expect(content(second)).toEqual(before);
    expect(existsSync(dir)).toBe(false);
  });

  it("after the turn leaves those of the next version, which its successor puts in their places", () => {
    const first = open(now);
    fill(first);
    const before = content(first);
    close(first);
    const dir = join(bpffs, "handover_0123_1");
    const pin = BpfMap.openPinned(join(bpffs, "maps/ax_ct"));
    pin.pin(join(dir, "maps/ax_ct"));
    pin.close();
    rmSync(join(bpffs, "maps/ax_ct"));
    const turn = BpfMap.create({
      name: "ax_turn",
      type: MapType.ARRAY,
      keySize: 4,
      valueSize: 4,
      maxEntries: 1,
    });
    turn.put(new Uint8Array(4), Uint8Array.of(1, 0, 0, 0));
    turn.pin(join(dir, "turn"));
    turn.close();
    const second = open(now);
    expect(second.fresh).toBe(true);
    expect(content(second)).toEqual(before);
    expect(existsSync(dir)).toBe(false);
  });
});

describe("a layout that nothing is known of", () => {
  const foreign = (name: string): void => {
    rmSync(join(bpffs, "maps", name));
    const map = BpfMap.create({ name, type: MapType.HASH, keySize: 44, valueSize: 12, maxEntries: 4096 });
    map.pin(join(bpffs, "maps", name));
    map.close();
  };

  it("is refused with a sentence where rows are needed, and nothing has changed", () => {
    const first = open(now);
    first.attachments.attachDevice("dev", ifindex, hooks.node);
    const [before] = queryTcx({ ifindex, direction: "ingress" });
    close(first);
    rmSync(join(bpffs, "progs"), { recursive: true });
    foreign("ax_ct");
    expect(() => open(now)).toThrow(/the pinned map ax_ct is of a layout that this version cannot convert/);
    expect(queryTcx({ ifindex, direction: "ingress" })).toEqual([before]);
    expect(readdirSync(bpffs).sort()).toEqual(["links", "maps"]);
    rmSync(join(bpffs, "maps/ax_ct"));
    open(now).attachments.detach("dev", hooks.node);
  });

  it("makes way for an empty map where rows come again", () => {
    close(open(now));
    rmSync(join(bpffs, "progs"), { recursive: true });
    foreign("ax_affinity");
    const second = open(now);
    expect(second.converted).toEqual(["ax_affinity"]);
    second.maps.affinity.put(
      { client: parseIp("10.0.0.1") as Ip, serviceId: 3 },
      { backendId: 77, lastS: 12 },
    );
    expect(second.maps.affinity.entries()).toHaveLength(1);
  });
});
