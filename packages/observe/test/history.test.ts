import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import { FakeClock, silentLogger } from "@axoneme/base";
import {
  compileRedaction,
  emptyResolver,
  type FlowResolver,
  type GetFlowsRequest,
  type GetFlowsResponse,
  RawStore,
  recordSize,
} from "@axoneme/flow";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  decodeFrame,
  decodeHead,
  encodeFrame,
  encodeHead,
  type Frame,
  frameBytes,
  headBytes,
  headLength,
} from "../src/history/format.ts";
import { type History, keepHistory, Observer, parseHistorySize } from "../src/index.ts";
import { batchOf, collect, type TestRecord } from "./records.ts";

const startMs = Date.parse("2026-11-20T12:00:00Z");
const log = silentLogger;
const limitBytes = 1 << 30;
/** A disk shared with others takes its time. */
const slow = { timeout: 60_000 };

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "axon-history-"));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

interface Setup {
  readonly observer: Observer;
  readonly history: History;
  readonly clock: FakeClock;
  add(...records: TestRecord[]): Promise<void>;
}

async function setUp(
  capacity: number,
  {
    seed = 0,
    ...more
  }: { seed?: number; segmentBytes?: number; limitBytes?: number; resolver?: FlowResolver } = {},
): Promise<Setup> {
  const clock = new FakeClock(startMs);
  const observer = new Observer({
    store: new RawStore({ capacity }),
    resolver: more.resolver ?? emptyResolver("node1"),
    version: "1",
    clock,
    seed: new Uint8Array(8).fill(seed),
  });
  const history = await keepHistory(observer, { dir, limitBytes, log, clock, ...more });
  const add = async (...records: TestRecord[]): Promise<void> => {
    for (let i = 0; i < records.length; i += 8) {
      const some = records.slice(i, i + 8);
      observer.ingest(batchOf(some), some.length);
      await history.flush();
    }
  };
  return { observer, history, clock, add };
}

const numbered = (from: number, to: number, more: TestRecord = {}): TestRecord[] =>
  Array.from({ length: to - from + 1 }, (_, i) => ({ dport: from + i, ms: (from + i) * 1000, ...more }));
const portOf = ({ flow, lost_events: lost }: GetFlowsResponse): number | string =>
  flow?.l4?.UDP?.destination_port ?? `lost ${lost?.num_events_lost}`;
const ports = async (observer: Observer, request: GetFlowsRequest): Promise<(number | string)[]> =>
  (await collect(observer.getFlows(request))).map(portOf);
const range = (from: number, to: number): number[] =>
  Array.from({ length: to - from + 1 }, (_, i) => from + i);
const at = (seconds: number): string => new Date(startMs + seconds * 1000).toISOString();
const files = (): string[] => readdirSync(dir).sort();
const newest = (): string => join(dir, files().at(-1) ?? "");

