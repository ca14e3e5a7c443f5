/**
 * Every field of a FlowFilter, as it comes off the wire, against an evaluator that is simple enough to be read: one line a
 * field. A field that is new in the schema and not here makes this fail.
 */
import {
  compileFilter,
  type Flow,
  type FlowEndpoint,
  type FlowFilter,
  type FlowProcess,
  type FlowWorkload,
} from "@axoneme/flow";
import { FlowFilterSchema, GetFlowsRequestSchema } from "@axoneme/proto";
import { fromBinary, fromJson, type JsonValue, toBinary } from "@bufbuild/protobuf";
import fc from "fast-check";
import ipaddr from "ipaddr.js";
import { expect, it } from "vitest";
import { filterEngines } from "../src/expression/engines.ts";
import { flowsRequest } from "../src/grpc/request.ts";

type Values<K extends keyof FlowFilter> = NonNullable<FlowFilter[K]> extends readonly (infer V)[] ? V : never;
type Field = Exclude<keyof FlowFilter, "experimental">;

/** Values of a field, and whether a flow has one. */
interface Rule<V> {
  readonly values: readonly V[];
  readonly holds: (value: V, flow: Flow) => boolean;
}

const addresses = ["10.0.0.1", "10.0.1.2", "192.0.2.1", "fd00::1", "fd00:1::2"];

function contains(cidr: string, text: string | undefined): boolean {
  if (text === undefined) return false;
  const ip = ipaddr.parse(text);
  const [base, length] = ipaddr.parseCIDR(
    cidr.includes("/") ? cidr : `${cidr}/${cidr.includes(":") ? 128 : 32}`,
  );
  return base.kind() === ip.kind() && (ip as ipaddr.IPv6).match(base as ipaddr.IPv6, length);
}

const inNetwork = (of: (flow: Flow) => string | undefined): Rule<string> => ({
  values: ["10.0.0.1", "10.0.0.0/16", "0.0.0.0/0", "fd00::/32", "::/0", "fd00:1::2"],
  holds: (value, flow) => contains(value, of(flow)),
});

const named = (of: (flow: Flow) => { namespace?: string; name?: string } | undefined): Rule<string> => ({
  values: ["web", "default/", "shop/web", "/db", "shop/"],
  holds: (value, flow) => {
    const { namespace = "", name = "" } = of(flow) ?? {};
    if (namespace === "" && name === "") return false;
    if (value === "web") return namespace === "default" && name.startsWith("web");
    if (value === "/db") return name.startsWith("db");
    const [wanted = "", prefix = ""] = value.split("/");
    return namespace === wanted && name.startsWith(prefix);
  },
});

const fqdn = (of: (flow: Flow) => readonly string[] | undefined): Rule<string> => ({
  values: ["api.example.com", "*.EXAMPLE.com", "*", "*.example.com."],
  holds: (value, flow) => {
    const names = of(flow) ?? [];
    if (value === "*") return names.length > 0;
    return names.some((name) =>
      value.startsWith("*") ? name.endsWith(".example.com") : name === "api.example.com",
    );
  },
});

/** Of `app` and `tier`, whatever the source of the label. */
const selector = (of: (flow: Flow) => readonly string[] | undefined): Rule<string> => ({
  values: [
    "app=web",
    "k8s:app=web",
    "app in (web, db)",
    "app notin (web)",
    "!tier",
    "tier",
    "reserved:world",
    "app!=db,tier",
  ],
  holds: (value, flow) => {
    const labels = of(flow) ?? [];
    const has = (...lines: string[]): boolean => labels.some((label) => lines.includes(label));
    const app = (name: string): boolean => has(`k8s:app=${name}`);
    const tier = labels.some((label) => label.startsWith("k8s:tier="));
    switch (value) {
      case "app in (web, db)":
        return app("web") || app("db");
      case "app notin (web)":
        return !app("web");
      case "!tier":
        return !tier;
      case "tier":
        return tier;
      case "reserved:world":
        return has("reserved:world");
      case "app!=db,tier":
        return !app("db") && tier;
      default:
        return app("web");
    }
  },
});

const workload = (side: "source" | "destination"): Rule<FlowWorkload> => ({
  values: [{ name: "web" }, { kind: "Deployment" }, { name: "db", kind: "StatefulSet" }],
  holds: (value, flow) =>
    (flow[side]?.workloads ?? []).some(
      ({ name, kind }) =>
        (value.name === undefined || value.name === name) &&
        (value.kind === undefined || value.kind === kind),
    ),
});

const binary = (side: "source" | "destination"): Rule<string> => ({
  values: ["curl", "/usr/bin/*", "cu*", "/opt/server"],
  holds: (value, flow) => {
    const path = flow[side]?.process?.binary;
    if (path === undefined) return false;
    if (value === "/usr/bin/*") return path.startsWith("/usr/bin/");
    return value === "/opt/server" ? path === value : path.endsWith("/curl");
  },
});

