import { describe, expect, it } from "vitest";
import { type Flow, formatCompact, formatDict, type GetFlowsResponse, timeText } from "../src/index.ts";

const time = "2026-11-20T12:00:00.000Z";
const shown = timeText(time);
const base: Flow = {
  time,
  uuid: "u",
  verdict: "FORWARDED",
  IP: { source: "10.0.0.10", destination: "10.0.0.20", ipVersion: "IPv4" },
  l4: { TCP: { source_port: 40000, destination_port: 80, flags: { SYN: true } } },
  source: { identity: 1000, namespace: "default", pod_name: "client" },
  destination: { identity: 2000, namespace: "default", pod_name: "web" },
  event_type: { type: 4 },
  is_reply: false,
  Summary: "TCP Flags: SYN",
};
const line = (flow: Partial<Flow>, options = {}): string =>
  formatCompact({ flow: { ...base, ...flow }, node_name: "node1", time }, options);

describe("flows as people read them", () => {
  it("prints the time as the field's CLI, in local time", () => {
    expect(shown).toMatch(/^Nov 20 \d\d:00:00\.000$/);
    expect(timeText("nonsense")).toBe("N/A");
  });

  it("a forwarded packet", () => {
    expect(line({})).toBe(
      `${shown}: default/client:40000 (ID:1000) -> default/web:80 (ID:2000) to-endpoint FORWARDED (TCP Flags: SYN)`,
    );
  });

  it("a reply points back, the client still first", () => {
    expect(line({ is_reply: true })).toContain("default/web:80 (ID:2000) <- default/client:40000 (ID:1000)");
  });

  it("processes, when asked for", () => {
    const flow: Partial<Flow> = {
      source: { ...base.source, process: { binary: "/usr/bin/curl", pid: 4711 } },
    };
    expect(line(flow)).not.toContain("curl");
    expect(line(flow, { processes: true })).toMatch(/ process curl\[4711\] -> \?$/);
    expect(line({}, { processes: true })).toBe(line({}));
    const dict = formatDict({ flow: { ...base, ...flow }, time }, { processes: true });
    expect(dict).toContain("PROCESS: curl[4711] -> ?");
  });

  it("a verdict with its policy", () => {
    const flow: Partial<Flow> = {
      event_type: { type: 5 },
      policy_match_type: 2,
      traffic_direction: "INGRESS",
      ingress_allowed_by: [{ namespace: "default", name: "web" }, { name: "cluster-wide" }],
    };
    const text = "policy-verdict:L3-L4 INGRESS ALLOWED (TCP Flags: SYN)";
    expect(line(flow)).toMatch(new RegExp(`${text.replace(/[()]/g, "\\$&")} by default/web, cluster-wide$`));
    expect(line(flow, { policyNames: false }).endsWith(text)).toBe(true);
  });

  it("a drop: direction unknown, reason in words", () => {
    const drop: Flow = { ...base, verdict: "DROPPED", event_type: { type: 1, sub_type: 133 } };
    delete drop.is_reply;
    expect(formatCompact({ flow: drop, time })).toContain(
      "default/client:40000 (ID:1000) <> default/web:80 (ID:2000) Policy denied DROPPED (TCP Flags: SYN)",
    );
  });

  it("the world, IPv6, no ports", () => {
    const flow: Partial<Flow> = {
      IP: { source: "fd00::1", destination: "2001:db8::1", ipVersion: "IPv6" },
      source: { identity: 1 },
      destination: { identity: 2 },
      l4: { ICMPv6: { type: 128 } },
      Summary: "ICMPv6 EchoRequest",
    };
    expect(line(flow)).toContain(
      "fd00::1 (host) -> 2001:db8::1 (world) to-endpoint FORWARDED (ICMPv6 EchoRequest)",
    );
    expect(line({ ...flow, l4: { UDP: { source_port: 1, destination_port: 53 } } })).toContain(
      "[fd00::1]:1 (host)",
    );
  });

  it("names: Service or DNS when there is no pod; addresses when asked", () => {
    const flow: Partial<Flow> = { destination: { identity: 2 }, destination_names: ["example.com"] };
    expect(line(flow)).toContain("-> example.com:80 (world)");
    expect(line({ ...flow, destination_service: { namespace: "a", name: "b" } })).toContain("-> a/b:80");
    expect(line(flow, { numeric: true })).toContain("10.0.0.10:40000 (ID:1000) -> 10.0.0.20:80");
  });

  it("node names, losses, blocks", () => {
    expect(line({}, { nodeName: true })).toContain(`${shown} [node1]: default/client`);
    const lost: GetFlowsResponse = {
      lost_events: { source: "HUBBLE_RING_BUFFER", num_events_lost: "7" },
      time,
    };
    expect(formatCompact(lost)).toBe(`${shown}: EVENTS LOST: HUBBLE_RING_BUFFER 7`);
    expect(formatDict({ flow: base, time })).toBe(
      [
        `  TIMESTAMP: ${shown}`,
        "     SOURCE: default/client:40000 (ID:1000)",
        "DESTINATION: default/web:80 (ID:2000)",
        "       TYPE: to-endpoint",
        "    VERDICT: FORWARDED",
        "    SUMMARY: TCP Flags: SYN",
      ].join("\n"),
    );
  });
});
