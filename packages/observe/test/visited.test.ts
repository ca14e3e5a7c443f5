/** How many records a question about a time looks at: those of its answer and of a few seconds around it. */
import { FakeClock } from "@axoneme/base";
import { emptyResolver, type GetFlowsRequest, RawStore, type RecordRef } from "@axoneme/flow";
import { expect, it } from "vitest";
import { Observer } from "../src/index.ts";
import { batchOf, collect } from "./records.ts";

const startMs = Date.parse("2026-11-20T12:00:00Z");
const perSecond = 100;
const seconds = 1200;

/** A store that says which records were looked at. */
class CountingStore extends RawStore {
  readonly visited = new Set<number>();
  counting = false;

  override at(seq: number): RecordRef | undefined {
    if (this.counting) this.visited.add(seq);
    return super.at(seq);
  }

  override timeNs(seq: number): bigint {
    if (this.counting) this.visited.add(seq);
    return super.timeNs(seq);
  }
}

const store = new CountingStore({ capacity: 65_536 });
const clock = new FakeClock(startMs);
const observer = new Observer({
  store,
  resolver: emptyResolver("n"),
  version: "1",
  clock,
  seed: new Uint8Array(8),
});
const records = Array.from({ length: seconds * perSecond }, (_, i) => ({
  ms: (i * 1000) / perSecond,
  dport: i & 0xffff,
}));
observer.ingest(batchOf(records), records.length);

const at = (second: number): string => new Date(startMs + second * 1000).toISOString();

async function ask(request: GetFlowsRequest): Promise<{ found: number; visited: number }> {
  store.visited.clear();
  store.counting = true;
  const found = (await collect(observer.getFlows(request))).length;
  store.counting = false;
  return { found, visited: store.visited.size };
}

// The store holds the last 65,536 of 120,000 records: seconds 544.64 to 1200.
it.each<[string, GetFlowsRequest, number]>([
  ["since", { since: at(1190) }, 10 * perSecond],
  ["since and until, in the middle", { since: at(800), until: at(805) }, 5 * perSecond + 1],
  ["since, with a limit", { since: at(900), number: 20 }, 20],
  ["last before a time", { until: at(700), number: 20 }, 20],
  ["until, from the oldest", { until: at(546) }, 137],
  ["nothing that new", { since: at(1300) }, 0],
  ["nothing that old", { until: at(500), number: 20 }, 0],
  ["last", { number: 20 }, 20],
])("%s", async (_, request, expected) => {
  const { found, visited } = await ask(request);
  expect(found).toBe(expected);
  expect(visited).toBeLessThanOrEqual(expected + 4 * perSecond);
});