const port = (side: "source_port" | "destination_port"): Rule<string> => ({
  values: ["80", "53", "40000"],
  holds: (value, flow) => `${(flow.l4?.TCP ?? flow.l4?.UDP ?? flow.l4?.SCTP)?.[side] ?? 0}` === value,
});

const is = <V>(values: readonly V[], of: (flow: Flow) => V | undefined, otherwise?: V): Rule<V> => ({
  values,
  holds: (value, flow) => (of(flow) ?? otherwise) === value,
});

const matching = (values: readonly string[], of: (flow: Flow) => string | undefined): Rule<string> => ({
  values,
  holds: (value, flow) => {
    const text = of(flow);
    return text !== undefined && new RegExp(value).test(text);
  },
});

const http = (flow: Flow) => flow.l7?.http;

const rules: { readonly [K in Field]: Rule<Values<K>> } = {
  uuid: is(["a", "b"], ({ uuid }) => uuid),
  source_ip: inNetwork(({ IP }) => IP?.source),
  source_ip_xlated: inNetwork(({ IP }) => IP?.source_xlated),
  destination_ip: inNetwork(({ IP }) => IP?.destination),
  source_pod: named(
    ({ source }) => source && { ...source, ...(source.pod_name ? { name: source.pod_name } : {}) },
  ),
  destination_pod: named(
    ({ destination: to }) => to && { ...to, ...(to.pod_name ? { name: to.pod_name } : {}) },
  ),
  source_fqdn: fqdn((flow) => flow.source_names),
  destination_fqdn: fqdn((flow) => flow.destination_names),
  source_label: selector(({ source }) => source?.labels),
  destination_label: selector(({ destination }) => destination?.labels),
  source_service: named((flow) => flow.source_service),
  destination_service: named((flow) => flow.destination_service),
  source_workload: workload("source"),
  destination_workload: workload("destination"),
  source_process: binary("source"),
  destination_process: binary("destination"),
  source_cluster_name: is(["blue", "green"], ({ source }) => source?.cluster_name),
  destination_cluster_name: is(["blue", "green"], ({ destination }) => destination?.cluster_name),
  traffic_direction: is(
    ["INGRESS", "EGRESS", "TRAFFIC_DIRECTION_UNKNOWN"],
    (flow) => flow.traffic_direction,
    "TRAFFIC_DIRECTION_UNKNOWN",
  ),
  verdict: is(
    ["FORWARDED", "DROPPED", "AUDIT", "VERDICT_UNKNOWN"],
    ({ verdict }) => verdict,
    "VERDICT_UNKNOWN",
  ),
  drop_reason_desc: is(
    ["POLICY_DENIED", "INVALID_SOURCE_IP", "DROP_REASON_UNKNOWN"],
    (flow) => flow.drop_reason_desc,
    "DROP_REASON_UNKNOWN",
  ),
  interface: {
    values: [{ index: 7 }, { name: "eth0" }, { index: 8, name: "lxc1" }],
    holds: ({ index, name }, { interface: device }) =>
      device !== undefined &&
      (index === undefined || index === device.index) &&
      (name === undefined || name === device.name),
  },
  event_type: {
    values: [{ type: 1 }, { type: 4 }, { type: 129 }, { type: 4, match_sub_type: true, sub_type: 3 }],
    holds: (value, { event_type: event }) =>
      event?.type === value.type && (value.match_sub_type !== true || event.sub_type === value.sub_type),
  },
  http_status_code: {
    values: ["404", "2+", "40+"],
    holds: (value, flow) => `${http(flow)?.code ?? ""}`.startsWith(value.replace("+", "")),
  },
  protocol: {
    values: ["tcp", "UDP", "icmp", "icmpv6", "dns", "http", "sctp"],
    holds: (value, { l4, l7 }) => {
      const of = [...Object.keys(l4 ?? {}), ...Object.keys(l7 ?? {})].map((key) => key.toLowerCase());
      return (
        of.includes(value.toLowerCase()) || (value === "icmp" && of.some((key) => /^icmpv[46]$/.test(key)))
      );
    },
  },
  source_port: port("source_port"),
  destination_port: port("destination_port"),
  reply: is([true, false], (flow) => flow.is_reply ?? (flow.verdict === "DROPPED" ? false : undefined)),
  dns_query: matching(["^api", "example"], ({ l7 }) => l7?.dns && (l7.dns.query ?? "")),
  source_identity: is([0, 2, 1000], ({ source }) => source?.identity, 0),
  destination_identity: is([0, 2, 1000], ({ destination }) => destination?.identity, 0),
  http_method: {
    values: ["get", "POST"],
    holds: (value, flow) => http(flow)?.method === value.toUpperCase(),
  },
  http_path: matching(
    ["^/a", "q="],
    (flow) => http(flow) && (http(flow)?.url ?? "").replace("http://shop", "").replace(/[?].*/, ""),
  ),
  http_url: matching(["^http:", "q=1"], (flow) => http(flow) && (http(flow)?.url ?? "")),
  http_header: {
    values: [
      { key: "X", value: "1" },
      { key: "Host", value: "shop" },
    ],
    holds: ({ key, value }, flow) =>
      (http(flow)?.headers ?? []).some((header) => header.key === key && header.value === value),
  },
  tcp_flags: {
    values: [{ SYN: true }, { SYN: true, ACK: true }, { RST: true }],
    holds: (value, flow) => {
      const flags: Readonly<Record<string, boolean>> = { ...flow.l4?.TCP?.flags };
      return Object.keys(value).every((name) => flags[name] === true);
    },
  },
  node_name: {
    values: ["node1", "blue/", "green/*2", "default/node1"],
    holds: (value, { node_name: name = "" }) => {
      const full = name.includes("/") ? name : `default/${name}`;
      if (value === "node1") return full.endsWith("/node1");
      if (value === "blue/") return full.startsWith("blue/");
      return value === "default/node1" ? full === value : full.startsWith("green/") && full.endsWith("2");
    },
  },
  node_labels: selector((flow) => flow.node_labels),
  ip_version: is(["IPv4", "IPv6", "IP_NOT_USED"], ({ IP }) => IP?.ipVersion, "IP_NOT_USED"),
  trace_id: is(["t1", "t2"], (flow) => flow.trace_context?.parent?.trace_id),
  ip_trace_id: is<string | number>(["1", "18446744073709551615"], (flow) => flow.ip_trace_id?.trace_id),
  encrypted: is([true, false], ({ IP }) => IP?.encrypted, false),
};

