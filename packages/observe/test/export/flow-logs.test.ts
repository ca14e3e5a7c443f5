import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FakeClock, silentLogger, waitFor } from "@axoneme/base";
import { emptyResolver, type GetFlowsResponse, RawStore } from "@axoneme/flow";
import { Registry } from "prom-client";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { FlowLogs, type FlowLogsOptions } from "../../src/export/flow-logs.ts";
import { Observer } from "../../src/index.ts";
import { batchOf, collect, type TestRecord } from "../records.ts";

const startMs = Date.parse("2026-11-20T12:00:00Z");
let directory = "";
let running: FlowLogs[] = [];
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "axon-flow-logs-"));
});
afterEach(async () => {
  await Promise.all(running.map((logs) => logs.stop()));
  running = [];
  rmSync(directory, { recursive: true, force: true });
});

const path = (name: string): string => join(directory, name);

async function setUp(config: unknown, capacity = 1024) {
  const clock = new FakeClock(startMs);
  const store = new RawStore({ capacity });
  const seed = new Uint8Array(8);
  const observer = new Observer({ store, resolver: emptyResolver("node1"), version: "1", clock, seed });
  const registry = new Registry();
  const states: (string | undefined)[] = [];
  const configure = (wanted: unknown): void => writeFileSync(path("config.yaml"), JSON.stringify(wanted));
  configure(config);
  const options: FlowLogsOptions = {
    observer,
    registry,
    log: silentLogger,
    configPath: path("config.yaml"),
    clock,
    onState: (problem) => states.push(problem),
  };
  const logs = await FlowLogs.start(options);
  running.push(logs);
  const add = (...records: TestRecord[]): void => observer.ingest(batchOf(records), records.length);
  const value = async (name: string, labels = ""): Promise<number> => {
    const line = (await registry.getSingleMetricAsString(name))
      .split("\n")
      .find((l) => l.startsWith(`${name}${labels} `));
    return Number(line?.split(" ").at(-1) ?? Number.NaN);
  };
  return { clock, observer, logs, states, configure, add, value };
}

function linesOf(name: string): GetFlowsResponse[] {
  if (!existsSync(path(name))) return [];
  const text = readFileSync(path(name), "utf8");
  return text
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line) as GetFlowsResponse);
}

const portsOf = (name: string): (number | undefined)[] =>
  linesOf(name).map(({ flow }) => flow?.l4?.UDP?.destination_port);
const log = (name: string, more: object = {}): object => ({ name, filePath: path(`${name}.log`), ...more });
const port = (dport: number, more: TestRecord = {}): TestRecord => ({ dport, ...more });

