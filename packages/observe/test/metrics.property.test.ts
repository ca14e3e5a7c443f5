/** The counters on random records against an evaluator that counts finished flows and is simple enough to be read. */
import {
  emptyResolver,
  type Flow,
  type FlowEndpoint,
  type FlowResolver,
  icmpText,
  toFlows,
} from "@axoneme/flow";
import fc from "fast-check";
import { Registry } from "prom-client";
import { expect, it } from "vitest";
import { FlowMetrics, parseMetricSpecs } from "../src/index.ts";
import { batchOf, type TestRecord } from "./records.ts";

const addresses = [
  [10, 0, 0, 1],
  [10, 0, 0, 2],
  [10, 0, 1, 1],
  [192, 0, 2, 1],
] as const;

const record: fc.Arbitrary<TestRecord> = fc.record({
  type: fc.constantFrom(1, 4, 5, 7, 255),
  subtype: fc.constantFrom(0, 1, 2, 3, 4, 132, 133, 181),
  reason: fc.constantFrom(0, 1, 2, 5, 0x82),
  flags: fc.integer({ min: 0, max: 255 }),
  proto: fc.constantFrom(1, 6, 17, 58, 132, 47),
  tcpFlags: fc.integer({ min: 0, max: 255 }),
  icmpType: fc.constantFrom(0, 8, 128),
  dport: fc.constantFrom(0, 53, 80),
  saddr: fc.constantFrom(...addresses),
  daddr: fc.constantFrom(...addresses),
  srcIdentity: fc.constantFrom(0, 1, 2, 7, 1000, 2000, 0x0100_0001),
  dstIdentity: fc.constantFrom(0, 2, 1000, 2000, 0x0100_0001),
  srcEp: fc.constantFrom(0, 10),
  dstEp: fc.constantFrom(0, 10, 20),
  ruleEgress: fc.constantFrom(0, 1, 2),
  ruleIngress: fc.constantFrom(0, 1, 2),
});

const resolver: FlowResolver = {
  ...emptyResolver("node1"),
  endpointById: (id) =>
    id === 10 ? { namespace: "default", podName: "client", workloads: [{ name: "client" }] } : undefined,
  identityById: (id) =>
    ({
      2: { labels: ["reserved:world"] },
      [0x0100_0001]: { labels: ["cidr:192.0.2.0/24", "reserved:world"] },
      7: { labels: ["reserved:kube-apiserver", "reserved:remote-node"] },
    })[id] ?? (id === 1000 ? { labels: ["k8s:app=web"], namespace: "shop" } : undefined),
  byIp: (ip, identity) =>
    ip[15] === 2 && identity < 0x0100_0000 && identity !== 2
      ? { identity: 1000, namespace: "shop", podName: "web-1" }
      : undefined,
  ruleById: (id) =>
    id === 0
      ? undefined
      : { policies: [{ name: "p" }], defaultDeny: id === 2, l3: false, l4: "port" as const },
};

const protocolOf = (flow: Flow, proto: number): string => Object.keys(flow.l4 ?? {})[0] ?? `${proto}`;
const firstOf = (...texts: (string | undefined)[]): string =>
  texts.find((text) => text !== undefined && text !== "") ?? "";
const pod = (side?: FlowEndpoint): string => (side?.pod_name ? `${side.namespace}/${side.pod_name}` : "");
const reserved = (side?: FlowEndpoint): string =>
  (side?.labels ?? []).find((label) => label === "reserved:kube-apiserver") ??
  (side?.labels ?? []).find((label) => label.startsWith("reserved:")) ??
  "";

