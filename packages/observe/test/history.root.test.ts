import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FakeClock, silentLogger } from "@axoneme/base";
import { emptyResolver, RawStore } from "@axoneme/flow";
import { afterAll, beforeAll, expect, it } from "vitest";
import { keepHistory, Observer } from "../src/index.ts";
import { batchOf, collect } from "./records.ts";

const log = silentLogger;
let dir: string;

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), "axon-full-"));
  execFileSync("mount", ["-t", "tmpfs", "-o", "size=1m", "axon-full", dir]);
});
afterAll(() => {
  execFileSync("umount", [dir]);
  rmSync(dir, { recursive: true });
});

it("a full disk costs what the ring overwrites meanwhile; flows are seen all the time, and writing goes on", async () => {
  writeFileSync(join(dir, "others"), new Uint8Array(700_000));
  const clock = new FakeClock(Date.parse("2026-11-20T12:00:00Z"));
  const store = new RawStore({ capacity: 1024 });
  const observer = new Observer({ store, resolver: emptyResolver("node1"), version: "1", clock });
  const history = await keepHistory(observer, {
    dir,
    limitBytes: 1 << 30,
    log,
    clock,
    segmentBytes: 100_000,
  });
  let added = 0;
  const add = async (): Promise<void> => {
    observer.ingest(batchOf(Array.from({ length: 256 }, (_, i) => ({ dport: 1 + i, ms: added + i }))), 256);
    added += 256;
    await history.flush();
  };
  for (let i = 0; i < 40 && history.figures.problem === undefined; i++) await add();
  expect(history.figures.problem).toMatch(/ENOSPC/);
  const { written } = history.figures;
  for (let i = 0; i < 10; i++) await add();
  expect(history.figures).toMatchObject({ written });
  expect(await collect(observer.getFlows({ number: 1024 }))).toHaveLength(1024);
  rmSync(join(dir, "others"));
  clock.advance(20_000);
  await add();
  expect(history.figures.problem).toBeUndefined();
  expect(history.figures.written + history.figures.lost).toBe(added);
  expect(history.figures.lost).toBeGreaterThan(0);
  const all = await collect(observer.getFlows({}));
  expect(all.filter(({ flow }) => flow !== undefined)).toHaveLength(history.figures.written);
  expect(all.map(({ lost_events: lost }) => Number(lost?.num_events_lost ?? 0)).reduce((a, b) => a + b)).toBe(
    history.figures.lost,
  );
  await history.stop();
});
