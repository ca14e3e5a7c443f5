import { parseOptions } from "@axoneme/app";
import { hostPrefix, parseIp, silentLogger } from "@axoneme/base";
import { at, emptyResolver, recordSize } from "@axoneme/flow";
import { Ipcache } from "@axoneme/identity";
import { Registry } from "prom-client";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { createFlowMetrics } from "../src/metrics/flow-metrics.ts";
import { agentOptions } from "../src/options.ts";
import { linesOf } from "./logger.ts";

beforeEach(() => void vi.useFakeTimers({ toFake: ["performance"] }));
afterEach(() => void vi.useRealTimers());

it("series of pods that leave the ipcache go", async () => {
  const registry = new Registry();
  const ipcache = new Ipcache();
  const config = parseOptions(agentOptions, { hubbleMetrics: ["flow:sourceContext=pod"] });
  const resolver = {
    ...emptyResolver("node1"),
    byIp: () => ({ namespace: "shop", podName: "web-1" }),
  };
  const metrics = createFlowMetrics(config, registry, resolver, ipcache, silentLogger);
  const address = hostPrefix(parseIp("10.0.0.1"));
  ipcache.upsert(address, "local", "web-1", { identity: 1000, pod: { namespace: "shop", name: "web-1" } });
  const record = new Uint8Array(recordSize);
  record[at.type] = 4;
  metrics.count(record, 1);
  const text = () => registry.getSingleMetricAsString("hubble_flows_processed_total");
  expect(await text()).toContain('source="shop/web-1"');
  ipcache.delete(address, "local", "web-1");
  expect(await text()).toContain('source="shop/web-1"');
  vi.advanceTimersByTime(61_000);
  expect(await text()).not.toContain("web-1");
});

it("what is not understood stops the start, what is not observed is said", () => {
  const make = (hubbleMetrics: string[], logger = silentLogger) =>
    createFlowMetrics(
      parseOptions(agentOptions, { hubbleMetrics }),
      new Registry(),
      emptyResolver("node1"),
      new Ipcache(),
      logger,
    );
  expect(() => make(["flow:sourceContext=name"])).toThrow('sourceContext has the unknown value "name"');
  const { logger, lines } = linesOf("warn");
  make(["flow", "httpV2:labelsContext=source_ip"], logger);
  expect(lines).toEqual([
    "these metrics of hubbleMetrics count nothing: what they are about is not observed",
  ]);
});
