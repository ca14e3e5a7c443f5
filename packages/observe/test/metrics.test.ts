import { emptyResolver, encodeLayer7, type Layer7Event, recordSize } from "@axoneme/flow";
import { Registry } from "prom-client";
import { expect, it } from "vitest";
import { FlowMetrics, parseMetricSpecs } from "../src/index.ts";
import { batchOf, type TestRecord } from "./records.ts";

function setUp(seriesLimit?: number): {
  metrics: FlowMetrics;
  registry: Registry;
  add: (...r: TestRecord[]) => void;
} {
  const registry = new Registry();
  const resolver = {
    ...emptyResolver("node1"),
    ruleById: (id: number) => (id === 0 ? undefined : { policies: [], defaultDeny: true }),
  };
  const { specs } = parseMetricSpecs(["flow drop tcp icmp port-distribution policy"]);
  const metrics = new FlowMetrics({
    registry,
    resolver,
    specs,
    ...(seriesLimit === undefined ? {} : { seriesLimit }),
  });
  return { metrics, registry, add: (...records) => metrics.count(batchOf(records), records.length) };
}

async function series(registry: Registry, name: string): Promise<string[]> {
  const text = await registry.getSingleMetricAsString(name);
  return text
    .split("\n")
    .filter((line) => line.startsWith(name))
    .sort();
}

it("counts flows by protocol, type, sub-type and verdict", async () => {
  const { registry, add } = setUp();
  add(
    { type: 4 },
    { type: 4 },
    { type: 4, subtype: 3, proto: 6 },
    { type: 1, subtype: 132 },
    { type: 5, flags: 2 },
  );
  expect(await series(registry, "hubble_flows_processed_total")).toEqual([
    'hubble_flows_processed_total{protocol="TCP",type="Trace",subtype="to-stack",verdict="FORWARDED"} 1',
    'hubble_flows_processed_total{protocol="UDP",type="Drop",subtype="Invalid source ip",verdict="DROPPED"} 1',
    'hubble_flows_processed_total{protocol="UDP",type="PolicyVerdict",subtype="",verdict="FORWARDED"} 1',
    'hubble_flows_processed_total{protocol="UDP",type="Trace",subtype="to-endpoint",verdict="FORWARDED"} 3',
  ]);
  add({ type: 4 });
  const text = await registry.getSingleMetricAsString("hubble_flows_processed_total");
  expect(text).toContain('subtype="to-endpoint",verdict="FORWARDED"} 4');
});

it("counts what is decided about messages of layer 7, of the host's too", async () => {
  const { registry, metrics } = setUp();
  const side = (port: number) => ({ ip: new Uint8Array(16), port, endpoint: 0, identity: 1 });
  const message = (
    outcome: Layer7Event["outcome"],
    type: "REQUEST" | "RESPONSE",
    what: object = { dns: {} },
  ): Layer7Event => ({
    ...{ timeNs: 1n, source: side(4000), destination: side(53), proto: 17, direction: "EGRESS", outcome },
    detail: { type, ...what },
  });
  const events = [
    message("allowed", "REQUEST"),
    message("allowed", "RESPONSE"),
    message("denied", "REQUEST"),
    message("audit", "REQUEST"),
    message("denied", "REQUEST", { http: { code: 403 } }),
  ];
  const records = new Uint8Array(events.length * recordSize);
  const view = new DataView(records.buffer);
  for (const [i, event] of events.entries()) encodeLayer7(event, i, view, i * recordSize);
  metrics.count(records, events.length);
  const name = "hubble_policy_verdicts_total";
  expect(await series(registry, name)).toEqual([
    `${name}{direction="egress",match="l7/dns",action="audit"} 1`,
    `${name}{direction="egress",match="l7/dns",action="dropped"} 1`,
    `${name}{direction="egress",match="l7/dns",action="forwarded"} 2`,
    `${name}{direction="egress",match="l7/http",action="dropped"} 1`,
  ]);
});

it("counts drops, verdicts, TCP flags, ICMP and ports", async () => {
  const { registry, add } = setUp();
  add(
    { type: 1, subtype: 133, flags: 2 | 64, proto: 6, tcpFlags: 2, dport: 80 },
    { type: 4, reason: 0, proto: 6, tcpFlags: 0x12, dport: 80 },
    { type: 4, reason: 2, proto: 6, tcpFlags: 0x11, dport: 40000 },
    { type: 4, reason: 0, proto: 1 },
  );
  expect(await series(registry, "hubble_drop_total")).toEqual([
    'hubble_drop_total{reason="POLICY_DENIED",protocol="TCP"} 2',
  ]);
  expect(await series(registry, "hubble_policy_verdicts_total")).toEqual([
    'hubble_policy_verdicts_total{direction="ingress",match="none",action="dropped"} 1',
  ]);
  expect(await series(registry, "hubble_tcp_flags_total")).toEqual([
    'hubble_tcp_flags_total{flag="FIN",family="IPv4"} 1',
    'hubble_tcp_flags_total{flag="SYN-ACK",family="IPv4"} 1',
  ]);
  expect(await series(registry, "hubble_icmp_total")).toEqual([
    'hubble_icmp_total{family="IPv4",type="EchoReply"} 1',
  ]);
  expect(await series(registry, "hubble_port_distribution_total")).toEqual([
    'hubble_port_distribution_total{protocol="ICMPv4",port="0"} 1',
    'hubble_port_distribution_total{protocol="TCP",port="80"} 1',
  ]);
});

it("folds series beyond the limit, and counts what it folded", async () => {
  const { registry, add } = setUp(3);
  for (let port = 1; port <= 10; port++) add({ dport: port });
  expect(await series(registry, "hubble_port_distribution_total")).toEqual([
    'hubble_port_distribution_total{protocol="UDP",port="1"} 1',
    'hubble_port_distribution_total{protocol="UDP",port="2"} 1',
    'hubble_port_distribution_total{protocol="UDP",port="3"} 1',
    'hubble_port_distribution_total{protocol="other",port="other"} 7',
  ]);
  expect(await series(registry, "axoneme_metric_series_folded_total")).toEqual([
    'axoneme_metric_series_folded_total{metric="hubble_port_distribution_total"} 7',
  ]);
  add({ dport: 2 }, { dport: 11 });
  const text = await registry.getSingleMetricAsString("hubble_port_distribution_total");
  expect(text).toContain('port="2"} 2');
  expect(text).toContain('port="other"} 8');
});

it("counts losses by where they happened, and says so from the start", async () => {
  const { registry, metrics } = setUp();
  const none = ["hubble_ring_buffer", "observer_events_queue", "perf_event_ring_buffer"];
  expect(await series(registry, "hubble_lost_events_total")).toEqual(
    none.map((source) => `hubble_lost_events_total{source="${source}"} 0`),
  );
  metrics.countLoss("perf_event_ring_buffer", 5);
  metrics.countLoss("perf_event_ring_buffer", 2);
  expect(await series(registry, "hubble_lost_events_total")).toEqual([
    'hubble_lost_events_total{source="hubble_ring_buffer"} 0',
    'hubble_lost_events_total{source="observer_events_queue"} 0',
    'hubble_lost_events_total{source="perf_event_ring_buffer"} 7',
  ]);
});
