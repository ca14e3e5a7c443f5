/** hubble_* series with names of the two sides: golden values, life of pods, the budget, and what counting costs. */
import { parseIp } from "@axoneme/base";
import { emptyResolver, type Flow, type FlowResolver } from "@axoneme/flow";
import { Registry } from "prom-client";
import { describe, expect, it } from "vitest";
import { FlowMetrics, parseMetricSpecs } from "../src/index.ts";
import { batchOf, type TestRecord } from "./records.ts";

const labels: Record<number, readonly string[]> = {
  2: ["reserved:world"],
  7: ["reserved:kube-apiserver", "reserved:remote-node"],
  1000: ["k8s:app=client", "k8s:io.kubernetes.pod.namespace=default"],
  2000: ["k8s:app.kubernetes.io/name=shop", "k8s:app=web"],
};

/** Two pods: 10.0.0.1 (endpoint 10) on this node, 10.0.0.2 on another. */
function world(): { resolver: FlowResolver; podAt: Map<string, string> } {
  const podAt = new Map([["10.0.0.2", "web-1"]]);
  const resolver: FlowResolver = {
    ...emptyResolver("node1"),
    identityById: (id) => {
      const known = labels[id];
      return known && { labels: known };
    },
    endpointById: (id) =>
      id === 10
        ? { namespace: "default", podName: "client-1", workloads: [{ name: "client", kind: "Deployment" }] }
        : undefined,
    byIp: (ip) => {
      const podName = podAt.get([...ip.subarray(12)].join("."));
      return podName === undefined
        ? undefined
        : { namespace: "shop", podName, workloads: [{ name: "web", kind: "Deployment" }] };
    },
    namesOf: (ip, endpoint) =>
      endpoint === 10 && ip.join() === parseIp("10.0.0.2").join() ? ["web.example.com"] : undefined,
  };
  return { resolver, podAt };
}

function setUp(spec: string, seriesLimit?: number) {
  const registry = new Registry();
  const { resolver, podAt } = world();
  const clock = { now: 0 };
  const metrics = new FlowMetrics({
    registry,
    resolver,
    specs: parseMetricSpecs([spec]).specs,
    now: () => clock.now,
    ...(seriesLimit === undefined ? {} : { seriesLimit }),
  });
  const add = (...records: TestRecord[]): void => metrics.count(batchOf(records), records.length);
  const lines = async (name: string): Promise<string[]> =>
    (await registry.getSingleMetricAsString(name))
      .split("\n")
      .filter((line) => line.startsWith(name))
      .map((line) => line.slice(name.length))
      .sort();
  return { metrics, clock, podAt, add, lines };
}

const toWeb: TestRecord = {
  type: 4,
  proto: 6,
  tcpFlags: 2,
  srcEp: 10,
  srcIdentity: 1000,
  dstIdentity: 2000,
  subtype: 3,
};