describe("flow logs", () => {
  it("write what GetFlows gives, one object a line", async () => {
    const { observer, add } = await setUp({ flowLogs: [log("all")] });
    add(port(1), port(2, { type: 1, subtype: 132 }), port(3, { type: 5, flags: 2 }));
    await waitFor(() => linesOf("all.log").length === 4);
    expect(linesOf("all.log")).toEqual(await collect(observer.getFlows({})));
  });

  it("several at once, each with its filters and its fields", async () => {
    const { add } = await setUp({
      flowLogs: [
        log("all"),
        log("drops", {
          includeFilters: [{ verdict: ["DROPPED"] }],
          excludeFilters: [{ destination_port: ["3"] }],
          fieldMask: ["time", "verdict", "IP.source", "l4.UDP.destination_port", "l7.dns.query"],
        }),
      ],
    });
    add(port(1), port(2, { type: 1, subtype: 132, ms: 0 }), port(3, { type: 1, subtype: 132 }));
    await waitFor(() => linesOf("all.log").length === 3 && linesOf("drops.log").length === 1);
    expect(linesOf("drops.log")).toEqual([
      {
        flow: {
          time: "2026-11-20T12:00:00Z",
          verdict: "DROPPED",
          IP: { source: "10.0.0.1" },
          l4: { UDP: { destination_port: 2 } },
        },
        node_name: "node1",
        time: "2026-11-20T12:00:00Z",
      },
    ]);
  });

  it("logs come, change and go with the file; one that changes misses nothing and tells nothing twice", async () => {
    const { logs, configure, add, value } = await setUp({ flowLogs: [log("a")] });
    add(port(1));
    await waitFor(() => portsOf("a.log").length === 1);
    configure({ flowLogs: [log("a", { fieldMask: ["l4"] }), log("b")] });
    add(port(2));
    const looked = logs.look();
    add(port(3));
    await looked;
    add(port(4));
    await waitFor(() => portsOf("a.log").length === 4 && portsOf("b.log").length >= 1);
    expect(portsOf("a.log")).toEqual([1, 2, 3, 4]);
    expect(linesOf("a.log").at(-1)?.flow?.uuid).toBeUndefined();
    expect(portsOf("b.log").at(-1)).toBe(4);
    configure({ flowLogs: [] });
    await logs.look();
    add(port(5));
    expect(portsOf("a.log")).toEqual([1, 2, 3, 4]);
    const reconfigured = "hubble_dynamic_exporter_reconfigurations_total";
    expect(await value(reconfigured, '{op="add"}')).toBe(2);
    expect(await value(reconfigured, '{op="update"}')).toBe(1);
    expect(await value(reconfigured, '{op="remove"}')).toBe(2);
  });

  it("the file is looked at again by itself", async () => {
    const { clock, configure, add } = await setUp({ flowLogs: [] });
    configure({ flowLogs: [log("late")] });
    clock.advance(5000);
    await waitFor(() => {
      add(port(1));
      return linesOf("late.log").length > 0;
    });
  });

  it("a file that is wrong changes nothing, and is told", async () => {
    const { logs, states, configure, add } = await setUp({ flowLogs: [log("a")] });
    configure({ flowLogs: [log("a", { fieldMask: ["nothing"] })] });
    await logs.look();
    rmSync(path("config.yaml"));
    await logs.look();
    add(port(1));
    await waitFor(() => portsOf("a.log").length === 1);
    expect(states).toEqual([
      undefined,
      expect.stringContaining('no field "nothing"'),
      expect.stringContaining("cannot be read"),
    ]);
    configure({ flowLogs: [log("a")] });
    await logs.look();
    expect(states.at(-1)).toBeUndefined();
  });

  it("a log ends when its time is over", async () => {
    const { clock, logs, add, value } = await setUp({
      flowLogs: [log("a", { end: "2026-11-20T12:00:10Z" }), log("b")],
    });
    add(port(1));
    await waitFor(() => portsOf("b.log").length === 1);
    add(port(2, { ms: 11_000 }));
    await waitFor(() => portsOf("b.log").length === 2);
    clock.advance(11_000);
    await logs.look();
    expect(portsOf("a.log")).toEqual([1]);
    expect(await value("hubble_dynamic_exporter_up", '{name="a"}')).toBe(0);
    expect(await value("hubble_dynamic_exporter_up", '{name="b"}')).toBe(1);
    expect(await value("hubble_dynamic_exporter_exporters_total", '{status="inactive"}')).toBe(1);
  });

  it("what the store overwrites first is counted exactly, in the metric and in the file", async () => {
    const { add, value } = await setUp({ flowLogs: [log("a")] }, 64);
    add(port(1));
    await waitFor(() => portsOf("a.log").length === 1);
    for (let i = 0; i < 10; i++) add(...Array.from({ length: 50 }, () => port(7)));
    await waitFor(() => linesOf("a.log").length >= 66);
    const lost = linesOf("a.log").reduce(
      (sum, line) => sum + Number(line.lost_events?.num_events_lost ?? 0),
      0,
    );
    expect(lost).toBe(500 - 64);
    expect(await value("axoneme_flow_log_lost_total", '{name="a",reason="overrun"}')).toBe(lost);
    expect(await value("axoneme_flow_log_flows_total", '{name="a"}')).toBe(65);
  });

  it("a file that cannot be written costs its flows, which are counted, and nobody else's", async () => {
    const { logs, states, add, value } = await setUp({ flowLogs: [log("a"), log("b")] });
    mkdirSync(path("a.log"));
    add(port(1), port(2));
    const failed = () => value("axoneme_flow_log_lost_total", '{name="a",reason="write"}');
    await waitFor(async () => (await failed()) === 2 && portsOf("b.log").length === 2);
    await logs.look();
    expect(states.at(-1)).toContain("EISDIR");
    rmSync(path("a.log"), { recursive: true });
    add(port(3));
    await waitFor(() => portsOf("a.log").length === 1);
    expect(portsOf("a.log")).toEqual([3]);
    await logs.look();
    expect(states.at(-1)).toBeUndefined();
  });
});
