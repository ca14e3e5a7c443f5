/** What pods ask and are answered, as flows and in metrics. */
import { hostPrefix, parseIp } from "@axoneme/base";
import type { AnswerMessage, QueryMessage } from "@axoneme/dns";
import { emptyResolver, type Flow, type FlowFilter, formatCompact, RawStore } from "@axoneme/flow";
import { Ipcache } from "@axoneme/identity";
import { FlowMetrics, Observer, parseMetricSpecs } from "@axoneme/observe";
import { Registry } from "prom-client";
import { describe, expect, it } from "vitest";
import { type DnsEvent, dnsFlows } from "../src/dns/flows.ts";

const exchange = {
  client: "10.0.0.1",
  clientPort: 40_000,
  server: "10.0.0.53",
  serverPort: 53,
  proto: "udp",
  name: "api.example.com.",
  type: "A",
} as const;
const query = (verdict: QueryMessage["verdict"]): DnsEvent => ({
  kind: "query",
  message: { t: "query", ...exchange, time: Date.now(), rules: 1, verdict },
});
const answer = (more: Partial<AnswerMessage> = {}): DnsEvent => ({
  kind: "answer",
  message: {
    t: "answer",
    ...exchange,
    seq: 1,
    time: Date.now(),
    rcode: 0,
    cnames: ["edge.example.net."],
    addresses: [
      { ip: "192.0.2.1", ttl: 30 },
      { ip: "192.0.2.2", ttl: 20 },
    ],
    latencyUs: 1500,
    ...more,
  },
});

function setUp() {
  const resolver = { ...emptyResolver("node1"), namesOf: () => ["api.example.com"] };
  const observer = new Observer({ store: new RawStore({ capacity: 1024 }), resolver, version: "1" });
  const registry = new Registry();
  const { specs } = parseMetricSpecs(["dns:query", "flow", "drop"]);
  const metrics = new FlowMetrics({ registry, resolver, specs });
  const ipcache = new Ipcache();
  ipcache.upsert(hostPrefix(parseIp("10.0.0.53")), "custom-resource", "dns", { identity: 1234 });
  const endpointAt = (ip: Uint8Array) => (ip.at(-1) === 1 ? { id: 7, identity: 300 } : undefined);
  return { observer, registry, tell: dnsFlows({ observer, metrics, ipcache, endpointAt }) };
}

async function flows(observer: Observer, whitelist: FlowFilter[] = []): Promise<Flow[]> {
  const found: Flow[] = [];
  for await (const { flow } of observer.getFlows({ whitelist })) if (flow) found.push(flow);
  return found;
}

describe("DNS in flows", () => {
  it("a question goes to the server, an answer to the pod, with what was said", async () => {
    const { observer, tell } = setUp();
    tell([query("forwarded"), answer()]);
    const [asked, answered] = await flows(observer);
    expect(asked).toMatchObject({
      Type: "L7",
      verdict: "FORWARDED",
      traffic_direction: "EGRESS",
      is_reply: false,
      event_type: { type: 129 },
      source: { ID: 7, identity: 300 },
      destination: { identity: 1234 },
      l4: { UDP: { source_port: 40_000, destination_port: 53 } },
      l7: { type: "REQUEST", dns: { query: "api.example.com.", qtypes: ["A"], observation_source: "proxy" } },
      Summary: "DNS Query api.example.com. A",
    });
    expect(answered).toMatchObject({
      is_reply: true,
      source: { identity: 1234 },
      destination: { ID: 7, identity: 300 },
      l7: {
        type: "RESPONSE",
        latency_ns: "1500000",
        dns: {
          ips: ["192.0.2.1", "192.0.2.2"],
          ttl: 20,
          cnames: ["edge.example.net."],
          rrtypes: ["CNAME", "A", "A"],
        },
      },
    });
    expect(answered && formatCompact({ flow: answered })).toContain(
      "dns-response proxy FORWARDED (DNS Answer",
    );
  });

  it("can be filtered by protocol, question, verdict, type and name, also before they become objects", async () => {
    const { observer, tell } = setUp();
    tell([query("forwarded"), query("refused"), query("audit"), answer()]);
    const counts = async (filter: FlowFilter) => (await flows(observer, [filter])).length;
    expect(await counts({ protocol: ["dns"] })).toBe(4);
    expect(await counts({ protocol: ["http"] })).toBe(0);
    expect(await counts({ protocol: ["udp"] })).toBe(4);
    expect(await counts({ dns_query: ["^api[.]"] })).toBe(4);
    expect(await counts({ dns_query: ["^www"] })).toBe(0);
    expect(await counts({ verdict: ["DROPPED"] })).toBe(1);
    expect(await counts({ verdict: ["AUDIT"] })).toBe(1);
    expect(await counts({ event_type: [{ type: 129 }] })).toBe(4);
    expect(await counts({ event_type: [{ type: 4 }] })).toBe(0);
    expect(await counts({ destination_fqdn: ["*.example.com"], protocol: ["dns"] })).toBe(3);
    expect(await counts({ drop_reason_desc: ["POLICY_DENIED"] })).toBe(1);
  });

  it("are counted", async () => {
    const { registry, tell } = setUp();
    tell([query("forwarded"), query("refused"), answer(), answer({ rcode: 3, addresses: [], cnames: [] })]);
    const text = await registry.metrics();
    expect(text).toContain(
      'hubble_dns_queries_total{rcode="",qtypes="A",ips_returned="0",query="api.example.com."} 1',
    );
    expect(text).toContain(
      'hubble_dns_queries_total{rcode="Policy denied",qtypes="A",ips_returned="0",query="api.example.com."} 1',
    );
    expect(text).toContain(
      'hubble_dns_responses_total{rcode="Non-Existent Domain",qtypes="A",ips_returned="0",query="api.example.com."} 1',
    );
    expect(text).toContain('hubble_dns_response_types_total{type="A",qtypes="A",query="api.example.com."} 2');
    expect(text).toContain(
      'hubble_flows_processed_total{protocol="DNS",type="L7",subtype="DNS",verdict="FORWARDED"} 3',
    );
    expect(text).toContain('hubble_drop_total{reason="POLICY_DENIED",protocol="UDP"} 1');
  });

  it("of long ago are gone with what they said, not shown without", async () => {
    const { observer, tell } = setUp();
    for (let i = 0; i < 9000; i += 500) tell(Array.from({ length: 500 }, () => query("forwarded")));
    expect((await flows(observer)).every(({ l7 }) => l7?.dns !== undefined)).toBe(true);
  });

  it("that were kept for a while are told of now", async () => {
    const { observer, tell } = setUp();
    const before = Date.now();
    tell([answer({ time: before - 60_000, replayed: true })]);
    const [flow] = await flows(observer);
    expect(Date.parse(flow?.time ?? "")).toBeGreaterThanOrEqual(before - 1);
  });
});
