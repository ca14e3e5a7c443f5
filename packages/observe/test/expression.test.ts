import { compileFilter, type Flow } from "@axoneme/flow";
import { describe, expect, it } from "vitest";
import { compileExpression } from "../src/expression/cel.ts";
import { filterEngines } from "../src/expression/engines.ts";

const flow: Flow = {
  ...{ time: "2026-11-20T12:00:00.5Z", uuid: "1", verdict: "DROPPED", drop_reason_desc: "POLICY_DENIED" },
  IP: { source: "10.0.0.1", destination: "192.0.2.1", ipVersion: "IPv4" },
  l4: { TCP: { source_port: 40000, destination_port: 80, flags: { SYN: true } } },
  source: { identity: 1234, namespace: "shop", pod_name: "web-1", labels: ["k8s:app=web", "k8s:tier=front"] },
  ...{ is_reply: false, node_name: "node1", traffic_direction: "EGRESS" },
};

it.each([
  ["_flow.verdict == Verdict.DROPPED", true],
  ["_flow.verdict == Verdict.FORWARDED", false],
  ["_flow.source.identity == 1234u && _flow.source.namespace.startsWith('sh')", true],
  ["_flow.l4.TCP.flags.SYN && !_flow.l4.TCP.flags.ACK", true],
  ["has(_flow.l4.UDP)", false],
  ["_flow.source.labels.exists(l, l.matches('^k8s:(app|name)=web$'))", true],
  ["_flow.source.labels.all(l, l.contains('app'))", false],
  ["_flow.is_reply == false", true],
  ["_flow.time < timestamp('2026-11-20T12:00:01Z')", true],
  ["_flow.destination.pod_name == ''", true],
  // It cannot be evaluated for this flow, so it does not match.
  ["_flow.source.labels[7] == 'x'", false],
])("%s", (expression, matches) => {
  expect(compileExpression(expression)(flow)).toBe(matches);
});

describe("refused, by name and cause:", () => {
  it.each([
    ["", /cel_expression "":/],
    ["_flow.verdict ==", /found|expecting/],
    ["_flow.nothing == 1", /field not found: nothing/],
    ["nothing", /unresolved attribute/],
    ["_flow.IP.source.matches('(')", /missing closing/],
    ["exec('rm')", /unbound function: exec/],
    ["_flow.source.identity", /is no condition/],
    ["'yes'", /is no condition/],
    [`_flow.uuid == '${"x".repeat(3000)}'`, /more than 2048 characters/],
    [Array.from({ length: 100 }, () => "_flow.is_reply").join(" && "), /parts; 256 are the most/],
    ["[1].all(a, [1].all(b, [1].all(c, a + b + c > 0)))", /loops 3 deep/],
    [`${"(".repeat(1000)}true${")".repeat(1000)}`, /cel_expression/],
  ])("%s", (expression, why) => {
    expect(() => compileExpression(expression)).toThrow(why);
  });

  it("more than eight in a filter, and any where there is no evaluator", () => {
    const many = [{ experimental: { cel_expression: Array.from({ length: 9 }, () => "true") } }];
    expect(() => compileFilter(many, [], filterEngines)).toThrow(/8 are the most/);
    expect(() => compileFilter([{ experimental: { cel_expression: ["true"] } }])).toThrow(
      /not evaluated here/,
    );
  });
});

it("one of a filter's expressions must hold, and its other fields", () => {
  const of = (cel_expression: string[], verdict: "DROPPED" | "FORWARDED") =>
    compileFilter([{ verdict: [verdict], experimental: { cel_expression } }], [], filterEngines).matches(
      flow,
    );
  expect(of(["false", "true"], "DROPPED")).toBe(true);
  expect(of(["true"], "FORWARDED")).toBe(false);
  expect(of(["false"], "DROPPED")).toBe(false);
});

it("a hostile pattern and a large flow take a bounded time", () => {
  const labels = Array.from({ length: 100 }, (_, i) => `k8s:label${i}=${"a".repeat(200)}`);
  const large: Flow = { ...flow, source: { ...flow.source, labels } };
  const slow =
    "_flow.source.labels.all(a, _flow.source.labels.exists(b, b.matches('^(k8s:)?((a+)+)+$') || b == a + 'x'))";
  const started = performance.now();
  expect(compileExpression(slow)(large)).toBe(false);
  expect(performance.now() - started).toBeLessThan(2000);
});

it("regular expressions are the field's, and take a bounded time", () => {
  const of = (pattern: string, query: string): boolean =>
    compileFilter([{ dns_query: [pattern] }], [], filterEngines).matches({ ...flow, l7: { dns: { query } } });
  expect(of("^api[.](example|test)", "api.example.com.")).toBe(true);
  expect(of("(?i)EXAMPLE", "api.example.com.")).toBe(true);
  expect(of("^example", "api.example.com.")).toBe(false);
  expect(() => of("(?=a)b", "ab")).toThrow(/dns_query/);
  expect(() => of("(", "ab")).toThrow(/dns_query/);
  const started = performance.now();
  expect(of("^(a+)+$", `${"a".repeat(250)}.`)).toBe(false);
  expect(performance.now() - started).toBeLessThan(2000);
});
