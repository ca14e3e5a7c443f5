import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  formatIp,
  formatPrefix,
  parseInterfaceAddress,
  parseIp,
  parseMac,
  parsePrefix,
  withDeadline,
} from "@axoneme/base";
import { afterAll, beforeAll, expect, it } from "vitest";
import { Netlink, Netns, type Watch, type WatchEvent } from "../src/index.ts";

const dir = mkdtempSync(join(tmpdir(), "axon-watch-"));
const path = join(dir, "ns");
let netlink: Netlink;

const openFds = (): number => readdirSync("/proc/self/fd").length;

/** Reads until an event passes; fails after five seconds. */
async function until(watch: Watch, wanted: (event: WatchEvent) => boolean): Promise<WatchEvent[]> {
  const seen: WatchEvent[] = [];
  const iterator = watch[Symbol.asyncIterator]();
  for (;;) {
    const { done, value } = await withDeadline(iterator.next(), 5000, "an event");
    if (done === true) throw new Error("the watch ended");
    seen.push(value);
    if (wanted(value)) return seen;
  }
}

const told = (event: WatchEvent): string => {
  switch (event.type) {
    case "link":
      return `link ${event.action} ${event.link.name}`;
    case "addr":
      return `addr ${event.action} ${formatPrefix(event.addr.prefix)}`;
    case "route":
      return `route ${event.action} ${formatPrefix(event.route.dst)}`;
    case "rule":
      return `rule ${event.action} ${event.rule.priority}`;
    case "neigh":
      return `neigh ${event.action} ${formatIp(event.neigh.ip)}`;
    default:
      return event.type;
  }
};

beforeAll(async () => {
  await Netns.create(path);
  netlink = Netlink.open({ netnsPath: path });
});

afterAll(async () => {
  netlink.close();
  await Netns.delete(path);
  rmSync(dir, { recursive: true });
});

it("tells what happens to links, addresses, routes, rules and neighbours", async () => {
  const watch = netlink.watch({ links: true, addrs: true, routes: true, rules: true, neighs: true });
  await netlink.linkAdd({ kind: "bridge", name: "w0", up: true });
  const { index } = await netlink.linkGet("w0");
  const prefix = parseInterfaceAddress("10.1.2.3/24");
  const ip = parseIp("10.1.2.4");
  await netlink.batch((nl) => {
    void nl.addrAdd({ index, prefix });
    void nl.routeAdd({ oif: index, dst: parsePrefix("10.50.0.0/16") });
    void nl.ruleAdd({ family: 4, priority: 50, table: 50 });
    void nl.neighAdd({ index, ip, mac: parseMac("02:00:00:00:00:04") });
    void nl.neighDel({ index, ip });
    void nl.ruleDel({ family: 4, priority: 50, table: 50 });
    void nl.routeDel({ dst: parsePrefix("10.50.0.0/16") });
    void nl.addrDel({ index, prefix });
    void nl.linkDel(index);
  });
  const events = await until(watch, (event) => told(event) === "link delete w0");
  watch.close();
  const lines = events.map(told);
  for (const line of [
    "link set w0",
    "addr set 10.1.2.3/24",
    "route set 10.50.0.0/16",
    "rule set 50",
    "neigh set 10.1.2.4",
    "neigh delete 10.1.2.4",
    "rule delete 50",
    "route delete 10.50.0.0/16",
    "addr delete 10.1.2.3/24",
  ]) {
    expect(lines).toContain(line);
  }
  expect(lines.indexOf("addr set 10.1.2.3/24")).toBeLessThan(lines.indexOf("addr delete 10.1.2.3/24"));
});

it("tells only what was asked for", async () => {
  const watch = netlink.watch({ addrs: true });
  await netlink.addrAdd({ index: 1, prefix: parseInterfaceAddress("127.0.0.9/8") });
  const [event] = await until(watch, () => true);
  watch.close();
  expect(event && told(event)).toBe("addr set 127.0.0.9/8");
});

it("says resync when the kernel had to drop changes, and goes on", async () => {
  const watch = netlink.watch({ routes: true, receiveBuffer: 4096 });
  const changes = netlink.batch((nl) => {
    for (let i = 0; i < 100; i++) void nl.routeAdd({ oif: 1, dst: parsePrefix(`10.60.${i}.0/24`) });
  });
  // The send is queued in a microtask and made by another thread; nobody reads while this one is held.
  await Promise.resolve();
  await Promise.resolve();
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 300);
  await changes;
  await until(watch, (event) => event.type === "resync");
  await netlink.routeDel({ dst: parsePrefix("10.60.99.0/24") });
  await until(watch, (event) => told(event) === "route delete 10.60.99.0/24");
  watch.close();
});

it("closes for good: no descriptor, no event, the iteration ends", async () => {
  const before = openFds();
  const watch = netlink.watch({ links: true }).unref();
  const ended = (async () => {
    for await (const event of watch) throw new Error(`unexpected ${event.type}`);
    return "ended";
  })();
  watch.close();
  watch.close();
  expect(await ended).toBe("ended");
  const broken = netlink.watch({ addrs: true });
  await netlink.addrAdd({ index: 1, prefix: parseInterfaceAddress("127.0.0.10/8") });
  for await (const event of broken) if (event.type === "addr") break;
  expect(openFds()).toBe(before);
});

it("refuses to watch over a closed socket", () => {
  const closed = Netlink.open({ netnsPath: path });
  closed.close();
  expect(() => closed.watch({ links: true })).toThrow(/ECANCELED/);
});