/** What each metric says of a flow: its label values without the context's, or nothing. */
const evaluators: Record<string, (flow: Flow, proto: number) => readonly string[] | undefined> = {
  hubble_flows_processed_total: (flow, proto) => {
    const type = { 1: "Drop", 4: "Trace", 5: "PolicyVerdict" }[flow.event_type?.type ?? 0] ?? "Unknown";
    const { type: number, sub_type: subtype = 0 } = flow.event_type ?? {};
    const points = ["to-endpoint", "to-proxy", "to-host", "to-stack", "to-overlay"];
    const reasons: Record<number, string> = {
      0: "Success",
      132: "Invalid source ip",
      133: "Policy denied",
      181: "Policy denied by denylist",
    };
    const texts: Record<string, string> = {
      Drop: reasons[subtype] ?? `${subtype}`,
      Trace: points[subtype] ?? `${subtype}`,
      PolicyVerdict: "",
      Unknown: `${number}`,
    };
    return [protocolOf(flow, proto), type, texts[type] ?? "", flow.verdict ?? ""];
  },
  hubble_drop_total: (flow, proto) =>
    flow.verdict === "DROPPED"
      ? [flow.drop_reason_desc ?? "DROP_REASON_UNKNOWN", protocolOf(flow, proto)]
      : undefined,
  hubble_tcp_flags_total: (flow) => {
    const flags = flow.l4?.TCP?.flags;
    if (flow.verdict !== "FORWARDED" || flags === undefined) return undefined;
    const version = flow.IP?.ipVersion ?? "";
    if (flags.RST) return ["RST", version];
    if (flags.FIN) return ["FIN", version];
    if (flags.SYN) return [flags.ACK ? "SYN-ACK" : "SYN", version];
    return undefined;
  },
  hubble_icmp_total: ({ l4 }) => {
    if (l4?.ICMPv4) return ["IPv4", icmpText(false, l4.ICMPv4.type ?? 0, l4.ICMPv4.code ?? 0)];
    return l4?.ICMPv6 && ["IPv6", icmpText(true, l4.ICMPv6.type ?? 0, l4.ICMPv6.code ?? 0)];
  },
  hubble_port_distribution_total: (flow, proto) => {
    if (flow.verdict !== "FORWARDED" || flow.is_reply !== false) return undefined;
    const ports = flow.l4?.TCP ?? flow.l4?.UDP ?? flow.l4?.SCTP;
    return [protocolOf(flow, proto), `${ports?.destination_port ?? 0}`];
  },
  hubble_flows_to_world_total: (flow, proto) => {
    if (!flow.destination?.labels?.includes("reserved:world") || flow.l4 === undefined) return undefined;
    if (flow.verdict === "DROPPED" ? flow.drop_reason_desc !== "POLICY_DENIED" : flow.is_reply !== false)
      return undefined;
    const flags = flow.l4.TCP?.flags;
    if (flow.l4.TCP !== undefined && (!flags?.SYN || flags.ACK)) return undefined;
    const ports = flow.l4.TCP ?? flow.l4.UDP ?? flow.l4.SCTP;
    return [protocolOf(flow, proto), flow.verdict ?? "", `${ports?.destination_port ?? 0}`];
  },
  hubble_policy_verdicts_total: (flow) => {
    if (flow.l7 !== undefined) {
      const match = `l7/${flow.l7.dns === undefined ? "http" : "dns"}`;
      return [(flow.traffic_direction ?? "").toLowerCase(), match, (flow.verdict ?? "").toLowerCase()];
    }
    if (flow.event_type?.type !== 5 || flow.source?.identity === 1) return undefined;
    const match = ["none", "l3-only", "l3-l4", "l4-only", "all"][flow.policy_match_type ?? 0] ?? "";
    return [(flow.traffic_direction ?? "").toLowerCase(), match, (flow.verdict ?? "").toLowerCase()];
  },
};

/** sourceContext=pod|reserved-identity; destinationContext=namespace, of egress flows ip; labels of the source and the direction. */
const context =
  "sourceContext=pod|reserved-identity;destinationContext=namespace;destinationEgressContext=ip;" +
  "labelsContext=source_workload,destination_app,traffic_direction";
const contextOf = (flow: Flow): string[] => {
  const app = (flow.destination?.labels ?? []).find((label) => label.startsWith("k8s:app="));
  return [
    flow.source?.workloads?.[0]?.name ?? "",
    firstOf(pod(flow.source), reserved(flow.source)),
    app?.slice(8) ?? "",
    (flow.traffic_direction === "EGRESS" ? flow.IP?.destination : flow.destination?.namespace) ?? "",
    (flow.traffic_direction ?? "unknown").toLowerCase(),
  ];
};

async function counted(records: readonly TestRecord[], options: string): Promise<Map<string, number>> {
  const registry = new Registry();
  const names = ["flow", "drop", "tcp", "icmp", "port-distribution", "policy"];
  const toWorld = `flows-to-world:port;syn-only${options.replace(":", ";")}`;
  const { specs } = parseMetricSpecs([...names.map((name) => `${name}${options}`), toWorld]);
  const metrics = new FlowMetrics({ registry, resolver, specs });
  metrics.count(batchOf(records), records.length);
  const found = new Map<string, number>();
  for (const { name, values } of await registry.getMetricsAsJSON()) {
    if (!(name in evaluators)) continue;
    for (const { labels, value } of values) found.set([name, ...Object.values(labels)].join(" | "), value);
  }
  return found;
}

function expected(records: readonly TestRecord[], contexts: (flow: Flow) => string[]): Map<string, number> {
  const found = new Map<string, number>();
  for (const one of records) {
    const bytes = batchOf([one]);
    const ref = { bytes, view: new DataView(bytes.buffer), offset: 0 };
    for (const flow of toFlows(ref, resolver, () => "")) {
      for (const [name, evaluate] of Object.entries(evaluators)) {
        const values = evaluate(flow, one.proto ?? 17);
        if (values === undefined) continue;
        const key = [name, ...values, ...contexts(flow)].join(" | ");
        found.set(key, (found.get(key) ?? 0) + 1);
      }
    }
  }
  return found;
}

const sorted = (series: Map<string, number>): [string, number][] => [...series].sort();

it.each([
  ["without contexts", "", (): string[] => []],
  ["with contexts", `:${context}`, contextOf],
] as const)("counts what a count of finished flows finds, %s", async (_, options, contexts) => {
  await fc.assert(
    fc.asyncProperty(fc.array(record, { minLength: 1, maxLength: 40 }), async (records) => {
      expect(sorted(await counted(records, options))).toEqual(sorted(expected(records, contexts)));
    }),
    { numRuns: 150 },
  );
});
