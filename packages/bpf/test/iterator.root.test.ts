import { closeSync, openSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { closeFd, listenIn, Netns } from "@axoneme/netlink";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { BpfIterator, describeOpenFds, hasKernelFunction, type LoadedObject } from "../src/index.ts";
import { compile, scratch } from "./fixtures.ts";

const folder = scratch();
const netns = join(folder.path, "ns");
const listeners: number[] = [];
let object: LoadedObject;
let netnsFd = -1;

beforeAll(async () => {
  await Netns.create(netns);
  netnsFd = openSync(netns, "r");
  for (const port of [7001, 7002, 7003]) listeners.push(listenIn(netns, { host: "127.0.0.1", port }));
  object = compile("walks", folder.path).load();
});
afterAll(async () => {
  for (const fd of listeners) closeFd(fd);
  closeSync(netnsFd);
  await Netns.delete(netns);
  object.close();
  folder.remove();
  expect(describeOpenFds()).toEqual([]);
});

const portsIn = (bytes: Uint8Array): number[] => [...new Uint16Array(Uint8Array.from(bytes).buffer)].sort();

describe("an iterator", () => {
  it("walks the sockets of the namespace it is told, and leaves this process in its own", async () => {
    const home = readlinkSync("/proc/thread-self/ns/net");
    const iterator = BpfIterator.attach(object.program("ports"));
    expect(portsIn(await iterator.run({ netnsFd }))).toEqual([7001, 7002, 7003]);
    expect(portsIn(await iterator.run())).not.toContain(7001);
    expect(readlinkSync("/proc/thread-self/ns/net")).toBe(home);
    await iterator.close();
  });

  it("gives everything, however much its program writes; runs at the same time do not mix", async () => {
    const rows = object.map("t_rows");
    const count = 50_000;
    const keys = Uint32Array.from({ length: count }, (_, i) => i);
    const values = BigUint64Array.from({ length: count }, (_, i) => BigInt(i));
    rows.putBatch(new Uint8Array(keys.buffer), new Uint8Array(values.buffer), count);
    const iterator = BpfIterator.attach(object.program("values"), rows);
    for (const bytes of await Promise.all([iterator.run(), iterator.run(), iterator.run()])) {
      const seen = new BigUint64Array(Uint8Array.from(bytes).buffer);
      expect(new Set(seen).size).toBe(count);
    }
    await iterator.close();
  });

  it("names what failed", async () => {
    expect(() => BpfIterator.attach(object.program("values"))).toThrow(/attach iterator values: E/);
    const iterator = BpfIterator.attach(object.program("ports"));
    const file = openSync("/dev/null", "r");
    await expect(iterator.run({ netnsFd: file })).rejects.toThrow(/iterator ports: run: EINVAL/);
    closeSync(file);
    await iterator.close();
    await expect(iterator.run()).rejects.toThrow(/closed/);
  });

  it("can close sockets where the kernel has the function", () => {
    expect(["yes", "no"]).toContain(hasKernelFunction("bpf_sock_destroy"));
    expect(hasKernelFunction("bpf_sock_never_was")).toBe("no");
  });
});
