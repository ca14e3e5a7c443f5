import { describe, expect, it } from "vitest";
import { parseMetricSpecs } from "../src/index.ts";

const nothing = { source: {}, destination: {}, labels: [] };

describe("parseMetricSpecs", () => {
  it("reads names alone, in one text or several", () => {
    const { specs } = parseMetricSpecs(["flow drop", " tcp "]);
    expect(specs.map(({ name }) => name)).toEqual(["flow", "drop", "tcp"]);
    expect(specs[0]?.context).toEqual(nothing);
  });

  it("reads contexts with fall-backs and directions, and puts labels in their order", () => {
    const text =
      "flow:sourceContext=workload-name|reserved-identity;destinationContext=dns|ip;sourceEgressContext=pod;" +
      "labelsContext=traffic_direction,source_namespace,destination_ip,source_namespace";
    expect(parseMetricSpecs([text]).specs[0]?.context).toEqual({
      source: { any: ["workload-name", "reserved-identity"], egress: ["pod"] },
      destination: { any: ["dns", "ip"] },
      labels: ["source_namespace", "destination_ip", "traffic_direction"],
    });
  });

  it.each([
    ["dns:query;ignoreAAAA", ["query", "ignoreAAAA"]],
    ["flows-to-world:any-drop;port=true;syn-only=false", ["any-drop", "port"]],
  ])("reads the options of %s", (text, options) => {
    const { specs } = parseMetricSpecs([text]);
    expect([...(specs[0]?.options ?? [])]).toEqual(options);
  });

  it("takes metrics of the field that cannot be counted yet, and names them", () => {
    const text = "httpV2:exemplars=true;labelsContext=source_ip";
    expect(parseMetricSpecs([text, "drop"])).toMatchObject({ specs: [{ name: "drop" }], later: ["httpV2"] });
  });

  it.each([
    ["flows", 'metric "flows": "flows" is unknown (known: dns, drop, tcp,'],
    ["flow flow", '"flow" is listed twice; give all its options in one'],
    [
      "flow:sourceContext=pods",
      'sourceContext has the unknown value "pods" (known: identity, namespace, pod,',
    ],
    ["flow:labelsContext=source", 'labelsContext has the unknown value "source"'],
    ["flow:query", 'has no option "query" (known: sourceContext,'],
    ["dns:sourcecontext=pod", 'has no option "sourcecontext"'],
    ["flow:sourceContext", 'sourceContext has the unknown value ""'],
  ])("refuses %s", (text, message) => {
    expect(() => parseMetricSpecs([text])).toThrow(message);
  });
});
