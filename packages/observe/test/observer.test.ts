import { FakeClock, waitFor } from "@axoneme/base";
import { emptyResolver, type GetFlowsRequest, type GetFlowsResponse, RawStore } from "@axoneme/flow";
import { describe, expect, it } from "vitest";
import { type MonitorLine, Observer } from "../src/index.ts";
import { batchOf, collect, type TestRecord } from "./records.ts";

const startMs = Date.parse("2026-11-20T12:00:00Z");

function setUp(capacity = 1024): {
  observer: Observer;
  clock: FakeClock;
  add: (...records: TestRecord[]) => void;
} {
  const clock = new FakeClock(startMs);
  const store = new RawStore({ capacity });
  const observer = new Observer({
    store,
    resolver: emptyResolver("node1"),
    version: "1",
    clock,
    seed: new Uint8Array(8),
  });
  return { observer, clock, add: (...records) => observer.ingest(batchOf(records), records.length) };
}

/** Ports are serial numbers in these tests. */
const numbered = (from: number, to: number, more: TestRecord = {}): TestRecord[] =>
  Array.from({ length: to - from + 1 }, (_, i) => ({ dport: from + i, ms: (from + i) * 1000, ...more }));

const portOf = ({ flow, lost_events: lost }: GetFlowsResponse): number | string =>
  flow?.l4?.UDP?.destination_port ?? `lost ${lost?.source} ${lost?.num_events_lost}`;

async function ports(observer: Observer, request: GetFlowsRequest): Promise<(number | string)[]> {
  const found: (number | string)[] = [];
  for await (const response of observer.getFlows(request)) found.push(portOf(response));
  return found;
}

const at = (seconds: number): string => new Date(startMs + seconds * 1000).toISOString();

describe("what a request selects", () => {
  it("nothing said: the whole store, oldest first", async () => {
    const { observer, add } = setUp();
    add(...numbered(1, 5));
    expect(await ports(observer, {})).toEqual([1, 2, 3, 4, 5]);
  });

  it("number: the last N", async () => {
    const { observer, add } = setUp();
    add(...numbered(1, 5));
    expect(await ports(observer, { number: 2 })).toEqual([4, 5]);
    expect(await ports(observer, { number: 99 })).toEqual([1, 2, 3, 4, 5]);
  });

  it("number counts what matches", async () => {
    const { observer, add } = setUp();
    add(...numbered(1, 3), { type: 1, subtype: 132, dport: 4 }, ...numbered(5, 9));
    expect(await ports(observer, { number: 1, whitelist: [{ verdict: ["DROPPED"] }] })).toEqual([4]);
    expect(await ports(observer, { number: 3, blacklist: [{ destination_port: ["8"] }] })).toEqual([6, 7, 9]);
  });

  it("number counts flows, also when a record stands for several", async () => {
    const { observer, add } = setUp();
    add({ type: 5, flags: 3, dport: 1 }, { type: 5, flags: 3, dport: 2 });
    expect(await ports(observer, {})).toEqual([1, 1, 1, 2, 2, 2]);
    expect(await ports(observer, { number: 4 })).toEqual([1, 2, 2, 2]);
    expect(await ports(observer, { number: 4, first: true })).toEqual([1, 1, 1, 2]);
  });

  it("first: the oldest N", async () => {
    const { observer, add } = setUp(16);
    add(...numbered(1, 20));
    expect(await ports(observer, { number: 2, first: true })).toEqual([5, 6]);
  });

  it("since, until, and since before number", async () => {
    const { observer, add } = setUp();
    add(...numbered(1, 9));
    expect(await ports(observer, { since: at(7) })).toEqual([7, 8, 9]);
    expect(await ports(observer, { until: at(2) })).toEqual([1, 2]);
    expect(await ports(observer, { since: at(3), until: at(5) })).toEqual([3, 4, 5]);
    expect(await ports(observer, { since: at(3), number: 2 })).toEqual([3, 4]);
    expect(await ports(observer, { until: at(5), number: 2 })).toEqual([4, 5]);
    expect(await ports(observer, { since: at(100) })).toEqual([]);
  });

  it("reads more than one slice", async () => {
    const { observer, add } = setUp(32_768);
    add(...Array.from({ length: 20_000 }, (_, i) => ({ dport: i % 60_000 })));
    expect((await ports(observer, {})).length).toBe(20_000);
    expect(await ports(observer, { number: 1, whitelist: [{ destination_port: ["7"] }] })).toEqual([7]);
  });

  it("refuses what cannot be meant, before the stream begins", () => {
    const { observer } = setUp();
    expect(() => observer.getFlows({ first: true, follow: true })).toThrow("exclude each other");
    expect(() => observer.getFlows({ since: "yesterday" })).toThrow("RFC 3339");
    expect(() => observer.getFlows({ whitelist: [{ source_ip: ["x"] }] })).toThrow("source_ip");
  });

  it("gives each flow its time, node and a UUID that stays", async () => {
    const { observer, add } = setUp();
    add(...numbered(1, 2));
    const read = async (): Promise<GetFlowsResponse[]> => collect(observer.getFlows({}));
    const [first, second] = await read();
    expect(first).toMatchObject({ node_name: "node1", time: "2026-11-20T12:00:01Z" });
    expect(first?.flow?.uuid).not.toBe(second?.flow?.uuid);
    expect((await read())[0]?.flow?.uuid).toBe(first?.flow?.uuid);
    const again = { whitelist: [{ uuid: [second?.flow?.uuid ?? ""] }] };
    expect(await ports(observer, again)).toEqual([2]);
  });
});

