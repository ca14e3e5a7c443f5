import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Ip, ipEqual, parseIp, parseMac, waitFor } from "@axoneme/base";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { announcementFrames, NeighState, Netlink, Netns, openNetns, sendFrames } from "../src/index.ts";

/** Frames judged by the kernel at the other end of a veth pair. */

const dir = mkdtempSync(join(tmpdir(), "axon-frame-"));
const paths = { a: join(dir, "a"), b: join(dir, "b") };
let a: Netlink;
let b: Netlink;
let near: number;
let far: number;

beforeAll(async () => {
  await Promise.all([Netns.create(paths.a), Netns.create(paths.b)]);
  a = Netlink.open({ netnsPath: paths.a });
  b = Netlink.open({ netnsPath: paths.b });
  await a.linkAdd({ kind: "veth", name: "v0", up: true, peer: { name: "v1", netnsFd: openNetns(paths.b) } });
  near = (await a.linkGet("v0")).index;
  far = (await b.linkGet("v1")).index;
  await b.linkSet({ index: far, up: true });
  await waitFor(async () => (await a.linkGet("v0")).lowerUp, { what: "the veth pair to be up" });
  // A device without a finished address has no routes for multicast: it would not listen.
  await waitFor(async () => (await b.addrList({ index: far })).some(({ tentative }) => !tentative), {
    what: "the far end to have its link-local address",
    timeoutMs: 10_000,
  });
});

afterAll(async () => {
  a.close();
  b.close();
  await Promise.all([Netns.delete(paths.a), Netns.delete(paths.b)]);
  rmSync(dir, { recursive: true });
});

const send = (frames: readonly Uint8Array[], ifindex = near): void =>
  sendFrames(
    paths.a,
    frames.map((bytes) => ({ ifindex, bytes })),
  );

const macOf = async (ip: Ip): Promise<Uint8Array | undefined> =>
  (await b.neighList({ index: far })).find((neighbour) => ipEqual(neighbour.ip, ip))?.mac;

describe("an announcement", () => {
  it.each(["192.0.2.77", "2001:db8::77"])(
    "moves %s at a neighbour to the new device at once",
    async (text) => {
      const ip = parseIp(text);
      const before = parseMac("02:00:00:00:00:01");
      await b.neighReplace({ index: far, ip, mac: before, state: NeighState.stale });
      expect(await macOf(ip)).toEqual(before);
      const after = parseMac("02:00:00:00:00:02");
      send(announcementFrames(ip, after));
      await waitFor(async () => Buffer.compare((await macOf(ip)) ?? before, after) === 0, {
        what: `${text} to be at the new device`,
      });
    },
  );

  it("of IPv4 is a request and a reply, either enough", async () => {
    const ip = parseIp("192.0.2.78");
    const frames = announcementFrames(ip, parseMac("02:00:00:00:00:10"));
    expect(frames.map((frame) => [frame.length, frame[21]])).toEqual([
      [42, 1],
      [42, 2],
    ]);
    for (const [i, frame] of frames.entries()) {
      const mac = parseMac(`02:00:00:00:01:0${i}`);
      await b.neighReplace({ index: far, ip, mac, state: NeighState.stale });
      send([frame]);
      await waitFor(async () => Buffer.compare((await macOf(ip)) ?? mac, mac) !== 0, { what: `frame ${i}` });
    }
  });
});

describe("sending a frame", () => {
  it("names what is wrong", async () => {
    const [frame = new Uint8Array()] = announcementFrames(
      parseIp("192.0.2.1"),
      parseMac("02:00:00:00:00:01"),
    );
    expect(() => send([frame], 9999)).toThrow(
      expect.objectContaining({ errnoName: "ENXIO", message: expect.stringContaining("device 9999") }),
    );
    expect(() => send([new Uint8Array(20_000)])).toThrow(expect.objectContaining({ errnoName: "EMSGSIZE" }));
    expect(() => send([new Uint8Array(4)])).toThrow(TypeError);
    await a.linkSet({ index: near, up: false });
    expect(() => send([frame])).toThrow(expect.objectContaining({ errnoName: "ENETDOWN" }));
    await a.linkSet({ index: near, up: true });
  });

  it("sends a thousand at once, those that can be sent although one cannot, and leaves no descriptor behind", async () => {
    const open = (): number => readdirSync("/proc/self/fd").length;
    const [frame = new Uint8Array()] = announcementFrames(
      parseIp("192.0.2.1"),
      parseMac("02:00:00:00:00:01"),
    );
    const before = open();
    send(Array.from({ length: 1000 }, () => frame));
    const ip = parseIp("192.0.2.79");
    const mac = parseMac("02:00:00:00:00:03");
    await b.neighReplace({ index: far, ip, mac, state: NeighState.stale });
    const moved = parseMac("02:00:00:00:00:04");
    const [last = new Uint8Array()] = announcementFrames(ip, moved);
    const mixed = [
      { ifindex: 9999, bytes: frame },
      { ifindex: near, bytes: last },
    ];
    expect(() => sendFrames(paths.a, mixed)).toThrow(expect.objectContaining({ errnoName: "ENXIO" }));
    await waitFor(async () => Buffer.compare((await macOf(ip)) ?? mac, moved) === 0, {
      what: "the last frame",
    });
    expect(open()).toBe(before);
  });
});
