import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Emitter, FakeClock, silentLogger, waitFor } from "@axoneme/base";
import { emptyResolver, RawStore } from "@axoneme/flow";
import { Connection } from "@axoneme/grpc";
import { GetDebugEventsResponseSchema } from "@axoneme/proto";
import { fromBinary } from "@bufbuild/protobuf";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import {
  type DebugEventResponse,
  type EventsRequest,
  type HubbleClient,
  type HubbleServer,
  Observer,
  openHubble,
  type PeerChange,
  serveHubble,
} from "../src/index.ts";
import { batchOf, collect } from "./records.ts";

vi.setConfig({ testTimeout: 20_000 });

const startMs = Date.parse("2026-11-20T12:00:00Z");
const at = (seconds: number): string => new Date(startMs + seconds * 1000).toISOString();

let dir: string;
let observer: Observer;
let server: HubbleServer;
let client: HubbleClient;

/** Packets of established connections to ports from..to, a second apart: each a conntrack verdict and a delivery. */
function add(from: number, to: number): void {
  const records = Array.from({ length: to - from + 1 }, (_, i) => ({
    ...{ dport: from + i, ms: (from + i) * 1000, reason: 1, srcEp: 7, dstEp: 8, srcIdentity: 1000 },
  }));
  observer.ingest(batchOf(records), records.length);
}

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), "axon-debug-"));
  const resolver = {
    ...emptyResolver("node1"),
    endpointById: (id: number) => ({ namespace: "shop", podName: `pod-${id}` }),
  };
  const store = new RawStore({ capacity: 16 });
  observer = new Observer({ store, resolver, version: "1", clock: new FakeClock(startMs) });
  const socketPath = join(dir, "hubble.sock");
  server = await serveHubble({
    ...{ observer, resolver, clusterName: "default", version: "1", socketPath, log: silentLogger },
    peers: { list: () => [], changes: new Emitter<PeerChange>() },
  });
  client = await openHubble({ target: { path: socketPath } }, 1000);
});

afterEach(async () => {
  client.close();
  await server.stop();
  rmSync(dir, { recursive: true });
});

const ask = (request: EventsRequest, signal = new AbortController().signal) =>
  client.debugEvents(request, signal);

/** `3c` is the conntrack verdict of the packet at second 3, `3d` its delivery. */
const brief = ({ debug_event: event, time }: DebugEventResponse): string =>
  `${(Date.parse(time ?? "") - startMs) / 1000}${event?.type === "DBG_CT_VERDICT" ? "c" : "d"}`;

describe("GetDebugEvents", () => {
  it.each<[EventsRequest, string]>([
    [{}, "1c,1d,2c,2d,3c,3d,4c,4d,5c,5d"],
    [{ number: 3 }, "4d,5c,5d"],
    [{ number: 3, first: true }, "1c,1d,2c"],
    [{ number: 100 }, "1c,1d,2c,2d,3c,3d,4c,4d,5c,5d"],
    [{ since: at(4) }, "4c,4d,5c,5d"],
    [{ since: at(2), until: at(3) }, "2c,2d,3c,3d"],
    [{ until: at(3), number: 1 }, "3d"],
    [{ since: at(2), number: 1 }, "2c"],
    [{ until: at(2), first: true, number: 9 }, "1c,1d,2c,2d"],
  ])("%j", async (request, expected) => {
    add(1, 5);
    expect((await collect(ask(request))).map(brief).join()).toBe(expected);
  });

  it("says all of an event, zero arguments too", async () => {
    add(1, 1);
    const [first, second] = await collect(ask({}));
    expect(first).toEqual({
      debug_event: {
        type: "DBG_CT_VERDICT",
        source: { ID: 7, identity: 1000, namespace: "shop", pod_name: "pod-7" },
        hash: expect.any(Number) as number,
        arg1: 1,
        message: "conntrack: established, 10.0.0.1 -> 10.0.0.2:1 UDP",
        cpu: 0,
      },
      node_name: "node1",
      time: "2026-11-20T12:00:01Z",
    });
    expect(second?.debug_event).toMatchObject({ type: "DBG_LOCAL_DELIVERY", arg1: 8, arg2: 1000 });
  });

  it("follow: from now on, or from the last ones; the stream is released", async () => {
    add(1, 3);
    const stop = new AbortController();
    const seen: string[][] = [[], []];
    const follow = async (i: number, request: EventsRequest): Promise<void> => {
      for await (const event of ask({ ...request, follow: true }, stop.signal)) seen[i]?.push(brief(event));
    };
    const following = Promise.allSettled([follow(0, {}), follow(1, { number: 1 })]);
    await waitFor(() => server.streams === 2 && seen[1]?.join() === "3d", { what: "the last one" });
    add(4, 4);
    await waitFor(() => seen[0]?.join() === "4c,4d" && seen[1]?.join() === "3d,4c,4d", { what: "new ones" });
    stop.abort();
    await following;
    await waitFor(() => server.streams === 0, { what: "a released stream" });
  });

  it("what is overwritten is gone; layer 7 and losses have none", async () => {
    add(1, 20);
    observer.ingestLoss(3);
    const records = [{ type: 129, ms: 21_000 }];
    observer.ingest(batchOf(records), 1);
    const seen = (await collect(ask({}))).map(brief);
    expect(seen.at(-1)).toBe("20d");
    expect(seen.length).toBeLessThanOrEqual(32);
  });

  it("refuses what contradicts itself, and passes over fields it does not know", async () => {
    await expect(ask({ first: true, follow: true }).next()).rejects.toMatchObject({ status: 3 });
    add(1, 2);
    const connection = await Connection.open({ target: { path: join(dir, "hubble.sock") } });
    // number = 1, and field 150000 with the bytes "xy"
    const request = Uint8Array.of(0x08, 1, 0x82, 0x9f, 0x49, 2, 0x78, 0x79);
    const path = "/observer.Observer/GetDebugEvents";
    const found: unknown[] = [];
    for await (const messages of connection.stream(path, request, new AbortController().signal))
      for (const message of messages)
        found.push(fromBinary(GetDebugEventsResponseSchema, message).debugEvent?.arg1);
    connection.close();
    expect(found).toEqual([8]);
  });
});