/** Reads a stream in the background. */
function follow(
  observer: Observer,
  request: GetFlowsRequest,
): { seen: (number | string)[]; stop: () => Promise<void> } {
  const seen: (number | string)[] = [];
  const stop = new AbortController();
  const ended = (async () => {
    for await (const response of observer.getFlows({ ...request, follow: true }, stop.signal)) {
      seen.push(portOf(response));
    }
  })();
  return {
    seen,
    stop: () => {
      stop.abort();
      return ended;
    },
  };
}

describe("following", () => {
  it("starts now, and goes on as records come, whatever their number", async () => {
    const { observer, add } = setUp();
    add(...numbered(1, 3));
    const reader = follow(observer, {});
    await waitFor(() => observer.store.onAppend.listenerCount > 0);
    add(...numbered(4, 5));
    await waitFor(() => reader.seen.length === 2);
    add(...numbered(6, 6));
    await waitFor(() => reader.seen.length === 3);
    await reader.stop();
    expect(reader.seen).toEqual([4, 5, 6]);
    expect(observer.store.onAppend.listenerCount).toBe(0);
  });

  it("with a number: the last N first", async () => {
    const { observer, add } = setUp();
    add(...numbered(1, 9));
    const reader = follow(observer, { number: 2 });
    await waitFor(() => reader.seen.length === 2);
    add(...numbered(10, 13));
    await waitFor(() => reader.seen.length === 6);
    await reader.stop();
    expect(reader.seen).toEqual([8, 9, 10, 11, 12, 13]);
  });

  it("with since: from then on", async () => {
    const { observer, add } = setUp();
    add(...numbered(1, 9));
    const reader = follow(observer, { since: at(8) });
    await waitFor(() => reader.seen.length === 2);
    add(...numbered(10, 10));
    await waitFor(() => reader.seen.length === 3);
    await reader.stop();
  });

  it("a reader that returns early leaves nothing behind", async () => {
    const { observer, add } = setUp();
    const stream = observer.getFlows({ follow: true });
    const first = stream.next();
    await waitFor(() => observer.store.onAppend.listenerCount > 0);
    add(...numbered(1, 1));
    expect((await first).value).toBeDefined();
    await stream.return();
    expect(observer.store.onAppend.listenerCount).toBe(0);
  });

  it("a slow reader is told how much it missed, to the record", async () => {
    const { observer, add } = setUp(16);
    const counted: number[] = [];
    observer.readerLost.on((count) => counted.push(count));
    add(...numbered(1, 1));
    const stream = observer.getFlows({ follow: true, number: 1 });
    expect(portOf((await stream.next()).value as GetFlowsResponse)).toBe(1);
    add(...numbered(2, 41));
    const lost = (await stream.next()).value as GetFlowsResponse;
    expect(lost).toMatchObject({ lost_events: { source: "HUBBLE_RING_BUFFER", num_events_lost: "24" } });
    expect(counted).toEqual([24]);
    expect(portOf((await stream.next()).value as GetFlowsResponse)).toBe(26);
    await stream.return();
  });

  it("a reader that pauses in the middle of a slice misses nothing uncounted", async () => {
    const { observer, add } = setUp(2048);
    add(...numbered(1, 2000));
    const stream = observer.getFlowBatches({ follow: true, since: at(0) });
    const first = (await stream.next()).value as GetFlowsResponse[];
    add(...numbered(2001, 4000));
    let flows = first.length;
    let lost = 0;
    while (flows + lost < 4000) {
      const { value, done } = await stream.next();
      if (done === true) break;
      for (const response of value) {
        if (response.flow !== undefined) flows++;
        else lost += Number(response.lost_events?.num_events_lost);
      }
    }
    await stream.return();
    expect(lost).toBeGreaterThan(0);
    expect(flows + lost).toBe(4000);
  });
});

