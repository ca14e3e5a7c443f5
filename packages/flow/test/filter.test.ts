import { describe, expect, it } from "vitest";
import { compileFilter, compileSelector, type Flow, type FlowFilter } from "../src/index.ts";

const flow: Flow = {
  time: "2026-11-20T12:00:00Z",
  uuid: "8a2b",
  verdict: "DROPPED",
  drop_reason: 133,
  drop_reason_desc: "POLICY_DENIED",
  IP: { source: "10.0.0.10", destination: "fd00::2", source_xlated: "172.30.0.11", ipVersion: "IPv4" },
  l4: { TCP: { source_port: 40000, destination_port: 80, flags: { SYN: true, ECE: true } } },
  source: {
    identity: 1000,
    namespace: "default",
    pod_name: "client-7d4",
    cluster_name: "blue",
    labels: ["k8s:app=client", "k8s:tier=front"],
    workloads: [{ name: "client", kind: "Deployment" }],
    process: { binary: "/usr/local/bin/curl", pid: 4711 },
  },
  destination: { identity: 2, labels: ["reserved:world"] },
  destination_names: ["api.example.com"],
  destination_service: { namespace: "shop", name: "cart" },
  Type: "L3_L4",
  node_name: "blue/node1",
  node_labels: ["zone=a"],
  event_type: { type: 1, sub_type: 133 },
  traffic_direction: "EGRESS",
  interface: { index: 7, name: "lxc0a" },
};

const http: Flow = {
  ...flow,
  verdict: "FORWARDED",
  is_reply: true,
  event_type: { type: 129 },
  trace_context: { parent: { trace_id: "abc" } },
  l7: {
    type: "RESPONSE",
    http: { code: 404, method: "GET", url: "http://cart/a/b?q=1", headers: [{ key: "X", value: "1" }] },
  },
};
const dns: Flow = {
  ...flow,
  event_type: { type: 129 },
  l7: { type: "REQUEST", dns: { query: "api.example.com." } },
};

const matches = (filter: FlowFilter, of: Flow = flow): boolean => compileFilter([filter]).matches(of);

/** [filter, matches, does not match]: one row a field. */
const rows: readonly [FlowFilter, FlowFilter][] = [
  [{ uuid: ["x", "8a2b"] }, { uuid: ["8a2"] }],
  [{ source_ip: ["10.0.0.10"] }, { source_ip: ["10.0.0.1"] }],
  [{ source_ip: ["10.0.0.0/28", "192.0.2.1"] }, { source_ip: ["10.0.1.0/24"] }],
  [{ destination_ip: ["fd00::/64"] }, { destination_ip: ["fd00::1"] }],
  [{ source_ip_xlated: ["172.30.0.0/16"] }, { source_ip_xlated: ["172.31.0.0/16"] }],
  [{ source_pod: ["client"] }, { source_pod: ["other/client"] }],
  [{ source_pod: ["default/"] }, { source_pod: ["default/lient"] }],
  [{ source_pod: ["/client-"] }, { destination_pod: ["/"] }],
  [{ source_label: ["app=client"] }, { source_label: ["k8s:app=web"] }],
  [{ source_label: ["k8s:app in (web, client),tier"] }, { source_label: ["reserved:app=client"] }],
  [{ destination_label: ["reserved:world"] }, { destination_label: ["!world"] }],
  [{ source_workload: [{ name: "client" }] }, { source_workload: [{ name: "client", kind: "DaemonSet" }] }],
  [{ source_workload: [{ kind: "Deployment" }] }, { destination_workload: [{ kind: "Deployment" }] }],
  [{ source_cluster_name: ["blue"] }, { destination_cluster_name: ["blue"] }],
  [{ source_process: ["curl"] }, { source_process: ["url", "/curl"] }],
  [{ source_process: ["c*l", "wget"] }, { destination_process: ["*"] }],
  [{ source_process: ["/usr/*/curl"] }, { source_process: ["/usr/bin/*"] }],
  [{ destination_fqdn: ["*.Example.com."] }, { destination_fqdn: ["example.com"] }],
  [{ destination_service: ["shop/ca"] }, { destination_service: ["cart"] }],
  [{ traffic_direction: ["EGRESS"] }, { traffic_direction: ["INGRESS", "TRAFFIC_DIRECTION_UNKNOWN"] }],
  [{ verdict: ["FORWARDED", "DROPPED"] }, { verdict: ["AUDIT"] }],
  [{ drop_reason_desc: ["POLICY_DENIED"] }, { drop_reason_desc: ["POLICY_DENY"] }],
  [{ interface: [{ name: "lxc0a" }] }, { interface: [{ index: 7, name: "eth0" }] }],
  [{ interface: [{ index: 7 }] }, { interface: [{ index: 8 }] }],
  [{ event_type: [{ type: 1 }] }, { event_type: [{ type: 4 }] }],
  [
    { event_type: [{ type: 1, match_sub_type: true, sub_type: 133 }] },
    { event_type: [{ type: 1, match_sub_type: true }] },
  ],
  [{ protocol: ["TCP"] }, { protocol: ["icmp", "udp"] }],
  [{ source_port: ["40000"] }, { destination_port: ["40000"] }],
  [{ destination_port: ["443", "80"] }, { destination_port: ["8080"] }],
  [{ reply: [false] }, { reply: [true] }],
  [{ source_identity: [1000] }, { source_identity: [2] }],
  [{ destination_identity: [2, 3] }, { destination_identity: [1000] }],
  [{ tcp_flags: [{ SYN: true }] }, { tcp_flags: [{ SYN: true, ACK: true }] }],
  [{ node_name: ["node1"] }, { node_name: ["node"] }],
  [{ node_name: ["blue/"] }, { node_name: ["green/*"] }],
  [{ node_name: ["b*/n*1"] }, { node_name: ["b*/n*2"] }],
  [{ node_labels: ["zone in (a)"] }, { node_labels: ["zone!=a"] }],
  [{ ip_version: ["IPv4"] }, { ip_version: ["IPv6"] }],
  [{ encrypted: [false] }, { encrypted: [true] }],
];

