import { describe, expect, it } from "vitest";
import { parseOptions } from "../src/index.ts";

const options = {
  nodeName: { default: "", doc: "name of the node", liveness: "restart" },
  mode: { default: "native", doc: "routing", liveness: "restart", oneOf: ["native", "tunnel"] },
  mtu: { default: 0, doc: "MTU, 0 detects", liveness: "restart", min: 0, max: 65520 },
  ranges: { default: [] as readonly string[], doc: "CIDRs", liveness: "live" },
  kinds: { default: ["a", "b"] as readonly string[], doc: "kinds", liveness: "live", each: ["a", "b", "c"] },
} as const;

describe("options", () => {
  it("fills in defaults", () => {
    expect(parseOptions(options, { nodeName: "a" })).toEqual({
      nodeName: "a",
      mode: "native",
      mtu: 0,
      ranges: [],
      kinds: ["a", "b"],
    });
  });

  it("checks the words of a list", () => {
    expect(parseOptions(options, { kinds: ["c"] }).kinds).toEqual(["c"]);
    expect(() => parseOptions(options, { kinds: ["a", "d"] })).toThrow(
      /"kinds" may contain only a, b, c, got \["a","d"\]/,
    );
  });

  it("names every problem at once", () => {
    expect(() => parseOptions(options, { mode: "fast", mtu: 70000, nope: 1, ranges: [1] })).toThrow(
      /unknown option "nope".*"mode" must be one of native, tunnel.*"mtu" must be at most 65520.*"ranges" must be a list/,
    );
  });
});
