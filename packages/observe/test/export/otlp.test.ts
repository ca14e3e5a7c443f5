import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { silentLogger, waitFor } from "@axoneme/base";
import { emptyResolver, RawStore } from "@axoneme/flow";
import { afterEach, expect, test } from "vitest";
import { parseFlowLog } from "../../src/export/config.ts";
import { FlowLog } from "../../src/export/flow-log.ts";
import { OtlpSink, otlpAddress } from "../../src/export/otlp.ts";
import { Observer } from "../../src/index.ts";
import { batchOf } from "../records.ts";

interface Taken {
  readonly resourceLogs: readonly {
    readonly resource: { readonly attributes: readonly object[] };
    readonly scopeLogs: readonly { readonly logRecords: readonly Record<string, unknown>[] }[];
  }[];
}

const never = new AbortController().signal;
let collector: Server | undefined;
let log: FlowLog | undefined;
afterEach(async () => {
  await log?.stop();
  log = undefined;
  await new Promise((resolve) => collector?.close(resolve));
});

/** A collector that answers with these statuses in turn, then 200, and keeps what it took. */
async function collect(
  statuses: number[] = [],
  answer: object = {},
): Promise<{ url: string; taken: Taken[]; calls: () => number }> {
  const taken: Taken[] = [];
  let calls = 0;
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      calls++;
      const status = statuses.shift() ?? 200;
      if (status === 200) taken.push(JSON.parse(Buffer.concat(chunks).toString()) as Taken);
      response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(answer));
    });
  });
  collector = server;
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return { url: `otlp+http://127.0.0.1:${port}/v1/logs`, taken, calls: () => calls };
}

const recordsOf = (taken: readonly Taken[]) =>
  taken.flatMap(({ resourceLogs }) =>
    resourceLogs.flatMap(({ scopeLogs }) => scopeLogs.flatMap((one) => one.logRecords)),
  );

test("flows go to a collector as log records", async () => {
  const { url, taken } = await collect();
  const store = new RawStore({ capacity: 64 });
  const observer = new Observer({ store, resolver: emptyResolver("node1"), version: "1" });
  const config = parseFlowLog({ name: "out", filePath: url }, "flowLogs[0]");
  log = new FlowLog(config, observer, silentLogger);
  observer.ingest(batchOf([{ dport: 53 }, { dport: 5353 }]), 2);
  await waitFor(() => recordsOf(taken).length === 2, { what: "both flows at the collector" });
  expect(taken[0]?.resourceLogs[0]?.resource.attributes).toContainEqual({
    key: "service.name",
    value: { stringValue: "axoneme" },
  });
  const [first, second] = recordsOf(taken);
  expect(first).toMatchObject({
    severityText: "INFO",
    severityNumber: 9,
    timeUnixNano: expect.stringMatching(/^\d{19}$/),
  });
  expect(first?.["attributes"]).toContainEqual({ key: "destination.port", value: { intValue: "53" } });
  expect(JSON.stringify(second?.["body"])).toContain('"key":"destination_port","value":{"intValue":"5353"}');
  await waitFor(() => log?.figures.written === 2, { what: "both to be counted" });
});

test("a collector that is busy is asked again, one that refuses is not", async () => {
  const busy = await collect([503, 429]);
  const url = otlpAddress(busy.url);
  if (url === undefined) throw new Error("no address");
  const line = JSON.stringify({ flow: { time: "2026-11-20T12:00:00Z", uuid: "u", verdict: "DROPPED" } });
  expect(await new OtlpSink(url, never).write([line])).toEqual({ written: 1, error: undefined });
  expect(busy.calls()).toBe(3);
  expect(recordsOf(busy.taken)[0]).toMatchObject({ severityText: "WARN" });
  await new Promise((resolve) => collector?.close(resolve));

  const strict = await collect([400]);
  const refused = await new OtlpSink(new URL(strict.url.slice("otlp+".length)), never).write([line]);
  expect(refused).toMatchObject({ written: 0, error: expect.objectContaining({ code: "observe.otlp" }) });
  expect(strict.calls()).toBe(1);
});

test("what a collector takes in part only is not counted as written", async () => {
  const { url } = await collect([], { partialSuccess: { rejectedLogRecords: "1", errorMessage: "too old" } });
  const line = JSON.stringify({ flow: { time: "2026-11-20T12:00:00Z", uuid: "u" } });
  const { written, error } = await new OtlpSink(new URL(url.slice("otlp+".length)), never).write([line]);
  expect(written).toBe(0);
  expect(String(error)).toContain("too old");
});

test.each(["otlp+ftp://x/", "otlp+http://user:pw@host/", "otlp+nothing"])(
  "%s is refused with its log's name",
  (filePath) => {
    expect(() => parseFlowLog({ name: "out", filePath }, "flowLogs[0]")).toThrow(
      /log "out" .*is no collector/,
    );
  },
);

test("a collector that hangs does not hold up a stop", async () => {
  const server = createServer(() => undefined);
  collector = server;
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const stop = new AbortController();
  const sink = new OtlpSink(new URL(`http://127.0.0.1:${port}/v1/logs`), stop.signal);
  const line = JSON.stringify({ flow: { time: "2026-11-20T12:00:00Z", uuid: "u" } });
  const written = sink.write([line]);
  stop.abort();
  const begin = performance.now();
  expect(await written).toMatchObject({
    written: 0,
    error: expect.objectContaining({ code: "observe.otlp" }),
  });
  // Its own patience is 10 s, four times.
  expect(performance.now() - begin).toBeLessThan(8000);
  server.closeAllConnections();
}, 20_000);