describe("history and ring together", () => {
  it("answer as one ring without bounds would: flows, their order and their UUIDs", slow, async () => {
    const filter = fc.constantFrom(
      [],
      [{ destination_port: ["7", "70", "170"] }],
      [{ verdict: ["DROPPED" as const] }],
    );
    const second = fc.option(fc.integer({ min: -5, max: 230 }), { nil: undefined });
    const queries = fc.array(
      fc.record({
        number: fc.integer({ min: 0, max: 250 }),
        first: fc.boolean(),
        since: second,
        until: second,
        filter,
      }),
      { minLength: 8, maxLength: 8 },
    );
    const batches = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 8 });
    await fc.assert(
      fc.asyncProperty(
        batches,
        fc.integer({ min: 2000, max: 20_000 }),
        queries,
        async (sizes, segmentBytes, asked) => {
          rmSync(dir, { recursive: true, force: true });
          const { observer, history, add } = await setUp(32, { segmentBytes });
          const whole = new Observer({
            store: new RawStore({ capacity: 1024 }),
            ...{
              resolver: emptyResolver("node1"),
              version: "1",
              clock: new FakeClock(startMs),
              seed: new Uint8Array(8),
            },
          });
          let next = 1;
          for (const size of sizes) {
            const records = numbered(next, next + size - 1).map((record, i) =>
              i % 5 === 0 ? { ...record, type: 1, subtype: 132 } : record,
            );
            next += size;
            whole.ingest(batchOf(records), records.length);
            await add(...records);
          }
          for (const { number, first, since, until, filter: whitelist } of asked) {
            const request: GetFlowsRequest = {
              ...{ number, first, whitelist },
              ...(since === undefined ? {} : { since: at(since) }),
              ...(until === undefined ? {} : { until: at(until) }),
            };
            expect(await collect(observer.getFlows(request))).toEqual(await collect(whole.getFlows(request)));
          }
          await history.stop();
        },
      ),
      { numRuns: 20 },
    );
  });

  it("goes on after a restart, with the flows of both runs in their order", async () => {
    const first = await setUp(16);
    await first.add(...numbered(1, 50));
    await first.history.stop();
    const second = await setUp(16, { seed: 1 });
    expect(await ports(second.observer, { number: 3 })).toEqual([48, 49, 50]);
    await second.add(...numbered(51, 90));
    expect(await ports(second.observer, {})).toEqual([...range(1, 74), ...range(75, 90)]);
    expect(await ports(second.observer, { number: 60 })).toEqual(range(31, 90));
    expect(await ports(second.observer, { since: at(45), until: at(55) })).toEqual(range(45, 55));
    expect(await ports(second.observer, { first: true, number: 2 })).toEqual([1, 2]);
    const [old] = await collect(second.observer.getFlows({ number: 1, until: at(50) }));
    expect(
      await collect(second.observer.getFlows({ whitelist: [{ uuid: [old?.flow?.uuid ?? ""] }] })),
    ).toEqual([old]);
    await second.history.stop();
  });

  it("follows after the past", async () => {
    const { observer, history, add } = await setUp(16);
    await add(...numbered(1, 40));
    const stop = new AbortController();
    const seen: (number | string)[] = [];
    for await (const response of observer.getFlows({ follow: true, number: 30 }, stop.signal)) {
      seen.push(portOf(response));
      if (seen.length === 30) await add(...numbered(41, 42));
      if (seen.length === 32) stop.abort();
    }
    expect(seen).toEqual(range(11, 42));
    await history.stop();
  });

  it("shows what the kernel lost", async () => {
    const { observer, history, add } = await setUp(16);
    observer.ingestLoss(7);
    await add(...numbered(1, 40));
    expect(await ports(observer, { since: at(-1) })).toContain("lost 7");
    await history.stop();
  });
});

describe("names", () => {
  it("are those of the time of the record, when the pod is gone and its address another's", async () => {
    const labels = ["k8s:app=shop"];
    let pod: string | undefined = "shop-1";
    let rule = "allow-shop";
    const resolver: FlowResolver = {
      ...emptyResolver("node1"),
      endpointById: (id) =>
        id === 5 && pod !== undefined
          ? { namespace: "shop", podName: pod, labels, endpointId: 5 }
          : undefined,
      identityById: (id) => (id === 1234 && pod !== undefined ? { labels, namespace: "shop" } : undefined),
      serviceByAddr: (_, port) =>
        port === 8000 && pod !== undefined ? { name: "front", namespace: "shop" } : undefined,
      namesOf: (_, endpoint) => (endpoint === 5 && pod !== undefined ? ["db.example.org"] : undefined),
      ruleById: (id) => (id === 9 ? { policies: [{ name: rule }] } : undefined),
      interfaceName: () => "eth0",
      processById: (id) => (id === 7 && pod !== undefined ? { binary: "/bin/shop", pid: 4711 } : undefined),
    };
    const { observer, history, add } = await setUp(16, { resolver });
    const record = {
      ...{ type: 5, flags: 1, srcEp: 5, srcIdentity: 1234, ruleEgress: 9, dport: 8000 },
      srcProcess: 7,
    };
    observer.ingest(batchOf([{ ...record, ms: 1000 }]), 1);
    const [live] = await collect(observer.getFlows({}));
    await history.flush();
    observer.ingestLayer7([dnsQuestion(startMs + 1500)]);
    await history.flush();
    pod = undefined;
    rule = "other";
    await add(...numbered(1, 100));
    const [past] = await collect(observer.getFlows({ first: true, number: 1 }));
    expect(past).toEqual(live);
    expect(past?.flow).toMatchObject({
      source: {
        pod_name: "shop-1",
        namespace: "shop",
        process: { binary: "/bin/shop" },
        labels,
        identity: 1234,
      },
      destination_service: { name: "front" },
      destination_names: ["db.example.org"],
      egress_allowed_by: [{ name: "allow-shop" }],
    });
    const dns = await collect(observer.getFlows({ whitelist: [{ dns_query: ["example"] }] }));
    expect(dns.map(({ flow }) => flow?.l7?.dns?.query)).toEqual(["db.example.org."]);
    await history.stop();
    const after = await setUp(16, { seed: 1 });
    expect((await collect(after.observer.getFlows({ first: true, number: 1 })))[0]).toEqual(live);
    await after.history.stop();
  });
});