describe("every field", () => {
  it.each(rows)("%j matches, %j does not", (yes, no) => {
    expect(matches(yes)).toBe(true);
    expect(matches(no)).toBe(false);
  });

  it("layer 7", () => {
    expect(matches({ http_status_code: ["4+"] }, http)).toBe(true);
    expect(matches({ http_status_code: ["40+"] }, http)).toBe(true);
    expect(matches({ http_status_code: ["200"] }, http)).toBe(false);
    expect(matches({ http_method: ["get"], http_path: ["^/a/"] }, http)).toBe(true);
    expect(matches({ http_path: ["q=1"] }, http)).toBe(false);
    expect(matches({ http_url: ["q=1"] }, http)).toBe(true);
    expect(matches({ http_header: [{ key: "X", value: "1" }] }, http)).toBe(true);
    expect(matches({ http_status_code: ["4+"] })).toBe(false);
    expect(matches({ dns_query: ["example"] }, dns)).toBe(true);
    expect(matches({ dns_query: ["example"] }, http)).toBe(false);
    expect(matches({ protocol: ["dns"] }, dns)).toBe(true);
    expect(matches({ protocol: ["http"] }, dns)).toBe(false);
    expect(matches({ trace_id: ["abc"] }, http)).toBe(true);
  });

  it("an unknown reply state matches neither, unless the flow was dropped", () => {
    const trace: Flow = { ...flow, verdict: "FORWARDED" };
    expect(matches({ reply: [false] }, trace)).toBe(false);
    expect(matches({ reply: [true] }, http)).toBe(true);
  });
});

describe("lists", () => {
  it("fields are ANDed, values and filters ORed, the blacklist excludes", () => {
    expect(matches({ source_pod: ["client"], verdict: ["FORWARDED"] })).toBe(false);
    expect(compileFilter([{ verdict: ["AUDIT"] }, { verdict: ["DROPPED"] }]).matches(flow)).toBe(true);
    expect(compileFilter([], [{ verdict: ["DROPPED"] }]).matches(flow)).toBe(false);
    expect(compileFilter([{}], [{ verdict: ["AUDIT"] }]).matches(flow)).toBe(true);
    expect(compileFilter().matchesAll).toBe(true);
  });
});

describe("what cannot be meant is an error that names field and value", () => {
  it.each<[FlowFilter, string]>([
    [{ source_ip: ["10.0.0"] }, "source_ip"],
    [{ source_pod: [""] }, "source_pod"],
    [{ destination_pod: ["a/b/c"] }, "destination_pod"],
    [{ source_fqdn: [".."] }, "source_fqdn"],
    [{ source_fqdn: ["a b"] }, "source_fqdn"],
    [{ node_name: ["a/b/c"] }, "node_name"],
    [{ destination_port: ["http"] }, "destination_port"],
    [{ protocol: ["quic"] }, "protocol"],
    [{ drop_reason_desc: ["BAD_LUCK"] }, "drop_reason_desc"],
    [{ http_status_code: ["2xx"] }, "http_status_code"],
    [{ http_path: ["("] }, "http_path"],
    [{ source_label: ["a in b"] }, "a in b"],
    [{ source_workload: [{}] }, "source_workload"],
    [{ http_method: ["GET"], event_type: [{ type: 1 }] }, "http_method"],
  ])("%j", (filter, names) => {
    expect(() => compileFilter([filter])).toThrow(names);
  });
});

describe("label selectors", () => {
  const labels = ["k8s:app=web", "k8s:io.kubernetes.pod.namespace=default", "reserved:host"];
  it.each<[string, boolean]>([
    ["app", true],
    ["app=web", true],
    ["app==web", true],
    ["app!=web", false],
    ["missing!=web", true],
    ["!app", false],
    ["!missing", true],
    ["app in (web,db)", true],
    ["app notin (web)", false],
    ["k8s:app=web,reserved:host", true],
    ["any:app=web", true],
    ["reserved:app", false],
    ["io.kubernetes.pod.namespace=default", true],
    ["host", true],
  ])("%s: %s", (selector, expected) => {
    expect(compileSelector(selector)(labels)).toBe(expected);
  });
});

it("name patterns cost no more than pattern times text", () => {
  const hostile = `${"*a".repeat(40)}b`;
  const matcher = compileFilter([{ destination_fqdn: [hostile] }]);
  const start = performance.now();
  expect(matcher.matches({ ...flow, destination_names: ["a".repeat(250)] })).toBe(false);
  expect(performance.now() - start).toBeLessThan(50);
});