const one = <T>(...values: readonly T[]): fc.Arbitrary<T> => fc.constantFrom(...values);
const maybe = <T>(model: { [K in keyof T]: fc.Arbitrary<T[K]> }): fc.Arbitrary<Partial<T>> =>
  fc.record(model, { requiredKeys: [] }) as fc.Arbitrary<Partial<T>>;
const label = fc.subarray(["k8s:app=web", "k8s:app=db", "k8s:tier=front", "reserved:world"]);
const endpoint = maybe<FlowEndpoint>({
  identity: one(2, 1000),
  cluster_name: one("blue", "green"),
  namespace: one("default", "shop"),
  pod_name: one("web-1", "db-0"),
  labels: label.filter((labels) => !(labels.includes("k8s:app=web") && labels.includes("k8s:app=db"))),
  workloads: one<readonly FlowWorkload[]>(
    [{ name: "web", kind: "Deployment" }],
    [{ name: "db", kind: "StatefulSet" }],
  ),
  process: one<FlowProcess>({ binary: "/usr/bin/curl", pid: 7 }, { binary: "/opt/server" }, {}),
});
const service = maybe({ namespace: one("default", "shop"), name: one("web", "db") });
const names = fc.subarray(["api.example.com", "www.example.com", "example.org"]);
const ports = { source_port: one(80, 40000), destination_port: one(53, 80) };
const flags = maybe({ SYN: fc.constant(true), ACK: fc.constant(true), RST: fc.constant(true) });

const flow: fc.Arbitrary<Flow> = fc.record(
  {
    time: fc.constant("2026-11-20T12:00:00Z"),
    uuid: one("a", "b", "c"),
    verdict: one("FORWARDED", "DROPPED", "AUDIT"),
    drop_reason_desc: one("POLICY_DENIED", "INVALID_SOURCE_IP"),
    IP: maybe({
      source: one(...addresses),
      destination: one(...addresses),
      source_xlated: one(...addresses),
      ipVersion: one("IPv4", "IPv6"),
      encrypted: fc.boolean(),
    }),
    l4: fc.oneof(
      maybe({ ...ports, flags }).map((TCP) => ({ TCP })),
      maybe(ports).map((UDP) => ({ UDP })),
      maybe(ports).map((SCTP) => ({ SCTP })),
      one({ ICMPv4: { type: 8 } }, { ICMPv6: { type: 128 } }),
    ),
    l7: fc.oneof(
      maybe({
        code: one(200, 404, 500),
        method: one("GET", "POST"),
        url: one("/a/b", "http://shop/a?q=1", "/b?q=1"),
        headers: fc.subarray([
          { key: "X", value: "1" },
          { key: "Host", value: "shop" },
          { key: "X", value: "2" },
        ]),
      }).map((of) => ({ http: of })),
      maybe({ query: one("api.example.com.", "other.org.") }).map((dns) => ({ dns })),
    ),
    source: endpoint,
    destination: endpoint,
    source_names: names,
    destination_names: names,
    source_service: service,
    destination_service: service,
    node_name: one("node1", "blue/node1", "green/node2"),
    node_labels: label.filter((labels) => !labels.includes("k8s:app=db")),
    event_type: one({ type: 1 }, { type: 4, sub_type: 3 }, { type: 4 }, { type: 129 }),
    traffic_direction: one("INGRESS", "EGRESS"),
    is_reply: fc.boolean(),
    interface: one({ index: 7, name: "eth0" }, { index: 8, name: "lxc1" }, { index: 8 }),
    trace_context: one({ parent: { trace_id: "t1" } }, { parent: {} }),
    ip_trace_id: one({ trace_id: "1" }, { trace_id: "18446744073709551615" }),
  },
  { requiredKeys: ["time", "uuid"] },
) as fc.Arbitrary<Flow>;