describe("values of contexts", () => {
  it.each([
    [
      "identity",
      "k8s:app=client,k8s:io.kubernetes.pod.namespace=default",
      "k8s:app.kubernetes.io/name=shop,k8s:app=web",
    ],
    ["namespace", "default", "shop"],
    ["pod", "default/client-1", "shop/web-1"],
    ["pod-name", "client-1", "web-1"],
    ["dns", "", "web.example.com"],
    ["ip", "10.0.0.1", "10.0.0.2"],
    ["reserved-identity", "", ""],
    ["workload", "default/client", "shop/web"],
    ["workload-name", "client", "web"],
    ["app", "client", "shop"],
    ["reserved-identity|dns|app", "client", "web.example.com"],
  ])("%s", async (context, source, destination) => {
    const { add, lines } = setUp(`tcp:sourceContext=${context};destinationContext=${context}`);
    add(toWeb, toWeb);
    expect(await lines("hubble_tcp_flags_total")).toEqual([
      `{flag="SYN",family="IPv4",source="${source}",destination="${destination}"} 2`,
    ]);
  });

  it("reserved identities: the API server is more than a node", async () => {
    const { add, lines } = setUp("drop:sourceContext=reserved-identity;destinationContext=reserved-identity");
    add({ type: 1, subtype: 132, srcIdentity: 7, dstIdentity: 2 });
    expect(await lines("hubble_drop_total")).toEqual([
      '{reason="INVALID_SOURCE_IP",protocol="UDP",source="reserved:kube-apiserver",destination="reserved:world"} 1',
    ]);
  });

  it("labelsContext", async () => {
    const { add, lines } = setUp(
      "port-distribution:labelsContext=source_ip,source_pod,source_namespace,source_workload,source_workload_kind,source_app," +
        "destination_ip,destination_pod,destination_namespace,destination_workload,destination_workload_kind,destination_app,traffic_direction",
    );
    add({ ...toWeb, dport: 80 });
    expect(await lines("hubble_port_distribution_total")).toEqual([
      '{protocol="TCP",port="80",source_ip="10.0.0.1",source_pod="client-1",source_namespace="default",' +
        'source_workload="client",source_workload_kind="Deployment",source_app="client",destination_ip="10.0.0.2",' +
        'destination_pod="web-1",destination_namespace="shop",destination_workload="web",' +
        'destination_workload_kind="Deployment",destination_app="shop",traffic_direction="egress"} 1',
    ]);
  });

  it("contexts of a direction replace the general one", async () => {
    const { add, lines } = setUp("flow:destinationContext=namespace;destinationEgressContext=pod");
    add(toWeb, { ...toWeb, subtype: 0, srcEp: 0, dstEp: 10 });
    const series = await lines("hubble_flows_processed_total");
    expect(series.map((line) => line.replace(/.*subtype=("[^"]*").*(destination=.*)}.*/, "$1 $2"))).toEqual([
      '"to-endpoint" destination="default"',
      '"to-stack" destination="shop/web-1"',
    ]);
  });
});

describe("life of pods", () => {
  const spec = "tcp:destinationContext=pod;sourceContext=namespace";

  it("series of a deleted pod go after a minute, others stay", async () => {
    const { metrics, clock, podAt, add, lines } = setUp(spec);
    add(toWeb, { ...toWeb, dstIdentity: 2, tcpFlags: 1 });
    podAt.delete("10.0.0.2");
    metrics.podEnded("shop", "web-1");
    clock.now += 59_000;
    expect(await lines("hubble_tcp_flags_total")).toHaveLength(2);
    clock.now += 1_000;
    expect(await lines("hubble_tcp_flags_total")).toEqual([
      '{flag="FIN",family="IPv4",source="default",destination=""} 1',
    ]);
  });

  it("a pod that is back within the minute keeps its series", async () => {
    const { metrics, clock, add, lines } = setUp(spec);
    add(toWeb);
    metrics.podEnded("shop", "web-1");
    metrics.podBegan("shop", "web-1");
    clock.now += 120_000;
    expect(await lines("hubble_tcp_flags_total")).toHaveLength(1);
  });

  it("a flow told late brings the series of a gone pod back for a minute, not for ever", async () => {
    const { metrics, clock, add, lines } = setUp(spec);
    add(toWeb);
    metrics.podEnded("shop", "web-1");
    clock.now += 60_000;
    expect(await lines("hubble_tcp_flags_total")).toEqual([]);
    add(toWeb);
    expect(await lines("hubble_tcp_flags_total")).toHaveLength(1);
    clock.now += 60_000;
    expect(await lines("hubble_tcp_flags_total")).toEqual([]);
  });

  it("an address that another pod takes over names that pod a second later", async () => {
    const { clock, podAt, add, lines } = setUp(spec);
    add(toWeb);
    podAt.set("10.0.0.2", "web-2");
    clock.now += 1000;
    add(toWeb);
    expect(await lines("hubble_tcp_flags_total")).toEqual([
      '{flag="SYN",family="IPv4",source="default",destination="shop/web-1"} 1',
      '{flag="SYN",family="IPv4",source="default",destination="shop/web-2"} 1',
    ]);
  });

  it("room of gone pods is given again: pods may come and go for ever", async () => {
    const { metrics, clock, podAt, add, lines } = setUp(spec, 16);
    for (let i = 0; i < 200; i++) {
      podAt.set("10.0.0.2", `web-${i}`);
      clock.now += 10_000;
      add(toWeb);
      metrics.podEnded("shop", `web-${i}`);
    }
    const series = await lines("hubble_tcp_flags_total");
    expect(series.length).toBeLessThanOrEqual(8);
    expect(series.join()).not.toContain('"other"');
    expect(await lines("axoneme_metric_series_folded_total")).toEqual([]);
  });
});

it("more peers than series: the rest is other, and every flow is counted", async () => {
  const { podAt, add, lines } = setUp("tcp:destinationContext=pod", 20);
  for (let i = 0; i < 100; i++) podAt.set(`10.0.1.${i}`, `web-${i}`);
  for (let i = 0; i < 100; i++) add({ ...toWeb, daddr: [10, 0, 1, i] });
  const series = await lines("hubble_tcp_flags_total");
  expect(series).toHaveLength(21);
  expect(series).toContain('{flag="other",family="other",destination="other"} 80');
  expect(await lines("axoneme_metric_series_folded_total")).toEqual(['{metric="hubble_tcp_flags_total"} 80']);
});

it("names more peers than it remembers", async () => {
  const { podAt, add, lines } = setUp("tcp:destinationContext=pod", 40_000);
  const addresses = Array.from({ length: 20_000 }, (_, i) => [10, 1, i >> 8, i & 255] as const);
  for (const address of addresses) podAt.set(address.join("."), address.join("-"));
  for (let round = 0; round < 2; round++) add(...addresses.map((daddr) => ({ ...toWeb, daddr })));
  const series = await lines("hubble_tcp_flags_total");
  expect(series).toHaveLength(20_000);
  for (const line of series) expect(line).toMatch(/ 2$/);
}, 30_000);

it("allocates nothing for records of known peers", () => {
  const all =
    "sourceContext=pod|workload-name|reserved-identity;destinationContext=pod;labelsContext=source_ip,traffic_direction";
  const { metrics, podAt } = setUp(
    ["flow", "drop", "tcp", "icmp", "port-distribution"].map((name) => `${name}:${all}`).join(" "),
  );
  for (let i = 0; i < 64; i++) podAt.set(`10.0.1.${i}`, `web-${i}`);
  const size = 4096;
  const batch = batchOf(
    Array.from({ length: size }, (_, i) => ({ ...toWeb, dport: i % 7, daddr: [10, 0, 1, i % 64] as const })),
  );
  // Until the code is compiled it does allocate; how long that takes depends on the machine.
  let median = Number.POSITIVE_INFINITY;
  const grown: number[] = [];
  for (let i = 0; i < 600 && (i < 60 || median >= size * 8); i++) {
    const before = process.memoryUsage().heapUsed;
    metrics.count(batch, size);
    grown.push(process.memoryUsage().heapUsed - before);
    median = grown.slice(-11).sort((a, b) => a - b)[5] ?? median;
  }
  // A number boxed per record would be 16 bytes of it at least.
  expect(median).toBeLessThan(size * 8);
});

describe("dns", () => {
  const flow = (
    more: Partial<Flow>,
    type: "REQUEST" | "RESPONSE",
    dns: NonNullable<Flow["l7"]>["dns"],
  ): Flow => ({
    time: "2026-11-20T12:00:00Z",
    uuid: "",
    source: { namespace: "default" },
    l7: { type, ...(dns === undefined ? {} : { dns }) },
    ...more,
  });
  const question = { query: "a.example.com.", qtypes: ["A"] };
  const answer = { ...question, ips: ["192.0.2.1", "192.0.2.2"], rrtypes: ["A", "CNAME"] };

  it("counts questions, answers and their records", async () => {
    const { metrics, lines } = setUp("dns:query;sourceContext=namespace");
    metrics.countLayer7(flow({}, "REQUEST", question));
    metrics.countLayer7(flow({ verdict: "DROPPED" }, "REQUEST", question));
    metrics.countLayer7(flow({}, "RESPONSE", answer));
    metrics.countLayer7(flow({}, "RESPONSE", { ...question, rcode: 3 }));
    const rest = 'query="a.example.com.",source="default"}';
    expect(await lines("hubble_dns_queries_total")).toEqual([
      `{rcode="",qtypes="A",ips_returned="0",${rest} 1`,
      `{rcode="Policy denied",qtypes="A",ips_returned="0",${rest} 1`,
    ]);
    expect(await lines("hubble_dns_responses_total")).toEqual([
      `{rcode="No Error",qtypes="A",ips_returned="2",${rest} 1`,
      `{rcode="Non-Existent Domain",qtypes="A",ips_returned="0",${rest} 1`,
    ]);
    expect(await lines("hubble_dns_response_types_total")).toEqual([
      `{type="A",qtypes="A",${rest} 1`,
      `{type="CNAME",qtypes="A",${rest} 1`,
    ]);
  });

  it("leaves IPv6 questions out when asked to, and is bounded in names", async () => {
    const { metrics, lines } = setUp("dns:query;ignoreAAAA", 16);
    metrics.countLayer7(flow({}, "REQUEST", { ...question, qtypes: ["AAAA"] }));
    for (let i = 0; i < 50; i++)
      metrics.countLayer7(flow({}, "REQUEST", { ...question, query: `${i}.example.com.` }));
    const series = await lines("hubble_dns_queries_total");
    expect(series).toHaveLength(17);
    expect(series).toContain('{rcode="other",qtypes="other",ips_returned="other",query="other"} 34');
  });
});
