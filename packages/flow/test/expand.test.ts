import { parseIp } from "@axoneme/base";
import { describe, expect, it } from "vitest";
import { emptyResolver, type FlowProcess, type FlowResolver, toFlows } from "../src/index.ts";
import { recordRef, type TestRecord } from "./record.ts";

const at = 1_795_262_400_123_456_789n; // 2026-11-21T12:00:00.123456789Z
const policy = { name: "web", namespace: "default", kind: "NetworkPolicy" };

const processes: Readonly<Record<number, FlowProcess>> = {
  7: { binary: "/usr/bin/curl", pid: 4711, container: "c1", start_time: "2026-11-21T11:59:00Z" },
  8: { binary: "/usr/sbin/nginx", pid: 815, arguments: "-g daemon off;", uid: 101 },
};

/** client (endpoint 10, identity 1000) and web (endpoint 20, identity 2000), both local; a Service in front of web. */
const resolver: FlowResolver = {
  ...emptyResolver("node1"),
  endpointById: (id) =>
    id === 10
      ? { namespace: "default", podName: "client", clusterName: "default" }
      : id === 20
        ? { namespace: "default", podName: "web-0", workloads: [{ name: "web", kind: "Deployment" }] }
        : undefined,
  identityById: (id) =>
    id === 1000
      ? { labels: ["k8s:app=client"] }
      : id === 2000
        ? { labels: ["k8s:app=web"] }
        : id === 2
          ? { labels: ["reserved:world"] }
          : id === 0x0100_0001
            ? { labels: ["cidr:0.0.0.0/0", "cidr:192.0.2.0/24", "cidr:192.0.0.0/8", "reserved:world"] }
            : undefined,
  byIp: (ip) =>
    ip.join() === parseIp("10.0.1.9").join()
      ? { identity: 3000, namespace: "other", podName: "remote", endpointId: 0 }
      : undefined,
  serviceByAddr: (ip, port) =>
    ip.join() === parseIp("10.96.0.1").join() && port === 80
      ? { name: "web", namespace: "default" }
      : undefined,
  ruleById: (id) =>
    id === 1
      ? { policies: [policy], l3: true, l4: "port" }
      : id === 2
        ? { policies: [{ ...policy, name: "deny-all" }], defaultDeny: true }
        : id === 3
          ? { policies: [{ ...policy, name: "no-telnet" }], l3: false, l4: "port" }
          : undefined,
  interfaceName: (ifindex) => (ifindex === 7 ? "lxc0a" : undefined),
  processById: (id, timeNs) => (timeNs === at ? processes[id] : undefined),
};

const syn: TestRecord = {
  timeNs: at,
  proto: 6,
  tcpFlags: 2,
  sport: 40000,
  dport: 8080,
  saddr: "10.0.0.10",
  daddr: "10.0.0.20",
  srcEp: 10,
  dstEp: 20,
  srcIdentity: 1000,
  dstIdentity: 2000,
  ifindex: 7,
  len: 74,
  smac: [2, 0, 0, 0, 0, 1],
  dmac: [2, 0, 0, 0, 0, 2],
};

const expand = (record: TestRecord) => toFlows(recordRef(record), resolver, (part) => `uuid-${part}`);

const common = {
  time: "2026-11-21T12:00:00.123456789Z",
  ethernet: { source: "02:00:00:00:00:01", destination: "02:00:00:00:00:02" },
  IP: { source: "10.0.0.10", destination: "10.0.0.20", ipVersion: "IPv4" },
  l4: { TCP: { source_port: 40000, destination_port: 8080, flags: { SYN: true } } },
  source: {
    ID: 10,
    identity: 1000,
    labels: ["k8s:app=client"],
    namespace: "default",
    pod_name: "client",
    cluster_name: "default",
  },
  destination: {
    ID: 20,
    identity: 2000,
    labels: ["k8s:app=web"],
    namespace: "default",
    pod_name: "web-0",
    workloads: [{ name: "web", kind: "Deployment" }],
  },
  Type: "L3_L4",
  node_name: "node1",
  interface: { index: 7, name: "lxc0a" },
  Summary: "TCP Flags: SYN",
};

