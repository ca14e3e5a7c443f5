import type { HealthReporter } from "@axoneme/app";
import { formatPrefix, type Ip, type Prefix, parseIp, parsePrefix, waitFor } from "@axoneme/base";
import type { Kernel } from "@axoneme/datapath";
import { Ipcache } from "@axoneme/identity";
import { expect, test, vi } from "vitest";
import { ConntrackCollector } from "../src/collector.ts";
import { Meters } from "../src/metrics/meters.ts";
import type { NativeDevice } from "../src/node/local-node.ts";
import { Peers } from "../src/node/peers.ts";
import type { PodRoutes } from "../src/node/pod-routes.ts";
import { IpcacheWriter } from "../src/state/ipcache.ts";
import { quiet } from "./logger.ts";
import { plainClasses } from "./plain-classes.ts";

const sizes = { conntrackMax: 1024, natMax: 1024, lbFlowMax: 1024 };

/** What is repeated, put off, or told in an unusual order. */

test("a full ipcache is tried again at one pace, however many changes meet it", async () => {
  vi.useFakeTimers();
  try {
    let puts = 0;
    const putAll = () => {
      puts++;
      throw new Error("no space");
    };
    const kernel = { changed: () => undefined, maps: { ipcache: { delete: () => true, putAll } } };
    const ipcache = new Ipcache();
    const writer = new IpcacheWriter(ipcache, kernel as unknown as Kernel, quiet);
    for (let i = 1; i <= 20; i++) {
      ipcache.upsert(parsePrefix(`10.0.0.${i}/32`), "local", "x", { identity: 300 });
      writer.flush();
    }
    await Promise.resolve();
    expect(vi.getTimerCount()).toBe(1);
    const before = puts;
    await vi.advanceTimersByTimeAsync(1000);
    expect([puts, vi.getTimerCount()]).toEqual([before + 1, 1]);
  } finally {
    vi.useRealTimers();
  }
});

test("an address that is in use again keeps its connections", async () => {
  const [reused, free] = [parseIp("10.0.0.1"), parseIp("10.0.0.2")];
  const flushed: (Ip | undefined)[] = [];
  const kernel = {
    maps: { endpoints: { get: (ip: Ip) => (ip === reused ? { id: 5 } : undefined) } },
    sweep: (_: number, ip?: Ip) => void flushed.push(ip),
  } as unknown as Kernel;
  const collector = new ConntrackCollector(kernel, 60_000, sizes, new Meters(), quiet);
  collector.flush(reused);
  collector.flush(free);
  await waitFor(() => flushed.length > 0, { timeoutMs: 5000, what: "the walk" });
  expect(flushed).toEqual([free]);
});

test.each([
  ["ct", "conntrackMax"],
  ["nat", "natMax"],
  ["flow", "lbFlowMax"],
] as const)("a table that fills is swept at once, and named: %s", async (table, option) => {
  vi.useFakeTimers();
  try {
    let sweeps = 0;
    const none = { ctSeen: 0, ctDeleted: 0, natSeen: 0, natDeleted: 0, flowSeen: 0, flowDeleted: 0 };
    const result = { ...none, [`${table}Seen`]: 1000, [`${table}Deleted`]: 1 };
    const sweep = () => {
      sweeps++;
      return result;
    };
    const collector = new ConntrackCollector(
      { sweep } as unknown as Kernel,
      60_000,
      sizes,
      new Meters(),
      quiet,
    );
    const told: string[] = [];
    const health = { ok: () => told.push("ok"), degraded: (text: string) => told.push(text) };
    collector.start(health as unknown as HealthReporter);
    await vi.advanceTimersByTimeAsync(3500);
    collector.stop();
    expect(sweeps).toBe(4);
    expect(told[0]).toMatch(new RegExp(`999 of 1024 .*: new connections .* raise ${option}$`));
  } finally {
    vi.useRealTimers();
  }
});

test("a pod CIDR that moved stays, though the node that had it goes later", () => {
  const routes = new Set<string>();
  const nomasq = new Set<string>();
  const text = (p: { addr: Ip; prefixlen: number }) => formatPrefix({ ip: p.addr, length: p.prefixlen });
  const podRoutes = {
    want: ({ cidr }: { cidr: Prefix }) => void routes.add(formatPrefix(cidr)),
    drop: (cidr: Prefix) => void routes.delete(formatPrefix(cidr)),
  } as unknown as PodRoutes;
  const kernel = {
    changed: () => undefined,
    maps: {
      nomasq: {
        put: (key: { addr: Ip; prefixlen: number }) => void nomasq.add(text(key)),
        delete: (key: { addr: Ip; prefixlen: number }) => nomasq.delete(text(key)),
        entries: () => [],
      },
    },
  } as unknown as Kernel;
  const device: NativeDevice = {
    name: "eth0",
    index: 2,
    mtu: 1500,
    mac: new Uint8Array(6),
    v4: parseIp("172.30.0.1"),
    v6: undefined,
    prefixes: [parsePrefix("172.30.0.0/24")],
  };
  const options = { nodeName: "me", device, tunnelIndex: undefined, gateways: [], classes: plainClasses };
  const peers = new Peers(options, podRoutes, new Ipcache(), kernel);
  const node = (name: string, ip: string) => ({
    apiVersion: "cilium.io/v2",
    kind: "CiliumNode",
    metadata: { name },
    spec: { addresses: [{ type: "InternalIP", ip }], ipam: { podCIDRs: ["10.5.0.0/24"] } },
  });
  const handlers = peers.handlers();
  handlers.onAdd?.(node("old", "172.30.0.2"));
  handlers.onAdd?.(node("new", "172.30.0.3"));
  handlers.onDelete?.(node("old", "172.30.0.2"));
  expect([...routes]).toEqual(["10.5.0.0/24"]);
  expect([...nomasq]).toEqual(["10.5.0.0/24"]);
});
