import { mkdirSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { PolicyVerdict } from "@axoneme/abi";
import { type Ip, parseIp, parsePrefix, silentLogger, waitFor } from "@axoneme/base";
import { findCgroup2, queryTcx } from "@axoneme/bpf";
import { choicesOf } from "@axoneme/loadbalancer";
import { Netlink } from "@axoneme/netlink";
import { type PolicyChange, PolicyEngine } from "@axoneme/policy";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import {
  applyPolicyChanges,
  applyServiceChanges,
  type DatapathMaps,
  hooks,
  Kernel,
  kernelSlots,
  lockPolicy,
  type NodeConfig,
  nextPolicyIds,
  openMaps,
  prunePolicy,
  readServiceRows,
} from "../src/index.ts";

const bpffs = `/sys/fs/bpf/axdp-${process.pid}`;
const cgroup = join(findCgroup2(), `axdp-${process.pid}`);
const objectDir = join(import.meta.dirname, "../../../build/bpf");
/** Small tables: what is tested is what is written, not how much fits. */
const options = { objectDir, bpffs, maxEntries: { ax_ct: 1024, ax_nat: 1024 } };

const opened: Kernel[] = [];
function open(maxEntries = options.maxEntries): Kernel {
  const kernel = Kernel.open({ ...options, maxEntries }, silentLogger);
  opened.push(kernel);
  return kernel;
}

let netlink: Netlink;
let ifindex = 0;
const device = `axdp${process.pid}`.slice(0, 14);

beforeAll(async () => {
  netlink = Netlink.open();
  await netlink.linkAdd({ kind: "veth", name: device, peer: { name: `${device}p` } });
  ifindex = (await netlink.linkGet(device)).index;
  mkdirSync(cgroup);
});
afterAll(async () => {
  await netlink.linkDel(device);
  netlink.close();
  rmSync(cgroup, { recursive: true, force: true });
});
beforeEach(() => {
  opened.length = 0;
});
afterEach(() => {
  for (const kernel of opened) {
    kernel.attachments.detachPod(ifindex);
    kernel.attachments.detachSockets();
    kernel.close();
  }
  rmSync(bpffs, { recursive: true, force: true });
});

const config: NodeConfig = {
  flags: 3,
  deviceIfindex: 1,
  tunnelIfindex: 0,
  nodeIp4: parseIp("172.30.0.11"),
  nodeIp6: parseIp("fd00::11"),
  natPortMin: 61_000,
  natPortMax: 65_535,
  mtu: 1500,
  aggregation: 3,
  reportIntervalS: 5,
  ctTimeoutTcpS: 8000,
  ctTimeoutTcpSynS: 60,
  ctTimeoutTcpFinS: 10,
  ctTimeoutAnyS: 60,
  ctTimeoutSvcS: 8000,
  tunnelPort: 8472,
  hashSeed: 0,
  deviceMac: new Uint8Array(6),
  proxyPort: 0,
  proxyIp4: new Uint8Array(16) as Ip,
  proxyIp6: new Uint8Array(16) as Ip,
};

const epochOf = (kernel: Kernel) => kernel.maps.config.get(0)?.epoch ?? 0;

describe("programs", () => {
  it("are verified once and taken over by the next agent of the same build, with the maps and their rows", () => {
    const first = open();
    first.maps.nomasq.put({ prefixlen: 104, addr: parseIp("10.0.0.0") }, 1);
    const second = open();
    expect([first.fresh, second.fresh]).toEqual([true, false]);
    expect(second.build).toBe(first.build);
    expect(second.maps.nomasq.entries()).toHaveLength(1);
    expect(second.sweep(1)).toMatchObject({ ctSeen: 0, ctDeleted: 0, natSeen: 0, natDeleted: 0 });
  });

  it("that were not all pinned when their agent died are loaded again", () => {
    const first = open();
    rmSync(join(bpffs, "progs", first.build, "complete"), { recursive: true });
    const second = open();
    expect(second.fresh).toBe(true);
    expect(readdirSync(join(bpffs, "progs", first.build))).toContain("pod_from");
  });

  it("of another build are forgotten when asked, and only those", () => {
    const kernel = open();
    mkdirSync(join(bpffs, "progs/0123456789abcdef/complete"), { recursive: true });
    kernel.dropOldBuilds();
    expect(readdirSync(join(bpffs, "progs"))).toEqual([kernel.build]);
  });

  it("that are missing are named with what to do", () => {
    const missing = { ...options, objectDir: "/nonexistent" };
    expect(() => Kernel.open(missing, silentLogger)).toThrow(
      expect.objectContaining({ code: "datapath.object" }),
    );
  });
});

describe("attachments", () => {
  it("of the node's device outlive the agent and are replaced in place by the next", async () => {
    const first = open();
    first.attachments.attachDevice("dev", ifindex, hooks.node);
    first.close();
    opened.length = 0;
    const before = queryTcx({ ifindex, direction: "ingress" });
    expect(before).toHaveLength(1);
    open().attachments.attachDevice("dev", ifindex, hooks.node);
    const after = queryTcx({ ifindex, direction: "ingress" });
    expect(after.map(({ linkId }) => linkId)).toEqual(before.map(({ linkId }) => linkId));
    for (const kernel of opened) kernel.attachments.detach("dev", hooks.node);
    // The kernel lets go of an unpinned link in its own time.
    await waitFor(() => queryTcx({ ifindex, direction: "ingress" }).length === 0, { what: "the link to go" });
  });

  it("of a pod outlive the agent, follow its build, and can be taken off", () => {
    const first = open();
    expect(first.attachments.isPodAttached(ifindex)).toBe(false);
    first.attachments.attachPod(ifindex);
    expect(first.attachments.isPodAttached(ifindex)).toBe(true);
    first.close();
    opened.length = 0;
    expect(open().attachments.isPodAttached(ifindex)).toBe(true);
    for (const kernel of opened) kernel.close();
    opened.length = 0;
    rmSync(join(bpffs, "progs"), { recursive: true });
    // Loaded anew, as those of another build would be: what is attached is not them.
    const other = open();
    expect(other.attachments.isPodAttached(ifindex)).toBe(false);
    other.attachments.attachPod(ifindex);
    expect(other.attachments.isPodAttached(ifindex)).toBe(true);
    other.attachments.detachPod(ifindex);
    expect(other.attachments.isPodAttached(ifindex)).toBe(false);
  });

  it("of a pod whose device is gone are no matter", () => {
    const { attachments } = open();
    expect(attachments.isPodAttached(0x7ffffff0)).toBe(false);
    attachments.detachPod(0x7ffffff0);
  });

  it("of sockets are pinned under their cgroup's name", () => {
    const kernel = open();
    kernel.attachments.attachSockets(cgroup);
    kernel.attachments.attachSockets(cgroup);
    expect(readdirSync(join(bpffs, "links")).filter((name) => name.startsWith("cgroup_"))).toHaveLength(8);
    kernel.attachments.detachSockets();
    expect(readdirSync(join(bpffs, "links"))).toEqual([]);
  });
});

describe("the epoch", () => {
  it("rises once for all changes of a turn, at once when settled, and goes on over a restart", async () => {
    const kernel = open();
    kernel.changed();
    await Promise.resolve();
    expect(epochOf(kernel), "nothing is decided before the node is configured").toBe(0);
    kernel.configure(config);
    const start = epochOf(kernel);
    expect(start).toBeGreaterThan(0);
    kernel.changed();
    kernel.changed();
    expect(epochOf(kernel)).toBe(start);
    await Promise.resolve();
    expect(epochOf(kernel)).toBe(start + 1);
    kernel.changed();
    kernel.settle();
    kernel.settle();
    expect(epochOf(kernel)).toBe(start + 2);
    const next = open();
    next.configure(config);
    expect(epochOf(next)).toBe(start + 3);
  });

  it("is raised by a host policy, which stays over the next start", () => {
    const kernel = open();
    kernel.configure(config);
    const before = epochOf(kernel);
    kernel.useHostPolicy(7);
    kernel.settle();
    expect([kernel.maps.config.get(0)?.hostPolicyId, epochOf(kernel)]).toEqual([7, before + 1]);
    const next = open();
    next.configure(config);
    expect([next.hostPolicyId, next.maps.config.get(0)?.hostPolicyId]).toEqual([7, 7]);
    next.useHostPolicy(0);
    expect(next.maps.config.get(0)?.hostPolicyId).toBe(0);
  });

  it("goes round without ever being 0, which marks what was never decided", () => {
    const kernel = open();
    kernel.configure(config);
    kernel.maps.config.put(0, { ...config, natCpus: 0, epoch: 0xffffffff, hostPolicyId: 0 });
    const next = open();
    next.changed();
    next.settle();
    expect(epochOf(next)).toBe(1);
  });
});

const row = { precedence: 5, ruleId: 70, proxyPort: 0, verdict: PolicyVerdict.ALLOW } as const;
const head = {
  shapesBoth: 0,
  shapesExact: 1,
  shapesCidr: 0,
  shapesAny: 0,
  layered: false,
  defaultRule: 71,
  defaultVerdict: PolicyVerdict.DEFAULT_DENY,
} as const;
const keyOf = (policyId: number, port: number) =>
  ({ policyId, direction: 0, identity: 5000, cidr: 0, port, proto: 6, shape: 24 }) as const;

describe("policy", () => {
  it("is written in the order of its changes, endpoints in their place", () => {
    const { maps } = open();
    const seen: string[] = [];
    const see = (endpointId: number) =>
      seen.push(
        `${endpointId}: ${maps.policy.entries().length} rows, ${maps.policyHeads.entries().length} heads`,
      );
    const changes: PolicyChange[] = [
      { op: "setEndpoint", endpointId: 1, policyId: 9 },
      ...Array.from({ length: 20 }, (_, i) => ({ op: "putRow" as const, key: keyOf(9, 80 + i), row })),
      { op: "setEndpoint", endpointId: 2, policyId: 9 },
      { op: "putHead", policyId: 9, direction: 0, head },
      { op: "setEndpoint", endpointId: 3, policyId: 9 },
      { op: "deleteRow", key: keyOf(9, 80) },
      { op: "setEndpoint", endpointId: 4, policyId: 9 },
    ];
    applyPolicyChanges(maps, changes, see);
    expect(seen).toEqual([
      "1: 0 rows, 0 heads",
      "2: 20 rows, 0 heads",
      "3: 20 rows, 1 heads",
      "4: 19 rows, 1 heads",
    ]);
    expect(maps.policy.get({ policyId: 9, identity: 5000, cidr: 0, port: 81, proto: 6, shape: 24 })).toEqual(
      row,
    );
  });

  it("of an earlier agent is pruned, and its numbers are not given again", () => {
    const { maps } = open();
    applyPolicyChanges(
      maps,
      [
        { op: "putRow", key: keyOf(9, 80), row },
        { op: "putHead", policyId: 9, direction: 0, head },
      ],
      () => undefined,
    );
    expect(nextPolicyIds(maps)).toEqual({ policyId: 10, ruleId: 72 });
    const families = { ipv4: true, ipv6: true };
    const engine = new PolicyEngine({
      enforcement: "default",
      audit: false,
      families,
      firstPolicyId: 10,
      firstRuleId: 72,
    });
    expect(prunePolicy(maps, engine)).toBe(2);
    expect(maps.policy.entries()).toEqual([]);
    expect(prunePolicy(maps, engine)).toBe(0);
  });

  it("that is locked has no head in either direction", () => {
    const { maps } = open();
    const heads = ([0, 1] as const).map((direction) => ({
      op: "putHead" as const,
      policyId: 9,
      direction,
      head,
    }));
    applyPolicyChanges(maps, heads, () => undefined);
    expect(maps.policyHeads.entries()).toHaveLength(2);
    lockPolicy(maps, 9);
    expect(maps.policyHeads.entries()).toEqual([]);
  });
});

const service = {
  serviceId: 3,
  slotsOff: 4,
  slots: 1,
  count: 1,
  affinityTimeoutS: 0,
  flags: 128,
  algorithm: 0,
  forwarding: 0,
};

describe("Services", () => {
  const key = { addr: parseIp("10.96.0.10"), port: 80, proto: 6, scope: 0 };
  const backend = { addr: parseIp("10.0.0.5"), port: 8080, proto: 6, state: 0, serviceId: 3, flags: 1 };
  const prefix = parsePrefix("192.0.2.0/24");

  it("are read back as they were written, and go without a rest", () => {
    const { maps } = open();
    applyServiceChanges(maps, [
      { op: "put-backend", id: 1, row: backend },
      {
        op: "put-slots",
        offset: 4,
        serviceId: 3,
        backends: [{ id: 1, address: "10.0.0.5", port: 8080 }],
        table: undefined,
      },
      { op: "put-range", serviceId: 3, prefix },
      { op: "put-skip", serviceId: 3, client: backend.addr },
      { op: "put-service", key, row: service },
    ]);
    const rows = readServiceRows(maps);
    expect(rows.services.map((entry) => entry.row)).toEqual([expect.objectContaining(service)]);
    expect([[...rows.slots.ids(0, 6)], rows.slotsUsed]).toEqual([[0, 0, 0, 0, 1, 0], 5]);
    expect(rows.backends).toEqual([{ id: 1, row: expect.objectContaining({ port: 8080, proto: 6 }) }]);
    expect(rows.ranges).toEqual([{ serviceId: 3, prefix: expect.objectContaining({ length: 120 }) }]);
    expect(rows.skips).toEqual([{ serviceId: 3, client: backend.addr }]);
    applyServiceChanges(maps, [
      { op: "delete-service", key },
      { op: "delete-range", serviceId: 3, prefix },
      { op: "delete-skip", serviceId: 3, client: backend.addr },
      { op: "delete-backend", id: 1, row: backend },
    ]);
    expect(readServiceRows(maps)).toMatchObject({ services: [], backends: [], ranges: [], skips: [] });
  });
});

describe("a map that grows", () => {
  const put = (maps: DatapathMaps, from: number, count: number) =>
    maps.backends.putAll(
      Array.from({ length: count }, (_, i) => [
        from + i,
        { addr: parseIp("10.0.0.5"), port: 8080, proto: 6, state: 0, serviceId: from + i, flags: 0 },
      ]),
    );

  it("takes more rows than it was made for and keeps those it had", () => {
    const { maps } = open();
    const first = maps.backends.raw.maxEntries;
    put(maps, 1, first - 1);
    put(maps, first, 10);
    expect(maps.backends.raw.maxEntries).toBe(2 * first);
    expect(maps.backends.entries()).toHaveLength(first + 9);
    expect(maps.backends.get(1)).toMatchObject({ serviceId: 1 });
    maps.backends.put(3 * first, {
      addr: parseIp("::1"),
      port: 1,
      proto: 6,
      state: 0,
      serviceId: 1,
      flags: 0,
    });
  });

  it("is found by the next agent with all its rows, and grows on from there", () => {
    const { maps } = open();
    const first = maps.backends.raw.maxEntries;
    put(maps, 1, first + 1);
    const { maps: next, close } = openMaps(join(bpffs, "maps"));
    expect(next.backends.raw.maxEntries).toBe(2 * first);
    expect(next.backends.entries()).toHaveLength(first + 1);
    close();
  });

  it("makes room in an array for the highest slot, and tables are read as they were written", () => {
    const { maps } = open();
    const backends = [7, 8].map((id) => ({ id, address: "10.0.0.5", port: id }));
    const table = Uint16Array.from({ length: 31 }, (_, entry) => (entry * 7) % 2);
    applyServiceChanges(maps, [
      { op: "put-slots", offset: 100, serviceId: 3, backends: backends.slice(1), table: undefined },
      { op: "put-slots", offset: 1_000_000, serviceId: 3, backends, table },
    ]);
    const { slots, slotsUsed } = readServiceRows(maps);
    expect(slotsUsed).toBe(1_000_005);
    const row = { ...service, slotsOff: 1_000_000, count: 2, slots: 31, algorithm: 1 };
    for (const source of [slots, kernelSlots(maps.slots)]) {
      expect([...source.ids(1_000_000, 2)]).toEqual([7, 8]);
      expect([...source.ids(99, 3)]).toEqual([0, 8, 0]);
      expect(source.table(1_000_002, 31)).toEqual(table);
      expect([...choicesOf(row, source)]).toEqual([...table].map((index) => 7 + index));
    }
    expect([...slots.ids(maps.slots.maxEntries - 1, 3)]).toEqual([0]);
  });
});

describe("a row that does not fit", () => {
  it("is named with its map", () => {
    const { netns } = open().maps;
    const none = new Uint8Array(16);
    const rows = Array.from(
      { length: netns.raw.maxEntries + 1 },
      (_, i) => [BigInt(i), { ip4: none, ip6: none }] as const,
    );
    expect(() => netns.putAll(rows)).toThrow(
      expect.objectContaining({ code: "map.write", message: expect.stringContaining("ax_netns") }),
    );
  });
});