describe("records become flows", () => {
  it("a trace: observation point, reason, direction of the connection", () => {
    expect(expand({ ...syn, type: 4, subtype: 0, reason: 0 })).toEqual([
      {
        ...common,
        uuid: "uuid-0",
        verdict: "FORWARDED",
        event_type: { type: 4 },
        traffic_direction: "INGRESS",
        trace_observation_point: "TO_ENDPOINT",
        trace_reason: "NEW",
        is_reply: false,
      },
    ]);
  });

  it("processes of both sides, of each where it is known, and of no other time", () => {
    const record = { ...syn, type: 4, subtype: 0, reason: 1 };
    const sides = (more: Partial<TestRecord>) =>
      expand({ ...record, ...more }).map(({ source, destination }) => [
        source?.process,
        destination?.process,
      ]);
    expect(sides({ srcProcess: 7, dstProcess: 8 })).toEqual([[processes[7], processes[8]]]);
    expect(sides({ srcProcess: 7 })).toEqual([[processes[7], undefined]]);
    expect(sides({ dstProcess: 9 })).toEqual([[undefined, undefined]]);
    expect(sides({ srcProcess: 7, timeNs: 1n })).toEqual([[undefined, undefined]]);
    const policied = { ...syn, type: 5, subtype: 0, flags: 3, ruleEgress: 1, ruleIngress: 1, srcProcess: 7 };
    expect(expand(policied).map((flow) => flow.source?.process?.binary)).toEqual(
      Array(3).fill("/usr/bin/curl"),
    );
  });

  it("a reply seen at its destination belongs to an egress connection", () => {
    const [flow] = expand({ ...syn, type: 4, subtype: 0, reason: 2, tcpFlags: 0x12 });
    expect(flow).toMatchObject({
      is_reply: true,
      reply: true,
      trace_reason: "REPLY",
      traffic_direction: "EGRESS",
    });
    expect(flow?.Summary).toBe("TCP Flags: SYN, ACK");
  });

  it("a trace without a connection-tracking answer leaves reply and direction out", () => {
    const [flow] = expand({ ...syn, type: 4, subtype: 3, reason: 5 });
    expect(flow).not.toHaveProperty("is_reply");
    expect(flow).not.toHaveProperty("traffic_direction");
    expect(flow).not.toHaveProperty("trace_reason");
    expect(flow).toMatchObject({ trace_observation_point: "TO_STACK", event_type: { type: 4, sub_type: 3 } });
  });

  it("an allowed new connection inside the node: egress verdict, ingress verdict, trace", () => {
    const flows = expand({ ...syn, type: 5, flags: 1 | 2, ruleEgress: 0, ruleIngress: 1 });
    expect(flows).toEqual([
      {
        ...common,
        uuid: "uuid-0",
        verdict: "FORWARDED",
        event_type: { type: 5 },
        traffic_direction: "EGRESS",
        is_reply: false,
        policy_match_type: 4,
      },
      {
        ...common,
        uuid: "uuid-1",
        verdict: "FORWARDED",
        event_type: { type: 5 },
        traffic_direction: "INGRESS",
        is_reply: false,
        policy_match_type: 2,
        ingress_allowed_by: [policy],
      },
      {
        ...common,
        uuid: "uuid-2",
        verdict: "FORWARDED",
        event_type: { type: 4 },
        traffic_direction: "INGRESS",
        trace_observation_point: "TO_ENDPOINT",
        trace_reason: "NEW",
        is_reply: false,
      },
    ]);
  });

  it("a drop by default deny: the decisions, and the drop, with the policy that switched enforcement on", () => {
    const flows = expand({ ...syn, type: 1, subtype: 133, reason: 5, flags: 1 | 2 | 64, ruleIngress: 2 });
    const deniedBy = [{ ...policy, name: "deny-all" }];
    expect(flows.map((flow) => [flow.event_type, flow.verdict, flow.traffic_direction])).toEqual([
      [{ type: 5 }, "FORWARDED", "EGRESS"],
      [{ type: 5 }, "DROPPED", "INGRESS"],
      [{ type: 1, sub_type: 133 }, "DROPPED", "INGRESS"],
    ]);
    expect(flows[1]).toMatchObject({
      drop_reason: 133,
      drop_reason_desc: "POLICY_DENIED",
      ingress_denied_by: deniedBy,
    });
    expect(flows[1]).not.toHaveProperty("policy_match_type");
    expect(flows[1]).not.toHaveProperty("is_reply");
    expect(flows[2]).toMatchObject({ drop_reason: 133, ingress_denied_by: deniedBy });
    expect(flows[2]).not.toHaveProperty("is_reply");
  });

  it("a drop by an explicit deny on egress", () => {
    const flows = expand({ ...syn, type: 1, subtype: 181, flags: 1 | 32, ruleEgress: 3 });
    expect(
      flows.map((flow) => [flow.event_type?.type, flow.traffic_direction, flow.drop_reason_desc]),
    ).toEqual([
      [5, "EGRESS", "POLICY_DENY"],
      [1, "EGRESS", "POLICY_DENY"],
    ]);
    expect(flows[0]).toMatchObject({ policy_match_type: 3, egress_denied_by: [{ name: "no-telnet" }] });
  });

  it("audit mode: the verdict says AUDIT and names who would have denied", () => {
    const [flow] = expand({ ...syn, type: 5, flags: 2 | 16, ruleIngress: 2 });
    expect(flow).toMatchObject({ verdict: "AUDIT", ingress_denied_by: [{ name: "deny-all" }] });
    expect(flow).not.toHaveProperty("is_reply");
  });

  it("other drops: direction from the endpoint that saw it, unknown without one", () => {
    const invalid = { ...syn, type: 1, subtype: 132 };
    expect(expand(invalid)[0]).toMatchObject({
      traffic_direction: "EGRESS",
      drop_reason_desc: "INVALID_SOURCE_IP",
    });
    expect(expand({ ...invalid, srcEp: 0 })[0]).toMatchObject({ traffic_direction: "INGRESS" });
    expect(expand({ ...invalid, srcEp: 0, dstEp: 0 })[0]).not.toHaveProperty("traffic_direction");
  });

  it("a reason that the field does not know keeps its number", () => {
    const [flow] = expand({ ...syn, type: 1, subtype: 250 });
    expect(flow).toMatchObject({ drop_reason: 250, event_type: { type: 1, sub_type: 250 } });
    expect(flow).not.toHaveProperty("drop_reason_desc");
  });

  it("a translated packet names the Service by what was dialled; a reply has it as its source", () => {
    const translated = { ...syn, type: 4, flags: 128, origDaddr: "10.96.0.1", origDport: 80 };
    expect(expand({ ...translated, reason: 0 })[0]?.destination_service).toEqual({
      name: "web",
      namespace: "default",
    });
    const [reply] = expand({ ...translated, reason: 2 });
    expect(reply?.source_service).toEqual({ name: "web", namespace: "default" });
    expect(reply).not.toHaveProperty("destination_service");
  });

  it("a socket translation", () => {
    const [flow] = expand({
      ...syn,
      type: 7,
      subtype: 2,
      daddr: "10.96.0.1",
      dport: 80,
      dstEp: 0,
      dstIdentity: 0,
    });
    expect(flow).toMatchObject({
      Type: "SOCK",
      verdict: "TRANSLATED",
      sock_xlate_point: "SOCK_XLATE_POINT_POST_DIRECTION_FWD",
      event_type: { type: 7, sub_type: 2 },
      destination_service: { name: "web" },
      Summary: "TCP",
    });
    expect(flow).not.toHaveProperty("ethernet");
    expect(flow?.destination).toEqual({});
  });

  it("IPv6 and ICMP", () => {
    const [flow] = expand({
      ...syn,
      type: 4,
      flags: 4,
      proto: 58,
      icmpType: 128,
      saddr: "fd00::1",
      daddr: "fd00::2",
      sport: 0,
      dport: 0,
    });
    expect(flow?.IP).toEqual({ source: "fd00::1", destination: "fd00::2", ipVersion: "IPv6" });
    expect(flow?.l4).toEqual({ ICMPv6: { type: 128 } });
    expect(flow?.Summary).toBe("ICMPv6 EchoRequest");
  });

  it("a remote peer is known by its address; the datapath's identity wins", () => {
    const record = { ...syn, type: 4, dstEp: 0, daddr: "10.0.1.9" };
    expect(expand({ ...record, dstIdentity: 0 })[0]?.destination).toEqual({
      identity: 3000,
      namespace: "other",
      pod_name: "remote",
    });
    expect(expand({ ...record, dstIdentity: 2 })[0]?.destination).toMatchObject({
      identity: 2,
      labels: ["reserved:world"],
    });
  });

  it("of a CIDR identity's labels the most specific stays", () => {
    const [flow] = expand({ ...syn, type: 4, dstEp: 0, daddr: "192.0.2.1", dstIdentity: 0x0100_0001 });
    expect(flow?.destination?.labels).toEqual(["cidr:192.0.2.0/24", "reserved:world"]);
  });

  it("a loss marker is no flow", () => {
    expect(expand({ ...syn, type: 255 })).toEqual([]);
  });
});
