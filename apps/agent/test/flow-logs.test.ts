import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Lifecycle, parseOptions } from "@axoneme/app";
import { silentLogger, waitFor } from "@axoneme/base";
import { at, emptyResolver, RawStore, recordSize } from "@axoneme/flow";
import { Observer } from "@axoneme/observe";
import { Registry } from "prom-client";
import { afterEach, beforeEach, expect, it } from "vitest";
import { addFlowLogs } from "../src/flow-logs.ts";
import { agentOptions } from "../src/options.ts";

let directory = "";
let lifecycle = new Lifecycle(silentLogger);
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "axon-agent-logs-"));
  lifecycle = new Lifecycle(silentLogger);
});
afterEach(async () => {
  await lifecycle.stop();
  rmSync(directory, { recursive: true, force: true });
});

async function start(raw: Record<string, unknown>): Promise<(type: number) => void> {
  const store = new RawStore({ capacity: 64 });
  const observer = new Observer({ store, resolver: emptyResolver("node1"), version: "1" });
  addFlowLogs(lifecycle, parseOptions(agentOptions, raw), observer, new Registry(), silentLogger);
  await lifecycle.start();
  return (type) => {
    const record = new Uint8Array(recordSize);
    record[at.type] = type;
    observer.ingest(record, 1);
  };
}

const path = (name: string): string => join(directory, name);
const lines = (name: string): string[] =>
  existsSync(path(name)) ? readFileSync(path(name), "utf8").split("\n").slice(0, -1) : [];

it("nothing asked for: no module", async () => {
  await start({});
  expect(lifecycle.health.modules()).toEqual([]);
});

it("the options' own log, and those of the file", async () => {
  writeFileSync(path("logs.yaml"), `flowLogs: [{name: all, filePath: ${path("all.log")}}]`);
  const add = await start({
    hubbleExportFilePath: path("static.log"),
    hubbleExportAllowlist: ['{"verdict":["DROPPED"]}'],
    hubbleExportFieldmask: ["verdict"],
    hubbleFlowlogsConfigPath: path("logs.yaml"),
  });
  add(1);
  add(4);
  await waitFor(() => lines("all.log").length === 2 && lines("static.log").length === 1);
  expect(JSON.parse(lines("static.log")[0] ?? "")).toMatchObject({
    flow: { verdict: "DROPPED" },
    node_name: "node1",
  });
  expect(lifecycle.health.modules()).toMatchObject([{ name: "flow-logs", state: "ok", message: "2 logs" }]);
});

it.each([
  [
    { hubbleExportFilePath: "/tmp/never.log", hubbleExportDenylist: ["verdict"] },
    "hubbleExportDenylist: verdict is not a filter",
  ],
  [{ hubbleExportFilePath: "/tmp/never.log", hubbleExportFieldmask: ["pod"] }, 'no field "pod"'],
  [{ hubbleFlowlogsConfigPath: "/nowhere/logs.yaml" }, '"/nowhere/logs.yaml" cannot be read'],
])("what is wrong costs the logs, not the agent: %o", async (raw, message) => {
  await start(raw);
  expect(lifecycle.health.modules()).toMatchObject([
    { name: "flow-logs", state: "degraded", message: expect.stringContaining(message) },
  ]);
});
