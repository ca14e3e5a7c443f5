import { GetFlowsResponseSchema, JsonEncoder } from "@axoneme/proto";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Merge } from "../../src/relay/merge.ts";
import { nodeStatus, timeOf } from "../../src/relay/message.ts";
import { PeerQueue } from "../../src/relay/queue.ts";

const encoder = new JsonEncoder(GetFlowsResponseSchema);
const at = (ms: number): Uint8Array =>
  encoder.encode({ node_name: "n", time: new Date(ms).toISOString(), flow: { Summary: "x".repeat(ms % 7) } });
const msOf = (message: Uint8Array | undefined): number | undefined => {
  if (message === undefined) return undefined;
  const { seconds, nanos } = timeOf(message);
  return seconds * 1000 + nanos / 1e6;
};
const start = Date.parse("2026-11-20T12:00:00Z");

function drain(merge: Merge, dueMs: number): number[] {
  const found: number[] = [];
  for (let ms = msOf(merge.take(dueMs)); ms !== undefined; ms = msOf(merge.take(dueMs)))
    found.push(ms - start);
  return found;
}

describe("the time of a message", () => {
  it("is found behind whatever is around it", () => {
    expect(msOf(at(start + 123))).toBe(start + 123);
    const news = nodeStatus("NODE_ERROR", ["a", "b"], "why", { nodeName: "relay", nowMs: start });
    expect(msOf(news)).toBe(start);
    expect(timeOf(new Uint8Array(0))).toEqual({ seconds: 0, nanos: 0 });
  });

  it("is found in arbitrary bytes, or they are refused", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        try {
          timeOf(bytes);
        } catch (error) {
          expect(error).toMatchObject({ code: "relay.message_invalid" });
        }
      }),
    );
  });
});

describe("a merge", () => {
  const streams = fc.array(fc.array(fc.nat({ max: 5000 }), { maxLength: 60 }), {
    minLength: 1,
    maxLength: 6,
  });

  it("of streams that end is in order, whole, and each stream in its own", () => {
    fc.assert(
      fc.property(streams, (all) => {
        const merge = new Merge();
        for (const [i, times] of all.entries()) {
          const queue = new PeerQueue(`n${i}`, 0);
          merge.add(queue);
          for (const ms of times) queue.push(at(start + ms), 0);
          merge.filled(queue);
          merge.ended(queue);
        }
        expect(drain(merge, -1)).toEqual(all.flat().sort((a, b) => a - b));
        expect(merge.live).toBe(0);
        expect(merge.queues.size).toBe(0);
      }),
    );
  });

  it("filled piece by piece gives out everything once, in order as far as it could know", () => {
    fc.assert(
      fc.property(streams, fc.infiniteStream(fc.nat()), (all, choices) => {
        const merge = new Merge();
        const queues = all.map((_, i) => new PeerQueue(`n${i}`, 0));
        for (const queue of queues) merge.add(queue);
        const left = all.map((times) => [...times].sort((a, b) => a - b));
        const found: number[] = [];
        while (left.some((times) => times.length > 0)) {
          const open = left.flatMap((times, i) => (times.length > 0 ? [i] : []));
          const i = open[(choices.next().value ?? 0) % open.length] ?? 0;
          const queue = queues[i];
          queue?.push(at(start + (left[i]?.shift() ?? 0)), 0);
          if (queue !== undefined) merge.filled(queue);
          // Nothing is due: only what cannot be overtaken goes on.
          found.push(...drain(merge, -1));
          if (left[i]?.length === 0 && queue !== undefined) merge.ended(queue);
        }
        for (const queue of queues) merge.ended(queue);
        found.push(...drain(merge, -1));
        expect(found).toEqual(all.flat().sort((a, b) => a - b));
      }),
    );
  });

  it("waits for a silent stream, but not for long", () => {
    const merge = new Merge();
    const [a, silent] = [new PeerQueue("a", 0), new PeerQueue("b", 0)];
    merge.add(a);
    merge.add(silent);
    a.push(at(start + 1), 100);
    a.push(at(start + 2), 200);
    merge.filled(a);
    expect(drain(merge, 99)).toEqual([]);
    expect(merge.oldestArrivalMs).toBe(100);
    expect(drain(merge, 100)).toEqual([1]);
    merge.ended(silent);
    expect(drain(merge, 0)).toEqual([2]);
  });

  it("a clock that is an hour behind does not keep the others back", () => {
    const merge = new Merge();
    const [good, behind, silent] = ["a", "b", "c"].map((name) => new PeerQueue(name, 0)) as [
      PeerQueue,
      PeerQueue,
      PeerQueue,
    ];
    for (const queue of [good, behind, silent]) merge.add(queue);
    good.push(at(start + 3_600_000), 0);
    merge.filled(good);
    for (let ms = 0; ms < 300; ms += 10) {
      behind.push(at(start + ms), ms);
      merge.filled(behind);
    }
    // Of `behind` the first are due as well; what is not due of it does not stand before `good`.
    const found = drain(merge, 50);
    expect(found).toContain(3_600_000);
    expect(found.length).toBe(7);
  });

  it("what comes late is put in its place, also before the first", () => {
    const merge = new Merge();
    const [a, b] = [new PeerQueue("a", 0), new PeerQueue("b", 0)];
    merge.add(a);
    merge.add(b);
    for (const ms of [10, 30, 20]) a.push(at(start + ms), 0);
    merge.filled(a);
    b.push(at(start + 15), 0);
    merge.filled(b);
    a.push(at(start + 5), 0);
    merge.filled(a);
    expect(drain(merge, 0)).toEqual([5, 10, 15, 20, 30]);
  });

  it("a queue says when it is full, and when there is room again", async () => {
    const queue = new PeerQueue("a", 0);
    while (!queue.isFull) queue.push(at(start), 0);
    let hasRoom = false;
    const room = queue.room().then(() => {
      hasRoom = true;
    });
    await Promise.resolve();
    expect(hasRoom).toBe(false);
    queue.pop();
    await room;
    while (!queue.isFull) queue.push(at(start), 0);
    const other = queue.room();
    queue.end();
    await other;
  });
});
