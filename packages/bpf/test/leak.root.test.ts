import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { BpfMap, BpfObject, Link, openFds, RingBuffer } from "../src/index.ts";
import { compile, privateBpffs, scratch } from "./fixtures.ts";
import { testNetwork } from "./network.ts";

/** Descriptors and memory mappings of this process. */
function held(): { fds: number; mappings: number } {
  const maps = readFileSync("/proc/self/maps", "utf8").split("\n");
  return {
    fds: readdirSync("/proc/self/fd").length,
    mappings: maps.filter((l) => l.includes("bpf-map")).length,
  };
}

it("opens, loads, pins, attaches and closes 200 times without keeping a descriptor or a mapping", () => {
  const folder = scratch();
  const bpffs = privateBpffs(folder.path);
  const network = testNetwork("leak");
  compile("events", folder.path);
  compile("hooks", folder.path);
  compile("rejected", folder.path);
  const open = (name: string) => BpfObject.open(join(folder.path, `${name}.bpf.o`));

  const once = (round: number) => {
    const events = open("events").load();
    const ring = RingBuffer.open(events.map("events"));
    ring.watch(() => undefined);
    ring.close();
    events.close();
    const hooks = open("hooks")
      .configure({ programs: ["first"], pinDir: bpffs.path })
      .load();
    const options = { ifindex: network.ifindex, netnsFd: network.netnsFd, direction: "ingress" as const };
    const link = Link.attachTcx(hooks.program("first"), options);
    link.pin(join(bpffs.path, `link${round + 1}`));
    link.detach();
    link.close();
    expect(() => Link.attachTcx(hooks.program("first"), { ...options, ifindex: 9999 })).toThrow();
    expect(() => BpfMap.openPinned(join(bpffs.path, `link${round + 1}`))).toThrow(/not a map/);
    hooks.close();
    if (round % 20 === 0) expect(() => open("rejected").load()).toThrow(/rejected/);
  };

  try {
    once(-1);
    const before = held();
    for (let round = 0; round < 200; round++) once(round);
    expect(held()).toEqual(before);
    expect(openFds()).toBe(0);
  } finally {
    network.remove();
    bpffs.remove();
    folder.remove();
  }
}, 60_000);
