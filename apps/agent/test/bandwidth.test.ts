import type { EndpointRecord } from "@axoneme/endpoint";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  egressAnnotation,
  egressLimitOf,
  ingressAnnotation,
  PodBandwidth,
} from "../src/endpoint/bandwidth.ts";
import type { PodFacts } from "../src/endpoint/pods.ts";
import { linesOf, quiet } from "./logger.ts";

describe("a Pod's bandwidth", () => {
  it.each([
    ["10M", 10e6],
    ["1G", 1e9],
    ["500k", 5e5],
    ["1.5M", 1.5e6],
    ["10Mi", 10 * 2 ** 20],
    ["1e6", 1e6],
    ["1000000", 1e6],
    ["2000000000m", 2e6],
    ["1P", 1e15],
  ])("%s is %d bits per second", (text, bits) => {
    expect(egressLimitOf({ [egressAnnotation]: text })).toEqual({ egressLimit: bits });
  });

  it.each(["", "10 M", "-1M", "M", "10MB", "1", "999", "2P", "1e99", "0x10"])(
    "%j is none, and said to be",
    (text) => {
      const { egressLimit, bandwidthProblem } = egressLimitOf({ [egressAnnotation]: text });
      expect(egressLimit).toBeUndefined();
      expect(bandwidthProblem).toContain(`"${text}" is not a quantity from 1k to 1P`);
    },
  );

  it("for what comes in is not enforced, and said not to be", () => {
    const annotations = { [ingressAnnotation]: "1M", [egressAnnotation]: "1M" };
    expect(egressLimitOf(annotations)).toEqual({
      egressLimit: 1e6,
      bandwidthProblem: `${ingressAnnotation} is not enforced here`,
    });
    expect(egressLimitOf({})).toEqual({});
    expect(egressLimitOf(undefined)).toEqual({});
  });

  it("never gives a limit out of bounds, whatever comes", () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        const { egressLimit = 1e3 } = egressLimitOf({ [egressAnnotation]: text });
        expect(egressLimit).toBeGreaterThanOrEqual(1e3);
        expect(egressLimit).toBeLessThanOrEqual(1e15);
      }),
    );
  });
});

describe("the limit of an endpoint", () => {
  const record = { pod: { namespace: "a", name: "b", uid: "u" } } as EndpointRecord;
  const facts = (egressLimit?: number): PodFacts => ({
    labels: {},
    namedPorts: [],
    uid: "u",
    workload: undefined,
    ...(egressLimit === undefined ? {} : { egressLimit }),
  });

  it("is set when it differs, and is in the record of what is in force", async () => {
    const set: (number | undefined)[] = [];
    const limitEgress = (_record: EndpointRecord, bits: number | undefined) => {
      set.push(bits);
      return Promise.resolve();
    };
    const bandwidth = new PodBandwidth({ limitEgress }, quiet);
    expect(await bandwidth.apply(record, facts())).toBe(record);
    const limited = await bandwidth.apply(record, facts(1e6));
    expect(limited.egressLimit).toBe(1e6);
    expect(bandwidth.isAsWanted(limited, facts(1e6))).toBe(true);
    expect(await bandwidth.apply(limited, facts(1e6))).toBe(limited);
    expect(await bandwidth.apply(limited, facts())).toEqual(record);
    expect(set).toEqual([1e6, undefined]);
  });

  it("that cannot be set is told with the reason, and does not stop the pod", async () => {
    const { logger, lines } = linesOf("warn");
    const bandwidth = new PodBandwidth({ limitEgress: () => Promise.reject(new Error("no room")) }, logger);
    expect(await bandwidth.apply(record, facts(1e6))).toBe(record);
    expect(lines).toEqual(["the pod's bandwidth is not limited: no room"]);
  });
});
