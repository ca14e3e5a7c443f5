/** Filters on random flows against an evaluator that is simple enough to be read, and the raw pre-filter against both. */
import { parseIp } from "@axoneme/base";
import fc from "fast-check";
import ipaddr from "ipaddr.js";
import { expect, it } from "vitest";
import { compileFilter, emptyResolver, type Flow, type FlowFilter, toFlows } from "../src/index.ts";
import { recordRef, type TestRecord } from "./record.ts";

const addresses = ["10.0.0.1", "10.0.0.2", "10.1.0.1", "192.0.2.1", "fd00::1", "fd00:1::2"];
const identities = [0, 1, 2, 1000, 2000];

const record: fc.Arbitrary<TestRecord> = fc.record({
  type: fc.constantFrom(1, 4, 5, 7, 255),
  subtype: fc.constantFrom(0, 1, 2, 3, 4, 132, 133, 181, 250),
  reason: fc.constantFrom(0, 1, 2, 5),
  flags: fc.integer({ min: 0, max: 255 }),
  proto: fc.constantFrom(1, 6, 17, 58, 132, 47),
  tcpFlags: fc.integer({ min: 0, max: 255 }),
  icmpType: fc.constantFrom(0, 8, 128),
  sport: fc.constantFrom(0, 53, 80, 40000),
  dport: fc.constantFrom(0, 53, 80, 40000),
  saddr: fc.constantFrom(...addresses),
  daddr: fc.constantFrom(...addresses),
  srcIdentity: fc.constantFrom(...identities),
  dstIdentity: fc.constantFrom(...identities),
  srcEp: fc.constantFrom(0, 10),
  dstEp: fc.constantFrom(0, 20),
  ifindex: fc.constantFrom(0, 7, 8),
  ruleEgress: fc.constantFrom(0, 1, 2),
  ruleIngress: fc.constantFrom(0, 1, 2),
});

const resolver = {
  ...emptyResolver("blue/node1"),
  endpointById: (id: number) =>
    id === 10
      ? { namespace: "default", podName: "client", identity: 1000 }
      : { namespace: "shop", podName: "web" },
  identityById: (id: number) => (id === 1000 ? { labels: ["k8s:app=client"] } : undefined),
  byIp: (ip: Uint8Array) => (ip.join() === parseIp("10.1.0.1").join() ? { identity: 2000 } : undefined),
  ruleById: (id: number) =>
    id === 0
      ? undefined
      : { policies: [{ name: "p" }], defaultDeny: id === 2, l3: true, l4: "port" as const },
};

const some = <T>(...values: T[]): fc.Arbitrary<T[]> =>
  fc.uniqueArray(fc.constantFrom(...values), { minLength: 1, maxLength: 2 });

const filter: fc.Arbitrary<FlowFilter> = fc.record(
  {
    verdict: some("FORWARDED", "DROPPED", "AUDIT", "TRACED", "TRANSLATED"),
    event_type: some(
      { type: 1 },
      { type: 4 },
      { type: 5 },
      { type: 7 },
      { type: 4, match_sub_type: true, sub_type: 3 },
    ),
    drop_reason_desc: some("POLICY_DENIED", "POLICY_DENY", "INVALID_SOURCE_IP", "DROP_REASON_UNKNOWN"),
    protocol: some("tcp", "udp", "icmp", "ICMPv6", "dns"),
    ip_version: some("IPv4", "IPv6"),
    tcp_flags: some({ SYN: true }, { SYN: true, ACK: true }, { RST: true }),
    source_ip: some("10.0.0.1", "10.0.0.0/24", "fd00::/32", "0.0.0.0/0"),
    destination_ip: some("10.1.0.1", "10.0.0.0/8", "fd00:1::/64"),
    source_port: some("53", "80", "0"),
    destination_port: some("53", "80"),
    source_identity: some(...identities),
    destination_identity: some(...identities),
    source_pod: some("client", "shop/", "/web"),
    traffic_direction: some("INGRESS", "EGRESS", "TRAFFIC_DIRECTION_UNKNOWN"),
    reply: some(true, false),
    interface: some({ index: 7 }, { index: 8 }),
  },
  { requiredKeys: [] },
) as fc.Arbitrary<FlowFilter>;