function dnsQuestion(ms: number): Parameters<Observer["ingestLayer7"]>[0][number] {
  const ip = (last: number): Uint8Array =>
    Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 0, last);
  const side = (last: number, port: number) => ({ ip: ip(last), port, endpoint: 0, identity: 0 });
  return {
    ...{ timeNs: BigInt(ms) * 1_000_000n, source: side(1, 4000), destination: side(2, 53), proto: 17 },
    ...{
      direction: "EGRESS",
      outcome: "allowed",
      detail: { type: "REQUEST", dns: { query: "db.example.org." } },
    },
  };
}

it("secrets of messages are in no flow, and in no file of the history", async () => {
  const clock = new FakeClock(startMs);
  const redaction = compileRedaction({
    ...{ urlQuery: true, userInfo: true, headersAllow: [], headersDeny: [], kafkaApiKey: true },
  });
  const observer = new Observer({
    ...{
      store: new RawStore({ capacity: 16 }),
      resolver: emptyResolver("node1"),
      version: "1",
      clock,
      redaction,
    },
  });
  const history = await keepHistory(observer, { dir, limitBytes, log, clock });
  const http = {
    ...{ method: "GET", protocol: "HTTP/1.1", url: "http://me:secret1@shop/a?token=secret2" },
    headers: [{ key: "Cookie", value: "secret3" }],
  };
  const { flows } = observer.ingestLayer7([{ ...dnsQuestion(startMs), detail: { type: "REQUEST", http } }]);
  expect(flows()[0]).toMatchObject({
    Summary: "HTTP/1.1 GET http://me:HUBBLE_REDACTED@shop/a",
    l7: { http: { headers: [{ key: "Cookie", value: "HUBBLE_REDACTED" }] } },
  });
  expect(JSON.stringify(await collect(observer.getFlows({})))).not.toContain("secret");
  await history.stop();
  const written = readFileSync(newest(), "latin1");
  expect(written).toContain("HUBBLE_REDACTED");
  expect(written).not.toContain("secret");
});