const fields = Object.keys(rules) as Field[];
/** Filters with one to three fields, of one or two values each. */
const filter: fc.Arbitrary<FlowFilter> = fc
  .subarray(fields, { minLength: 1, maxLength: 3 })
  .chain((chosen) => {
    const some = (field: Field): fc.Arbitrary<unknown> =>
      fc.uniqueArray(one<unknown>(...rules[field].values), { minLength: 1, maxLength: 2 });
    return fc.record(Object.fromEntries(chosen.map((field) => [field, some(field)])));
  })
  .filter(
    (of: FlowFilter) =>
      of.event_type === undefined || !Object.keys(of).some((key) => key.startsWith("http_")),
  )
  .map((of) => of as FlowFilter);

const lists = fc.array(filter, { maxLength: 2 });

function simply(filters: readonly FlowFilter[], of: Flow): boolean {
  return filters.some((one) =>
    Object.entries(one).every(([field, values]) => {
      const { holds } = rules[field as Field] as Rule<unknown>;
      return (values as unknown[]).some((value) => holds(value, of));
    }),
  );
}

/** As a client sends it, and as the server reads it. */
function overTheWire(whitelist: readonly FlowFilter[], blacklist: readonly FlowFilter[]) {
  const sent = fromJson(GetFlowsRequestSchema, { whitelist, blacklist } as unknown as JsonValue);
  return flowsRequest(fromBinary(GetFlowsRequestSchema, toBinary(GetFlowsRequestSchema, sent)));
}

it("no field of the schema is missing here", () => {
  const known = FlowFilterSchema.fields.map(({ name }) => name).sort();
  expect([...fields, "experimental"].sort()).toEqual(known);
});

it.each(fields)("%s decides as the simple evaluator", (field) => {
  const single = fc.uniqueArray(one<unknown>(...rules[field].values), { minLength: 1, maxLength: 2 });
  let matched = 0;
  let all = 0;
  fc.assert(
    fc.property(single, fc.array(flow, { minLength: 20, maxLength: 20 }), (values, flows) => {
      const { whitelist } = overTheWire([{ [field]: values }], []);
      const matcher = compileFilter(whitelist, [], filterEngines);
      for (const of of flows) {
        const expected = simply([{ [field]: values }], of);
        expect(matcher.matches(of)).toBe(expected);
        all++;
        if (expected) matched++;
      }
    }),
    { numRuns: 15 },
  );
  // Neither everything nor nothing: the values and flows above are about one another.
  expect(matched).toBeGreaterThan(0);
  expect(matched).toBeLessThan(all);
});

it("fields, values and lists are joined as the simple evaluator joins them", () => {
  fc.assert(
    fc.property(lists, lists, fc.array(flow, { minLength: 10, maxLength: 10 }), (white, black, flows) => {
      const request = overTheWire(white, black);
      const matcher = compileFilter(request.whitelist, request.blacklist, filterEngines);
      for (const of of flows)
        expect(matcher.matches(of)).toBe((white.length === 0 || simply(white, of)) && !simply(black, of));
    }),
    { numRuns: 200 },
  );
});

it("experimental.cel_expression decides as the field of the same meaning", () => {
  fc.assert(
    fc.property(fc.array(flow, { minLength: 10, maxLength: 10 }), (flows) => {
      const pairs: readonly [string, FlowFilter][] = [
        ["_flow.verdict == Verdict.DROPPED", { verdict: ["DROPPED"] }],
        ["_flow.source.identity == 1000u", { source_identity: [1000] }],
        ["'www.example.com' in _flow.destination_names", { destination_fqdn: ["www.example.com"] }],
      ];
      for (const [expression, same] of pairs) {
        const { whitelist } = overTheWire([{ experimental: { cel_expression: [expression] } }], []);
        const matcher = compileFilter(whitelist, [], filterEngines);
        for (const of of flows) expect(matcher.matches(of)).toBe(compileFilter([same]).matches(of));
      }
    }),
    { numRuns: 20 },
  );
});
