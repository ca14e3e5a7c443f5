import { expect, test } from "vitest";
import { LiveView } from "../src/server/live.ts";
import { RecentFlows } from "../src/server/recent.ts";
import { ServiceMap } from "../src/server/service-map.ts";
import { everything, matches, readFilter, writeFilter } from "../src/shared/model.ts";
import { flow, rowsAsMessages } from "./rows.ts";

const messages = rowsAsMessages();
const health = { sources: [], rate: 0, counted: 0 };

test("flows add up to edges, answers to none of their own", () => {
  const map = new ServiceMap(10);
  for (let i = 0; i < 5; i++) map.add(flow("shop/web", "shop/cart"));
  map.add(flow("shop/cart", "shop/web", { isReply: true }));
  map.add(flow("world", "shop/web", { verdict: "dropped", dropReason: "POLICY_DENIED", id: "the-drop" }));
  map.next();
  const { nodes, edges } = map.delta(everything, 0, new Set(), 100);
  expect(nodes.map(({ id }) => id).sort()).toEqual(["r:world", "w:shop/cart", "w:shop/web"]);
  const byId = new Map(edges.map((edge) => [edge.id, edge]));
  expect(byId.get("w:shop/web>w:shop/cart")).toMatchObject({
    totals: { forwarded: 5, dropped: 0, audited: 0 },
    ports: ["TCP/80"],
  });
  expect(byId.get("r:world>w:shop/web")).toMatchObject({
    totals: { forwarded: 0, dropped: 1 },
    droppedPorts: ["TCP/80"],
    lastDrop: "the-drop",
  });
});

test("rates come and go, and an edge that nobody uses leaves", () => {
  const map = new ServiceMap(3);
  for (let second = 0; second < 30; second++) {
    for (let i = 0; i < 10; i++) map.add(flow("a/a", "b/b"));
    map.next();
  }
  const rate = () => map.delta(everything, 0, new Set(), 10).edges[0]?.forwarded;
  expect(rate()).toBeGreaterThan(9.5);
  map.next();
  map.next();
  expect(rate()).toBeLessThan(6);
  map.next();
  map.next();
  expect(map.size).toBe(0);
});

test("only what changed is sent again, and what went is named", () => {
  const map = new ServiceMap(2);
  const view = new LiveView(map, new RecentFlows(10, messages), everything);
  map.add(flow("a/a", "b/b"));
  map.add(flow("a/a", "c/c"));
  map.next();
  expect(view.next(health, []).map).toMatchObject({ reset: true, removedEdges: [] });
  for (let i = 0; i < 2; i++) {
    map.add(flow("a/a", "b/b"));
    map.next();
  }
  expect(view.next(health, []).map.edges.map(({ id }) => id)).toContain("w:a/a>w:b/b");
  map.add(flow("a/a", "b/b"));
  map.next();
  expect(view.next(health, []).map.removedEdges).toEqual(["w:a/a>w:c/c"]);
});

test("the number of edges and of ports is bounded", () => {
  const map = new ServiceMap(1000);
  for (let i = 0; i < 30_000; i++) map.add(flow("a/a", `b/b${i}`));
  expect(map.size).toBe(20_000);
  const { edges, hidden } = map.delta(everything, 0, new Set(), 3000);
  expect([edges.length, hidden]).toEqual([3000, 17_000]);
  const one = flow("x/x", "y/y");
  for (let port = 1; port <= 500; port++) map.add({ ...one, destination: { ...one.destination, port } });
  const many = map.delta({ ...everything, namespace: "x" }, 0, new Set(), 10).edges[0];
  expect(many?.ports).toHaveLength(5);
  expect(many?.ports[0]).toBe("other");
});

test("a reader gets the newest flows that match, and how many it did not get", () => {
  const recent = new RecentFlows(100, messages);
  for (let i = 0; i < 150; i++)
    recent.add(messages.of(flow(i % 2 === 0 ? "a/a" : "b/b", "c/c", { id: String(i) })));
  const { rows, skipped } = recent.since(0, { ...everything, namespace: "b" }, 10);
  expect(rows.map(({ id }) => id)).toEqual([
    "131",
    "133",
    "135",
    "137",
    "139",
    "141",
    "143",
    "145",
    "147",
    "149",
  ]);
  // 40 more are in the ring; 50 flows of either kind have left it.
  expect(skipped).toBe(90);
  const all = recent.since(120, everything, 20);
  expect([all.rows.length, all.rows[0]?.id, all.skipped]).toEqual([20, "130", 10]);
});

test.each([
  [{ namespace: "shop" }, true],
  [{ namespace: "bank" }, false],
  [{ verdict: "dropped" }, false],
  [{ port: "80" }, true],
  [{ port: "81" }, false],
  [{ text: "car" }, true],
  [{ text: "app=cart" }, true],
  [{ text: "nothing" }, false],
  [{ group: "w:shop/cart" }, true],
  [{ group: "ns:shop" }, true],
  [{ group: "ns:bank" }, false],
  [{ protocol: "UDP" }, false],
  [{ protocol: "TCP" }, true],
] as const)("%j matches: %s", (part, expected) => {
  expect(matches(flow("world", "shop/cart"), { ...everything, ...part })).toBe(expected);
});

test("what has no ports is found by its protocol, as the page writes it", () => {
  const ping = flow("a/a", "b/b", { protocol: "ICMPv6" });
  const filter = readFilter(new URLSearchParams("protocol=ICMPv6"));
  expect(matches(ping, filter)).toBe(true);
  const map = new ServiceMap(10);
  map.add({ ...ping, destination: { ...ping.destination, port: 0 } });
  expect(map.delta(filter, 0, new Set(), 10).edges).toHaveLength(1);
});

test("a filter survives the address, and nonsense does not get in", () => {
  const filter = {
    ...everything,
    namespace: "shop",
    verdict: "dropped",
    port: "443",
    text: "a b&c",
  } as const;
  expect(readFilter(new URLSearchParams(writeFilter(filter).toString()))).toEqual(filter);
  expect(readFilter(new URLSearchParams("verdict=maybe&port=http&other=1"))).toEqual(everything);
});
