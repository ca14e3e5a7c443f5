import { type ChildProcess, spawn } from "node:child_process";
import { Worker } from "node:worker_threads";
import { waitFor } from "@axoneme/base";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import {
  BpfMap,
  type BpfObject,
  describeOpenFds,
  Link,
  type LoadedObject,
  MapType,
  RingBuffer,
} from "../src/index.ts";
import { bundle } from "./bundle.ts";
import { compile, readU64, scratch, u32 } from "./fixtures.ts";

const RECORD = 112;
const folder = scratch();
let spec: BpfObject;
let object: LoadedObject;
let ring: RingBuffer;

/** Sum over the CPUs of one row of `counts`. */
function counted(row: number): bigint {
  const values = object.map("counts").getPerCpu(u32(row)) ?? [];
  return values.reduce((sum, bytes) => sum + readU64(bytes), 0n);
}

function load(pid = 0): void {
  object = spec.configure({ rodata: { watched_pid: pid } }).load();
  ring = RingBuffer.open(object.map("events"), { lost: () => counted(1) });
}

function emit(records: number, shorts = 0, discards = 0): void {
  object.program("emits").testRun({ ctx: u32(records, shorts, discards) });
}

beforeAll(() => {
  spec = compile("events", folder.path);
});

afterAll(() => folder.remove());

beforeEach(() => load());

afterEach(() => {
  ring.close();
  object.close();
  expect(describeOpenFds()).toEqual([]);
});

describe("drain", () => {
  it("copies records of any length with where they are", () => {
    emit(2, 3);
    const [bytes, spans] = [new Uint8Array(1024), new Uint32Array(20)];
    expect(ring.drain(bytes, spans)).toBe(5);
    expect([...spans.subarray(0, 10)]).toEqual([0, 112, 112, 112, 224, 12, 240, 12, 256, 12]);
    expect(new Uint32Array(bytes.buffer, 240, 3)).toEqual(Uint32Array.of(1, 2, 3));
    expect([ring.pending, ring.drain(bytes, spans)]).toEqual([0, 0]);
  });

  it("stops where the caller's room ends and goes on there", () => {
    emit(10);
    const bytes = new Uint8Array(RECORD * 4 + 50);
    const sequences: bigint[] = [];
    for (let n = ring.drainPacked(bytes, RECORD); n > 0; n = ring.drainPacked(bytes, RECORD)) {
      for (let i = 0; i < n; i++) sequences.push(readU64(bytes, i * RECORD));
    }
    expect(sequences).toEqual(Array.from({ length: 10 }, (_, i) => BigInt(i)));
  });

  it("stops at the end of the list of spans", () => {
    emit(0, 5);
    expect(ring.drain(new Uint8Array(1024), new Uint32Array(4))).toBe(2);
    expect(ring.drain(new Uint8Array(1024), new Uint32Array(40))).toBe(3);
  });

  it("passes over discarded records and counts those of another length", () => {
    emit(1, 2, 3);
    expect(ring.drainPacked(new Uint8Array(RECORD * 8), RECORD)).toBe(1);
    expect(ring.skipped).toBe(2);
    expect(ring.pending).toBe(0);
  });

  it("survives many turns of the ring without losing or repeating one", () => {
    const bytes = new Uint8Array(RECORD * 512);
    let next = 0n;
    for (let round = 0; round < 200; round++) {
      emit(300);
      const n = ring.drainPacked(bytes, RECORD);
      expect(n).toBe(300);
      for (let i = 0; i < n; i++, next++)
        if (readU64(bytes, i * RECORD) !== next) expect.fail(`lost ${next}`);
    }
    expect(ring.lost).toBe(0n);
  });

  it("tells what was lost when nobody drains", () => {
    emit(1000);
    const kept = BigInt(ring.drainPacked(new Uint8Array(RECORD * 1000), RECORD));
    expect(ring.lost).toBeGreaterThan(0n);
    expect(kept + ring.lost).toBe(1000n);
  });

  it("is for ring buffers only, and not after close", () => {
    expect(() => RingBuffer.open(object.map("counts"))).toThrow(/counts is not a ring buffer/);
    ring.close();
    ring.close();
    expect(() => ring.pending).toThrow(/is closed/);
    expect(() => ring.drain(new Uint8Array(8), new Uint32Array(2))).toThrow(/is closed/);
  });

  it("keeps its memory when the map's own descriptor is closed", () => {
    const map = BpfMap.openById(object.map("events").info.id);
    const second = RingBuffer.open(map);
    map.close();
    emit(1);
    expect(second.drainPacked(new Uint8Array(RECORD), RECORD)).toBe(1);
    second.close();
  });
});