describe("what goes wrong", () => {
  it(
    "an agent killed at any byte of a write leaves the frames before it, and the next one goes on",
    slow,
    async () => {
      const first = await setUp(64);
      await first.add(...numbered(1, 100));
      const torn = newest();
      const whole = readFileSync(torn);
      const ends = [
        headLength(whole),
        ...framesOf(torn).map((frame) => frame.offset + frameBytes(frame, recordSize)),
      ];
      await fc.assert(
        fc.asyncProperty(fc.integer({ min: 0, max: whole.length }), async (length) => {
          for (const name of files()) rmSync(join(dir, name));
          writeFileSync(torn, whole.subarray(0, length));
          const { observer, history, add } = await setUp(16, { seed: 1 });
          const before = await ports(observer, {});
          expect(before).toEqual(range(1, before.length));
          const end = ends.findLast((offset) => offset <= length);
          const lost =
            end === undefined ? { tornBytes: 0, unreadable: 1 } : { tornBytes: length - end, unreadable: 0 };
          expect(history.figures).toMatchObject(lost);
          await add(...numbered(201, 240));
          expect(await ports(observer, {})).toEqual([...before, ...range(201, 240)]);
          await history.stop();
        }),
        { numRuns: 40 },
      );
      await first.history.stop().catch(() => undefined);
    },
  );

  it("a changed byte costs the records around it and nothing else", slow, async () => {
    const first = await setUp(64);
    await first.add(...numbered(1, 100));
    await first.history.stop();
    const [path] = files().map((name) => join(dir, name));
    const whole = readFileSync(path ?? "");
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 0, max: whole.length - 1 }),
        fc.integer({ min: 1, max: 255 }),
        async (o, bits) => {
          const changed = Uint8Array.from(whole);
          changed[o] = (changed[o] ?? 0) ^ bits;
          writeFileSync(path ?? "", changed);
          const { observer, history } = await setUp(16, { seed: 1 });
          const seen = await ports(observer, {});
          const flows = seen.filter((port) => typeof port === "number");
          expect(flows).toEqual(range(1, 100).filter((port) => flows.includes(port)));
          const last = await ports(observer, { number: 5 });
          expect(last.filter((port) => typeof port === "number")).toEqual(flows.slice(-5));
          await history.stop();
        },
      ),
      { numRuns: 40 },
    );
  });

  it("a segment of another version is said and left alone until its turn to go", async () => {
    const first = await setUp(64);
    await first.add(...numbered(1, 10));
    await first.history.stop();
    const bytes = readFileSync(newest());
    bytes.writeUInt32LE(2, 8);
    writeFileSync(newest(), bytes);
    const { observer, history, add } = await setUp(16, { seed: 1 });
    expect(history.unreadable).toMatch(/has version 2; this agent reads 1$/);
    await add(...numbered(11, 12));
    expect(await ports(observer, {})).toEqual([11, 12]);
    expect(history.figures).toMatchObject({ unreadable: 1, written: 2, segments: 2 });
    await history.stop();
  });

  it("records of a build with other fields are shown by what both know", async () => {
    const first = await setUp(64);
    await first.add(...numbered(1, 3));
    await first.history.stop();
    const path = newest();
    rewriteAsOtherBuild(path);
    const { observer, history } = await setUp(16, { seed: 1 });
    expect(await ports(observer, {})).toEqual([1, 2, 3]);
    await history.stop();
  });

  it("a directory that is gone costs records, counted, and writing goes on when it is back", async () => {
    const { observer, history, clock, add } = await setUp(16, { segmentBytes: 2000 });
    await add(...numbered(1, 20));
    rmSync(dir, { recursive: true });
    await add(...numbered(21, 40));
    await add(...numbered(41, 60));
    expect(history.figures.problem).toMatch(/ENOENT/);
    expect(await ports(observer, { number: 4 })).toEqual([57, 58, 59, 60]);
    mkdirSync(dir);
    clock.advance(20_000);
    await add(...numbered(61, 64));
    expect(history.figures).toMatchObject({ problem: undefined });
    expect(history.figures.lost).toBeGreaterThan(0);
    expect(history.figures.written + history.figures.lost).toBe(64);
    await history.stop();
  });

  it("keeps to its limit by giving up the oldest, and counts nothing of it as lost", async () => {
    const { observer, history, add } = await setUp(16, { segmentBytes: 4000, limitBytes: 20_000 });
    for (let i = 0; i < 60; i++) await add(...numbered(i * 10 + 1, i * 10 + 10));
    const bytes = files().reduce((sum, name) => sum + statSync(join(dir, name)).size, 0);
    expect(bytes).toBeLessThan(22_000);
    expect(history.figures).toMatchObject({ bytes, lost: 0, written: 600 });
    const seen = await ports(observer, {});
    expect(seen).toEqual(range(Number(seen[0]), 600));
    expect(seen.length).toBeGreaterThan(50);
    await history.stop();
  });

  it("files are for the agent alone, and foreign files are left alone", async () => {
    writeFileSync(join(dir, "notes.txt"), "mine");
    const { history, add } = await setUp(16);
    await add(...numbered(1, 3));
    await history.stop();
    expect(statSync(newest().replace("notes.txt", files()[0] ?? "")).mode & 0o777).toBe(0o600);
    expect(files()).toContain("notes.txt");
  });
});

