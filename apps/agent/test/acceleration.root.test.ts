import { execFileSync } from "node:child_process";
import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { ConfigFlags } from "@axoneme/abi";
import { type Ip, silentLogger, waitFor } from "@axoneme/base";
import { Link, Program } from "@axoneme/bpf";
import { Kernel } from "@axoneme/datapath";
import { Netlink, setOffloads } from "@axoneme/netlink";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { Acceleration, type AccelerationWish } from "../src/node/acceleration.ts";

/** XDP on a veth whose other end takes frames or not, on a device without XDP, beside another program. */
const bpffs = `/sys/fs/bpf/axacc-${process.pid}`;
const objectDir = join(import.meta.dirname, "../../../build/bpf");
const id = process.pid.toString(36);
const [device, peer, bridge] = [`axc${id}`, `axp${id}`, `axb${id}`];
/** XDP_ATTACHED_DRV, as `ip` tells it. */
const DRIVER = 1;

let netlink: Netlink;
let ifindex = 0;
const kernels: Kernel[] = [];
const running: Acceleration[] = [];

function openKernel(): Kernel {
  const kernel = Kernel.open({ objectDir, bpffs, maxEntries: { ax_ct: 1024, ax_nat: 1024 } }, silentLogger);
  const none = new Uint8Array(16) as Ip;
  kernels.push(kernel);
  kernel.configure({
    flags: ConfigFlags.IPV4,
    deviceIfindex: ifindex,
    tunnelIfindex: 0,
    nodeIp4: none,
    nodeIp6: none,
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
    proxyIp4: none,
    proxyIp6: none,
  });
  return kernel;
}

async function accelerate(
  wish: AccelerationWish,
  on = ifindex,
  kernel = openKernel(),
): Promise<Acceleration> {
  const acceleration = new Acceleration(kernel, netlink, wish, silentLogger);
  running.push(acceleration);
  await acceleration.start(on);
  return acceleration;
}

/** The XDP program on a device, by the kernel's own word. */
function attached(name: string): { mode: number; id: number } | undefined {
  const [link] = JSON.parse(
    execFileSync("ip", ["-j", "link", "show", "dev", name], { encoding: "utf8" }),
  ) as [{ xdp?: { mode: number; prog: { id: number } } }];
  return link.xdp && { mode: link.xdp.mode, id: link.xdp.prog.id };
}

const isFlagged = (kernel: Kernel | undefined) =>
  ((kernel?.maps.config.get(0)?.flags ?? 0) & ConfigFlags.XDP) !== 0;

beforeAll(async () => {
  netlink = Netlink.open();
  await netlink.linkAdd({ kind: "veth", name: device, up: true, peer: { name: peer } });
  await netlink.linkSet({ index: (await netlink.linkGet(peer)).index, up: true });
  await netlink.linkAdd({ kind: "bridge", name: bridge, up: true });
  ifindex = (await netlink.linkGet(device)).index;
});
afterAll(async () => {
  await netlink.linkDel(device);
  await netlink.linkDel(bridge);
  netlink.close();
});
afterEach(() => {
  for (const acceleration of running.splice(0)) acceleration.stop();
  for (const kernel of kernels.splice(0)) kernel.close();
  rmSync(bpffs, { recursive: true, force: true });
  setOffloads(undefined, peer, { gro: false });
});

describe("a veth", () => {
  test("whose other end joins packets carries XDP, in its driver", async () => {
    setOffloads(undefined, peer, { gro: true });
    const { state } = await accelerate("best-effort");
    expect(state).toEqual({ at: "xdp" });
    expect(attached(device)?.mode).toBe(DRIVER);
    expect(isFlagged(kernels[0])).toBe(true);
    expect(kernels[0]?.maps.config.get(0)?.flags).toBe(
      ConfigFlags.IPV4 | ConfigFlags.XDP | ConfigFlags.XDP_REDIRECT,
    );
  });

  test("whose other end takes no frames keeps tcx, and nothing stays behind", async () => {
    const { state } = await accelerate("best-effort");
    expect(state.at).toBe("tcx");
    expect(state.reason).toContain("takes no frames of XDP: switch GRO on there");
    expect(attached(device)).toBeUndefined();
    expect(isFlagged(kernels[0])).toBe(false);
    expect(readdirSync(join(bpffs, "links"))).toEqual([]);
  });

  test("whose other end has an XDP program of its own is fine too", async () => {
    const other = Kernel.open({ objectDir, bpffs, maxEntries: {} }, silentLogger);
    const link = Link.attachXdp(Program.openPinned(join(bpffs, "progs", other.build, "xdp_probe")), {
      ifindex: (await netlink.linkGet(peer)).index,
    });
    try {
      expect((await accelerate("best-effort", ifindex, other)).state).toEqual({ at: "xdp" });
    } finally {
      link.close();
      kernels.push(other);
    }
  });

  test("required, and it cannot be: the agent says why and does not start", async () => {
    await expect(accelerate("native")).rejects.toThrow(/"native", but the other end of the veth .* GRO on/);
    expect(attached(device)).toBeUndefined();
  });

  test("required, and it can be", async () => {
    setOffloads(undefined, peer, { gro: true });
    expect((await accelerate("native")).state).toEqual({ at: "xdp" });
  });
});

test("the next agent replaces the program in its place, and takes it off when told so", async () => {
  setOffloads(undefined, peer, { gro: true });
  await accelerate("best-effort");
  const links = readdirSync(join(bpffs, "links"));
  const linkId = () => {
    const link = Link.openPinned(join(bpffs, "links", `dev${ifindex}_xdp_lb`));
    const { id: number } = link.info();
    link.close();
    return number;
  };
  const before = linkId();
  await accelerate("best-effort");
  expect(readdirSync(join(bpffs, "links"))).toEqual(links);
  expect(linkId()).toBe(before);
  expect((await accelerate("disabled")).state).toEqual({ at: "tcx", reason: "switched off" });
  expect(attached(device)).toBeUndefined();
});

test("the other end stops taking frames, and takes them again: the agent notices both", async () => {
  vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
  try {
    setOffloads(undefined, peer, { gro: true });
    const acceleration = await accelerate("best-effort");
    for (const [gro, at] of [
      [false, "tcx"],
      [true, "xdp"],
    ] as const) {
      setOffloads(undefined, peer, { gro });
      vi.advanceTimersByTime(60_000);
      await waitFor(() => acceleration.state.at === at, { what: `packets balanced in ${at}` });
      expect(attached(device)?.mode).toBe(gro ? DRIVER : undefined);
      expect(isFlagged(kernels[0])).toBe(gro);
    }
  } finally {
    vi.useRealTimers();
  }
});

test("a driver without XDP", async () => {
  const { index } = await netlink.linkGet(bridge);
  expect((await accelerate("best-effort", index)).state).toEqual({
    at: "tcx",
    reason: `the driver of ${bridge} has no native XDP`,
  });
  await expect(accelerate("native", index)).rejects.toThrow("has no native XDP");
});

test("another XDP program is there already: it stays", async () => {
  setOffloads(undefined, peer, { gro: true });
  const kernel = openKernel();
  const program = Program.openPinned(join(bpffs, "progs", kernel.build, "xdp_probe"));
  const link = Link.attachXdp(program, { ifindex });
  try {
    const { state } = await accelerate("best-effort", ifindex, kernel);
    expect(state).toEqual({ at: "tcx", reason: `another XDP program is attached to ${device}` });
    expect(attached(device)?.id).toBe(program.id);
  } finally {
    link.close();
    program.close();
  }
});