describe("watch", () => {
  it("wakes once for what is there and once more after arm", async () => {
    let wakes = 0;
    emit(100);
    ring.watch(() => wakes++);
    await waitFor(() => wakes === 1, { timeoutMs: 2000, what: "the first wake-up" });
    emit(100);
    await new Promise(setImmediate);
    expect(wakes).toBe(1);
    ring.arm();
    await waitFor(() => wakes === 2, { timeoutMs: 2000, what: "the second wake-up" });
    expect(ring.drainPacked(new Uint8Array(RECORD * 512), RECORD)).toBe(200);
    expect(() => ring.watch(() => undefined)).toThrow(/already watched/);
  });

  it("puts the next wake-up off, and none comes after close", async () => {
    const wakes: number[] = [];
    emit(1);
    ring.watch(() => {
      wakes.push(performance.now());
      ring.arm(60);
    });
    await waitFor(() => wakes.length === 2, { timeoutMs: 2000, what: "the second wake-up" });
    expect((wakes[1] ?? 0) - (wakes[0] ?? 0)).toBeGreaterThanOrEqual(55);
    ring.close();
    await new Promise((done) => setTimeout(done, 80));
    expect(wakes).toHaveLength(2);
  });

  it("may be closed from inside its own wake-up", async () => {
    emit(1);
    await new Promise<void>((done) =>
      ring.watch(() => {
        ring.close();
        done();
      }),
    );
    expect(() => ring.arm()).toThrow(/is closed/);
  });
});

/** A process that makes `count` write calls of one byte once a line arrives on its input. */
function writer(count: number): ChildProcess {
  const script = `read x; exec dd if=/dev/zero of=/dev/null bs=1 count=${count} status=none`;
  return spawn("bash", ["-c", script], { stdio: ["pipe", "ignore", "ignore"] });
}

describe("under load", () => {
  it("accounts for every record: drained or counted as lost, with few wake-ups", async () => {
    const child = writer(300_000);
    ring.close();
    object.close();
    load(child.pid ?? 0);
    const link = Link.attachRawTracepoint(object.program("on_syscall"), "sys_enter");
    const bytes = new Uint8Array(RECORD * 1024);
    let [drained, wakes, last, disorder] = [0n, 0, -1n, 0];
    const drainAll = () => {
      for (let n = ring.drainPacked(bytes, RECORD); n > 0; n = ring.drainPacked(bytes, RECORD)) {
        drained += BigInt(n);
        for (let i = 0; i < n; i++) {
          const sequence = readU64(bytes, i * RECORD);
          if (sequence <= last) disorder++;
          last = sequence;
        }
      }
    };
    ring.watch(() => {
      wakes++;
      drainAll();
      ring.arm();
    });
    child.stdin?.end("go\n");
    await new Promise((done) => child.on("close", done));
    link.close();
    drainAll();
    const tried = counted(0);
    expect(tried).toBeGreaterThan(600_000n);
    expect(drained + ring.lost).toBe(tried);
    expect(disorder).toBe(0);
    expect(BigInt(wakes)).toBeLessThan(drained);
  });
});

describe("a bundled program", () => {
  const app = bundle("waits");
  afterAll(() => app.remove());

  const start = (how: string) => {
    const child = spawn(process.execPath, [app.path, how], { stdio: ["ignore", "pipe", "inherit"] });
    let said = "";
    child.stdout.on("data", (chunk: Buffer) => {
      said += chunk.toString();
    });
    return { child, waiting: () => said.includes("waiting") };
  };

  it("finds the addon and ends by itself when it does not care to wait", async () => {
    const { child, waiting } = start("unref");
    await waitFor(() => child.exitCode !== null, { timeoutMs: 5000, what: "the end of the process" });
    expect([child.exitCode, waiting()]).toEqual([0, true]);
  });

  it("may end as a worker while it waits", async () => {
    for (let round = 0; round < 3; round++) {
      const worker = new Worker(app.path, { stdout: true });
      await new Promise((done) => worker.stdout.once("data", done));
      expect(await worker.terminate()).toBe(1);
    }
  });

  it("stays alive while it waits", async () => {
    const { child, waiting } = start("ref");
    await waitFor(waiting, { timeoutMs: 5000, what: "the process to wait" });
    const ended = new Promise((done) => child.on("exit", () => done("ended")));
    const later = new Promise((done) => setTimeout(done, 300, "alive"));
    expect(await Promise.race([ended, later])).toBe("alive");
    child.kill();
    await ended;
  });
});

it("a ring buffer map of any kind of size opens", () => {
  const map = BpfMap.create({
    name: "axt_ring",
    type: MapType.RINGBUF,
    keySize: 0,
    valueSize: 0,
    maxEntries: 4096,
  });
  const small = RingBuffer.open(map);
  expect([small.size, small.pending, small.lost]).toEqual([4096, 0, 0n]);
  small.close();
  map.close();
});
