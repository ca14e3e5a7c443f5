import { parseIp, parsePrefix, waitFor } from "@axoneme/base";
import type { DatapathMaps } from "@axoneme/datapath";
import type { FrontendKey, LbChange, ServiceRow } from "@axoneme/loadbalancer";
import { describe, expect, it } from "vitest";
import { compact, frontendName, splitByService } from "../src/lb/split.ts";
import { ServiceWriter } from "../src/lb/writer.ts";
import { quiet } from "./logger.ts";

const key = (service: number, scope = 0): FrontendKey => ({
  addr: parseIp(`10.96.0.${service}`),
  port: 80,
  proto: 6,
  scope,
});
const row = (serviceId: number, slotsOff: number): ServiceRow => ({
  serviceId,
  slotsOff,
  slots: 1,
  count: 1,
  affinityTimeoutS: 0,
  flags: 1,
  algorithm: 0,
  forwarding: 0,
});
const backend = (serviceId: number) => ({
  addr: parseIp("10.0.0.1"),
  port: 80,
  proto: 6,
  state: 0,
  serviceId,
  flags: 0,
});

/** What the compiler says when a Service gets another backend. */
const change = (service: number, generation: number): LbChange[] => [
  { op: "put-backend", id: service * 100 + generation, row: backend(service) },
  {
    op: "put-slots",
    offset: service * 10 + generation,
    serviceId: service,
    backends: [{ id: service * 100 + generation, address: "10.0.0.1", port: 80 }],
    table: undefined,
  },
  { op: "put-service", key: key(service), row: row(service, service * 10 + generation) },
  { op: "delete-backend", id: service * 100 + generation - 1, row: backend(service) },
];

/** The commits of several Services as one, by kind as the compiler orders them. */
function together(...commits: LbChange[][]): LbChange[] {
  const ops: readonly LbChange["op"][] = ["put-backend", "put-slots", "put-service", "delete-backend"];
  return ops.flatMap((op) => commits.flat().filter((one) => one.op === op));
}

describe("a commit taken apart", () => {
  it("gives each Service its own, slots by the row that names them, in order", () => {
    const parts = splitByService(together(change(1, 1), change(2, 1)));
    expect([...parts.keys()]).toEqual([1, 2]);
    expect(parts.get(1)).toEqual(change(1, 1));
    expect(parts.get(2)).toEqual(change(2, 1));
  });

  it("a row that goes follows the held changes of its frontend", () => {
    const gone: LbChange = { op: "delete-service", key: key(1) };
    expect([...splitByService([gone]).keys()]).toEqual([0]);
    const parts = splitByService([gone], new Map([[frontendName(key(1)), 1]]));
    expect([...parts.keys()]).toEqual([1]);
  });

  it("in brief: the last of each row, slots that a row still names, puts before deletes", () => {
    const range: LbChange = { op: "put-range", serviceId: 1, prefix: parsePrefix("10.0.0.0/8") };
    const brief = compact([...change(1, 1), range, ...change(1, 2), { ...range, op: "delete-range" }]);
    expect(brief.map(({ op }) => op)).toEqual([
      "put-backend",
      "put-slots",
      "put-service",
      "delete-range",
      "delete-backend",
      "delete-backend",
    ]);
    expect(brief.find(({ op }) => op === "put-slots")).toMatchObject({ offset: 12 });
  });
});

/** A kernel that refuses the rows of some Services. */
class Refusing {
  readonly applied: LbChange[] = [];
  readonly refused = new Set<number>();
  readonly writer = new ServiceWriter(
    {} as DatapathMaps,
    {
      written: (changes) => void this.written.push(...changes),
      failuresChanged: () => void this.told.push([...this.writer.failed().keys()]),
    },
    quiet,
    (_maps, changes) => this.#apply(changes),
  );
  readonly written: LbChange[] = [];
  readonly told: number[][] = [];

  #apply(changes: readonly LbChange[]): void {
    for (const one of changes) {
      if (one.op === "put-service" && this.refused.has(one.row.serviceId)) throw new Error("the map is full");
      this.applied.push(one);
    }
  }

  /** The rows there would be: frontend address to slots. */
  rows(): Map<string, number> {
    const rows = new Map<string, number>();
    for (const one of this.applied) {
      if (one.op === "put-service") rows.set(frontendName(one.key), one.row.slotsOff);
      if (one.op === "delete-service") rows.delete(frontendName(one.key));
    }
    return rows;
  }
}

describe("a refused write", () => {
  it("disturbs no other Service, and leaves what the refused one had", () => {
    const kernel = new Refusing();
    kernel.writer.write(together(change(1, 1), change(2, 1), change(3, 1)));
    kernel.refused.add(2);
    kernel.writer.write(together(change(1, 2), change(2, 2), change(3, 2)));
    expect(kernel.rows()).toEqual(
      new Map([
        [frontendName(key(1)), 12],
        [frontendName(key(2)), 21],
        [frontendName(key(3)), 32],
      ]),
    );
    expect([...kernel.writer.failed()]).toMatchObject([[2, { error: "the map is full" }]]);
    const goneBackends = kernel.applied.flatMap((one) => (one.op === "delete-backend" ? one.id : []));
    expect(goneBackends).not.toContain(201);
    expect(kernel.writer.nextRetry).toBeGreaterThan(Date.now());
    expect(kernel.told).toEqual([[2]]);
  });

  it("what comes after it waits its turn; the retry brings the last state", async () => {
    const kernel = new Refusing();
    kernel.refused.add(2);
    kernel.writer.write(change(2, 1));
    kernel.writer.write(together(change(2, 2), change(3, 1)));
    kernel.writer.write([{ op: "delete-service", key: key(2) }]);
    kernel.writer.write(change(2, 3));
    expect([...kernel.rows().keys()]).toEqual([frontendName(key(3))]);
    kernel.refused.clear();
    await waitFor(() => kernel.writer.failed().size === 0, { timeoutMs: 5000, what: "the retry" });
    expect(kernel.rows().get(frontendName(key(2)))).toBe(23);
    expect(kernel.told).toEqual([[2], []]);
    expect(kernel.writer.nextRetry).toBeUndefined();
    kernel.writer.stop();
  });

  it("a Service that goes while it is refused takes its problem along", () => {
    const kernel = new Refusing();
    kernel.refused.add(2);
    kernel.writer.write(change(2, 1));
    kernel.writer.write([{ op: "delete-service", key: key(2) }]);
    kernel.writer.retry();
    expect([kernel.writer.failed().size, kernel.rows().size]).toEqual([0, 0]);
    kernel.writer.stop();
  });
});
