import { expect, test } from "vitest";
import {
  type AgentStatus,
  healthOfAgent,
  mergedNodes,
  silentNode,
  valuesOf,
} from "../src/server/node-health.ts";
import type { NodeHealth } from "../src/shared/model.ts";
import { lasted } from "../web/nodes.ts";

const now = Date.parse("2026-11-20T12:00:00Z");
const status: AgentStatus = {
  node: "node1",
  version: "1.2.3",
  started: "2026-11-20T10:59:00Z",
  modules: [{ name: "policy", state: "ok", message: "" }],
  dnsProxy: { mode: "start", serving: true },
  loadBalancing: {
    acceleration: [
      { device: "eth0", at: "xdp" },
      { device: "eth1", at: "tcx", reason: "no XDP there" },
    ],
  },
  flows: { flows_rate: 12.345 },
};
const metrics = `# HELP cilium_bpf_map_pressure Share of a map's capacity in use
# TYPE cilium_bpf_map_pressure gauge
cilium_bpf_map_pressure{map_name="ax_ct"} 0.25
cilium_bpf_map_pressure{map_name="ax_nat"} 0.001
cilium_bpf_events_lost_total 7
cilium_bpf_events_lost_total_other 9
`;
const ready = { namespace: "shop", pod: "web", state: "ready" };

test("an agent that is well", () => {
  expect(healthOfAgent(status, [ready], metrics, now)).toEqual({
    name: "node1",
    state: "ok",
    problems: [],
    toldBy: "agent",
    version: "1.2.3",
    uptimeSeconds: 3660,
    flowsPerSecond: 12.3,
    lost: 7,
    fullest: { map: "ax_ct", share: 0.25 },
    endpoints: { total: 1, ready: 1 },
    programs: ["eth0: xdp", "eth1: tcx (no XDP there)"],
    dnsProxy: "serving",
  });
});

test("what is wrong is named: modules, endpoints, full maps", () => {
  const unwell = healthOfAgent(
    {
      ...status,
      modules: [{ name: "policy", state: "degraded", message: "3 rows not written" }],
      dnsProxy: { mode: "start", serving: false },
    },
    [ready, { namespace: "shop", pod: "cart", state: "not-ready", message: "no address" }],
    metrics.replace("0.25", "0.95"),
    now,
  );
  expect(unwell).toMatchObject({
    state: "degraded",
    problems: [
      "policy degraded: 3 rows not written",
      "endpoint shop/cart is not-ready: no address",
      "map ax_ct is 95 % full",
    ],
    endpoints: { total: 2, ready: 1 },
    dnsProxy: "not serving",
  });
  const failed = { ...status, modules: [{ name: "datapath", state: "failed", message: "gone" }] };
  expect(healthOfAgent(failed, [], "", now)).toMatchObject({ state: "failed", lost: 0 });
});

test("an agent that leaves out what we ask about gives what it has", () => {
  const { fullest, dnsProxy } = healthOfAgent(
    { ...status, dnsProxy: { mode: "off", serving: false } },
    [],
    "",
    now,
  );
  expect([fullest, dnsProxy]).toEqual([undefined, "off"]);
  expect(valuesOf('x{a="1"} 2\nx{a="2"} 3e1\nxy 4', "x")).toEqual(
    new Map([
      ['a="1"', 2],
      ['a="2"', 30],
    ]),
  );
});

test("each node is listed once: its agent knows more than a relay", () => {
  const told: NodeHealth = { name: "node1", state: "ok", problems: [], toldBy: "relay", flowsPerSecond: 3 };
  const cutOff: NodeHealth = {
    ...told,
    name: "node2",
    state: "silent",
    problems: ["the relay does not reach it"],
  };
  const agents = [
    silentNode("node1", "its agent does not answer"),
    { name: "node2", state: "ok", problems: [], toldBy: "agent" } as const,
  ];
  expect(mergedNodes(agents, [cutOff, told])).toEqual([
    { ...told, state: "silent", problems: ["its agent does not answer"], toldBy: "agent" },
    { name: "node2", state: "degraded", problems: ["the relay does not reach it"], toldBy: "agent" },
  ]);
});

test.each([
  [0, "0 s"],
  [59, "59 s"],
  [60, "1 min"],
  [3661, "1 h 1 min"],
  [90_000, "1 d 1 h"],
] as const)("%i s lasted %s", (seconds, text) => {
  expect(lasted(seconds)).toBe(text);
});
