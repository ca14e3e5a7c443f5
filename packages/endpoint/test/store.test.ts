import { appendFileSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type EndpointRecord, EndpointStore } from "../src/index.ts";

const record: EndpointRecord = {
  version: 1,
  state: "creating",
  id: 7,
  containerId: "abc",
  ifname: "eth0",
  netns: "/run/netns/x",
  pod: { namespace: "shop", name: "web-0", uid: "u" },
  ips: ["10.0.0.7"],
  hostIfname: "lxc1",
  hostIfindex: 0,
  mac: "02:00:00:00:00:01",
  hostMac: "02:00:00:00:00:02",
  identity: 0,
  chained: false,
  createdAt: 1,
};

describe("EndpointStore", () => {
  let dir = "";
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), "axon-store-"));
  });
  afterEach(() => rmSync(dir, { recursive: true }));

  it("keeps the newest record of an attachment over a restart", () => {
    const store = new EndpointStore(dir);
    store.write(record);
    store.write({ ...record, state: "ready", hostIfindex: 12 });
    expect(new EndpointStore(dir).load().records).toEqual([{ ...record, state: "ready", hostIfindex: 12 }]);
  });

  it("ignores a half-written temporary file and reports an unreadable record", () => {
    const store = new EndpointStore(dir);
    store.write(record);
    writeFileSync(join(dir, "zzz_eth0.json.tmp"), '{"versi');
    writeFileSync(join(dir, "bad_eth0.json"), '{"versi');
    const { records, unreadable } = store.load();
    expect(records).toEqual([record]);
    expect(unreadable).toEqual([join(dir, "bad_eth0.json")]);
    expect(readdirSync(dir).some((name) => name.endsWith(".tmp"))).toBe(false);
  });

  it("goes back to the last whole line when a full disk has cut one, and on from there", () => {
    const store = new EndpointStore(dir);
    store.write(record);
    appendFileSync(join(dir, "abc_eth0.json"), '\n{"version":1,"state":"rea');
    expect(store.load().records).toEqual([record]);
    store.write({ ...record, state: "ready" });
    expect(store.load().records).toEqual([{ ...record, state: "ready" }]);
  });

  it("takes a file without a line for a process that died before it did anything", () => {
    const store = new EndpointStore(dir);
    writeFileSync(join(dir, "abc_eth0.json"), "");
    expect(store.load()).toEqual({ records: [], unreadable: [] });
    expect(readdirSync(dir)).toEqual([]);
  });

  it("does not grow without end", () => {
    const store = new EndpointStore(dir);
    for (let identity = 1; identity <= 500; identity++) store.write({ ...record, identity });
    expect(statSync(join(dir, "abc_eth0.json")).size).toBeLessThan(32 * 1024);
    expect(store.load().records).toEqual([{ ...record, identity: 500 }]);
  });

  it("forgets, also what it never knew", () => {
    const store = new EndpointStore(dir);
    store.write(record);
    store.remove(record);
    store.remove(record);
    expect(store.load().records).toEqual([]);
  });
});