/** One look at each field, no cleverness. */
const evaluators: { [K in keyof FlowFilter]?: (value: never, flow: Flow) => boolean } = {
  verdict: (value: string, flow: Flow) => flow.verdict === value,
  event_type: (value: { type: number; match_sub_type?: boolean; sub_type?: number }, flow: Flow) =>
    flow.event_type?.type === value.type &&
    (value.match_sub_type !== true || (flow.event_type.sub_type ?? 0) === (value.sub_type ?? 0)),
  drop_reason_desc: (value: string, flow: Flow) => (flow.drop_reason_desc ?? "DROP_REASON_UNKNOWN") === value,
  protocol: (value: string, flow: Flow) =>
    Object.keys(flow.l4 ?? {}).some(
      (key) =>
        key.toLowerCase().replace(/v[46]$/, "") === value.toLowerCase() ||
        key.toLowerCase() === value.toLowerCase(),
    ),
  ip_version: (value: string, flow: Flow) => flow.IP?.ipVersion === value,
  tcp_flags: (value: Record<string, boolean>, flow: Flow) => {
    const flags: Record<string, boolean> = { ...flow.l4?.TCP?.flags };
    return Object.keys(value).every((name) => flags[name] === true);
  },
  source_ip: (value: string, flow: Flow) => contains(value, flow.IP?.source ?? ""),
  destination_ip: (value: string, flow: Flow) => contains(value, flow.IP?.destination ?? ""),
  source_port: (value: string, flow: Flow) => portsOf(flow)?.source === Number(value),
  destination_port: (value: string, flow: Flow) => portsOf(flow)?.destination === Number(value),
  source_identity: (value: number, flow: Flow) => (flow.source?.identity ?? 0) === value,
  destination_identity: (value: number, flow: Flow) => (flow.destination?.identity ?? 0) === value,
  source_pod: (value: string, flow: Flow) => {
    const name = `${flow.source?.namespace ?? ""}/${flow.source?.pod_name ?? ""}`;
    if (name === "/") return false;
    if (value === "client") return name.startsWith("default/client");
    return value === "shop/" ? name.startsWith("shop/") : name.includes("/web");
  },
  traffic_direction: (value: string, flow: Flow) =>
    (flow.traffic_direction ?? "TRAFFIC_DIRECTION_UNKNOWN") === value,
  reply: (value: boolean, flow: Flow) =>
    (flow.is_reply ?? (flow.verdict === "DROPPED" ? false : undefined)) === value,
  interface: (value: { index: number }, flow: Flow) => flow.interface?.index === value.index,
};

function portsOf(flow: Flow): { source: number; destination: number } | undefined {
  const ports = flow.l4?.TCP ?? flow.l4?.UDP ?? flow.l4?.SCTP;
  return ports && { source: ports.source_port ?? 0, destination: ports.destination_port ?? 0 };
}

function contains(cidr: string, text: string): boolean {
  const ip = ipaddr.parse(text);
  const [base, length] = cidr.includes("/") ? ipaddr.parseCIDR(cidr) : [ipaddr.parse(cidr), undefined];
  if (base.kind() !== ip.kind()) return false;
  if (length === undefined) return base.toString() === ip.toString();
  return (ip as ipaddr.IPv6).match(base as ipaddr.IPv6, length);
}

function simply(white: FlowFilter[], black: FlowFilter[], flow: Flow): boolean {
  const one = (of: FlowFilter): boolean =>
    Object.entries(of).every(([field, values]) => {
      const evaluate = evaluators[field as keyof FlowFilter] as (value: unknown, flow: Flow) => boolean;
      return (values as unknown[]).some((value) => evaluate(value, flow));
    });
  return (white.length === 0 || white.some(one)) && !black.some(one);
}

const filters = fc.array(filter, { maxLength: 2 });

it("the compiled filter decides as the simple one", () => {
  fc.assert(
    fc.property(record, filters, filters, (of, white, black) => {
      const matcher = compileFilter(white, black);
      for (const flow of toFlows(recordRef(of), resolver, String)) {
        expect(matcher.matches(flow)).toBe(simply(white, black, flow));
      }
    }),
    { numRuns: 3000 },
  );
});

it("the raw pre-filter never turns away a record of which a flow matches", () => {
  fc.assert(
    fc.property(record, filters, filters, (of, white, black) => {
      const matcher = compileFilter(white, black);
      const wanted = toFlows(recordRef(of), resolver, String).some((flow) => matcher.matches(flow));
      if (wanted) expect(matcher.mayMatch(recordRef(of))).toBe(true);
    }),
    { numRuns: 3000 },
  );
});

it("the raw pre-filter turns away what it can decide", () => {
  const trace = recordRef({ type: 4, proto: 17, dport: 53 });
  for (const no of [
    { verdict: ["DROPPED"] },
    { protocol: ["tcp"] },
    { destination_port: ["80"] },
  ] as FlowFilter[]) {
    expect(compileFilter([no]).mayMatch(trace)).toBe(false);
  }
});
