import { describe, expect, it } from "vitest";
import { type FlowsQuery, parseFlowsQuery, parseMonitorQuery, queryOf } from "../src/index.ts";

const q = (query: FlowsQuery): string | null => new URLSearchParams(queryOf(query)).get("q");

describe("queries", () => {
  it("survive the way through a URL", () => {
    const query: FlowsQuery = {
      number: 20,
      follow: true,
      since: "2026-11-20T12:00:00Z",
      whitelist: [{ source_pod: ["default/a&b"], verdict: ["DROPPED"] }],
      blacklist: [{ source_label: ["k8s:app in (a, b)"] }],
    };
    expect(parseFlowsQuery(q(query))).toEqual(query);
    expect(parseFlowsQuery(null)).toEqual({});
  });

  it("take 64-bit numbers as text, as protojson writes them", () => {
    expect(parseFlowsQuery('{"number":"20"}')).toEqual({ number: 20 });
  });

  it.each([
    ["{", "not JSON"],
    ["[]", "not an object"],
    ['{"number":-1}', "number"],
    ['{"since":5}', "since"],
    ['{"since":"5m"}', "RFC 3339"],
    ['{"whitelist":{}}', "whitelist"],
    ['{"whitelist":[{"verdict":"DROPPED"}]}', "verdict is not a list"],
    ['{"whitelist":[{"verdict":["LOST"]}]}', "LOST"],
    ['{"first":true,"follow":true}', "exclude"],
  ])("%s is refused: %s", (text, why) => {
    expect(() => parseFlowsQuery(text)).toThrow(why);
  });

  it("of the monitor", () => {
    const query = { follow: true, last: 5, type: ["drop" as const], from: [1], to: [2] };
    expect(parseMonitorQuery(JSON.stringify(query))).toEqual(query);
    expect(() => parseMonitorQuery('{"type":["debug"]}')).toThrow("debug");
    expect(() => parseMonitorQuery('{"from":["a"]}')).toThrow("from");
  });
});