describe("losses", () => {
  it("are told in their place, whatever the filter, and do not count", async () => {
    const { observer, add } = setUp();
    add(...numbered(1, 2));
    observer.ingestLoss(7);
    add(...numbered(3, 3));
    const lost = "lost PERF_EVENT_RING_BUFFER 7";
    expect(await ports(observer, {})).toEqual([1, 2, lost, 3]);
    expect(await ports(observer, { number: 2, whitelist: [{ protocol: ["udp"] }] })).toEqual([2, lost, 3]);
    expect(await ports(observer, { whitelist: [{ protocol: ["tcp"] }] })).toEqual([lost]);
  });
});

it("knows its figures", () => {
  const { observer, clock, add } = setUp(16);
  add(...numbered(0, 9, { ms: 0 }), ...numbered(10, 39, { ms: 0 }));
  clock.advance(10_000);
  expect(observer.status()).toEqual({
    num_flows: "16",
    max_flows: "16",
    seen_flows: "40",
    uptime_ns: "10000000000",
    version: "1",
    flows_rate: 1.6,
  });
});

it("follows a step of the wall clock", async () => {
  let wall = startMs;
  let mono = 0n;
  const clock = { now: () => wall, monotonicNs: () => mono, setTimer: () => ({ cancel: () => undefined }) };
  const store = new RawStore({ capacity: 16 });
  const observer = new Observer({ store, resolver: emptyResolver("n"), version: "1", clock });
  observer.ingest(batchOf([{ ms: 0 }]), 1);
  mono += 1_000_000_000n;
  wall += 3_601_000;
  observer.ingest(batchOf([{ ms: 1000 }]), 1);
  expect(store.timeNs(1) - store.timeNs(0)).toBe(3_601_000_000_000n);
});

describe("monitor", () => {
  const lines = async (
    observer: Observer,
    query: Parameters<Observer["events"]>[0],
  ): Promise<MonitorLine[]> => collect(observer.events(query));

  it("shows records as they are", async () => {
    const { observer, add } = setUp();
    add({ type: 1, subtype: 133, flags: 2 | 64, proto: 6, tcpFlags: 2, dport: 80, srcEp: 10, dstEp: 20 });
    expect(await lines(observer, {})).toEqual([
      {
        record: {
          seq: 0,
          time: "2026-11-20T12:00:00Z",
          type: "drop",
          subtype: "Policy denied",
          flags: ["ingress", "denied-ingress"],
          protocol: "TCP",
          tcpFlags: "SYN",
          source: "10.0.0.1",
          destination: "10.0.0.2:80",
          srcIdentity: 0,
          dstIdentity: 0,
          srcEndpoint: 10,
          dstEndpoint: 20,
          ruleEgress: 0,
          ruleIngress: 0,
          ifindex: 0,
          length: 100,
          cpu: 0,
        },
      },
    ]);
  });

  it("selects by type and endpoint, the last N of those", async () => {
    const { observer, add } = setUp();
    add({ type: 1, srcEp: 1 }, { type: 4, srcEp: 1, dstEp: 2 }, { type: 4, srcEp: 3 }, { type: 4, srcEp: 1 });
    const seqs = async (query: Parameters<Observer["events"]>[0]): Promise<(number | undefined)[]> =>
      (await lines(observer, query)).map((line) => ("record" in line ? line.record.seq : undefined));
    expect(await seqs({ type: ["drop"] })).toEqual([0]);
    expect(await seqs({ from: [1] })).toEqual([0, 1, 3]);
    expect(await seqs({ from: [1], last: 2 })).toEqual([1, 3]);
    expect(await seqs({ to: [2] })).toEqual([1]);
  });
});