describe("readers that misbehave", () => {
  const openFiles = (): string[] =>
    readdirSync("/proc/self/fd").flatMap((fd) => {
      try {
        return [readlinkSync(`/proc/self/fd/${fd}`)].filter((path) => path.startsWith(dir));
      } catch {
        return []; // the one that was listing them
      }
    });

  it("one that vanishes in the past leaves no file open", async () => {
    const { observer, history, add } = await setUp(16, { segmentBytes: 4000 });
    await add(...numbered(1, 200));
    await history.stop();
    for (const request of [{}, { number: 150 }, { since: at(3) }] as GetFlowsRequest[]) {
      for await (const response of observer.getFlows(request)) {
        expect(portOf(response)).toBeLessThan(60);
        expect(openFiles()).toHaveLength(1);
        break;
      }
      expect(openFiles()).toEqual([]);
      const stop = new AbortController();
      for await (const _ of observer.getFlows(request, stop.signal)) stop.abort();
      expect(openFiles()).toEqual([]);
    }
  });

  it("one that is slow is told what went meanwhile: on disk, and in the ring", async () => {
    const { observer, history, add } = await setUp(16, { segmentBytes: 4000, limitBytes: 20_000 });
    await add(...numbered(1, 100));
    let got = 0;
    let lost = 0;
    let latest = 0;
    for await (const { flow, lost_events: gone } of observer.getFlows({})) {
      lost += Number(gone?.num_events_lost ?? 0);
      if (flow === undefined) continue;
      const port = flow.l4?.UDP?.destination_port ?? 0;
      expect(port).toBeGreaterThan(latest);
      latest = port;
      // All of what was there goes while it looks at the first.
      if (got++ === 0) await add(...numbered(101, 600));
    }
    expect(latest).toBe(600);
    expect(got + lost).toBe(600);
    expect(lost).toBeGreaterThan(300);
    await history.stop();
  });

  it("many at once read the same", async () => {
    const { observer, history, add } = await setUp(16, { segmentBytes: 4000 });
    await add(...numbered(1, 300));
    const requests: GetFlowsRequest[] = [{}, { number: 250 }, { since: at(100) }, { first: true, number: 9 }];
    const alone = await Promise.all(requests.map(async (request) => ports(observer, request)));
    expect(alone.map((seen) => [seen[0], seen.at(-1), seen.length])).toEqual([
      [1, 300, 300],
      [51, 300, 250],
      [100, 300, 201],
      [1, 9, 9],
    ]);
    await history.stop();
  });
});

/** Makes a segment one of a build whose records begin with eight bytes more and lack the last field. */
function rewriteAsOtherBuild(path: string): void {
  const bytes = readFileSync(path);
  const head = decodeHead(bytes.subarray(0, headLength(bytes)));
  const more = 8;
  const size = head.recordSize + more;
  const fields = Object.entries(head.fields).slice(0, -1);
  const other = encodeHead({
    ...head,
    recordSize: size,
    fields: Object.fromEntries(fields.map(([name, [o, n]]) => [name, [o + more, n]])),
  });
  const parts: Uint8Array[] = [other];
  let offset = other.length;
  for (const frame of framesOf(path)) {
    const start = frame.offset + headBytes;
    const names = bytes.subarray(start, start + frame.nameBytes);
    const records = new Uint8Array(frame.count * size).fill(0xee);
    for (let i = 0; i < frame.count; i++) {
      const from = start + frame.nameBytes + i * head.recordSize;
      records.set(bytes.subarray(from, from + head.recordSize), i * size + more);
    }
    const frameHead = new Uint8Array(headBytes);
    encodeFrame({ ...frame, offset, crc: crc32(records, crc32(names)) }, frameHead);
    parts.push(frameHead, names, records);
    offset += headBytes + names.length + records.length;
  }
  writeFileSync(path, Buffer.concat(parts));
}

function framesOf(path: string): Frame[] {
  const bytes = readFileSync(path);
  const length = headLength(bytes);
  const { recordSize: size } = decodeHead(bytes.subarray(0, length));
  const frames: Frame[] = [];
  for (let offset = length; ; ) {
    const frame = decodeFrame(bytes.subarray(offset, offset + headBytes), offset);
    if (frame === undefined) return frames;
    frames.push(frame);
    offset += frameBytes(frame, size);
  }
}

describe("its size", () => {
  it("is written as people write sizes", () => {
    expect(parseHistorySize("10GiB")).toBe(10 * 2 ** 30);
    expect(parseHistorySize("1.5Gi")).toBe(1.5 * 2 ** 30);
    expect(parseHistorySize("0")).toBe(0);
    for (const bad of ["10GB!", "5MiB", "-1GiB", "lots"])
      expect(() => parseHistorySize(bad)).toThrow(/size of the flow history/);
  });
});
