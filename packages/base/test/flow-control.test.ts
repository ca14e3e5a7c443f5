import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  AxonError,
  backoff,
  childLogger,
  Deferred,
  Emitter,
  errorText,
  FakeClock,
  formatMac,
  KeyedQueue,
  MinHeap,
  memoryLogger,
  parseMac,
  toHex,
  waitFor,
  withDeadline,
} from "../src/index.ts";

describe("errors", () => {
  it("tell the chain of causes once each", () => {
    const root = new Error("disk full");
    const error = new AxonError("state.write", "cannot write /x", { cause: root });
    expect(errorText(error)).toBe("cannot write /x: disk full");
    expect(errorText(new AxonError("a", "b: disk full", { cause: root }))).toBe("b: disk full");
    expect(error.name).toBe("AxonError");
    expect(error).toBeInstanceOf(Error);
  });
});

describe("FakeClock", () => {
  it("fires timers in order of time, then of creation, and none that was cancelled", () => {
    const clock = new FakeClock(0);
    const seen: string[] = [];
    clock.setTimer(20, () => seen.push(`b@${clock.now()}`));
    clock.setTimer(10, () => {
      seen.push(`a@${clock.now()}`);
      clock.setTimer(5, () => seen.push(`nested@${clock.now()}`));
    });
    clock.setTimer(20, () => seen.push("c"));
    clock.setTimer(12, () => seen.push("never")).cancel();
    clock.advance(19);
    expect(seen).toEqual(["a@10", "nested@15"]);
    clock.advance(1);
    expect(seen).toEqual(["a@10", "nested@15", "b@20", "c"]);
    expect(clock.monotonicNs()).toBe(20_000_000n);
  });
});

describe("backoff", () => {
  it("doubles to the maximum and starts over", () => {
    const wait = backoff({ baseMs: 100, maxMs: 1000, jitter: 0 });
    expect([wait.next(), wait.next(), wait.next(), wait.next(), wait.next()]).toEqual([
      100, 200, 400, 800, 1000,
    ]);
    wait.reset();
    expect(wait.attempt).toBe(0);
    expect(wait.next()).toBe(100);
  });

  it("stays within its jitter", () => {
    const wait = backoff({ baseMs: 100, maxMs: 100, jitter: 0.5 });
    for (let i = 0; i < 50; i++) {
      const ms = wait.next();
      expect(ms).toBeGreaterThan(49.9);
      expect(ms).toBeLessThanOrEqual(100);
    }
  });
});

describe("deadlines", () => {
  it("name what was late", async () => {
    const clock = new FakeClock();
    const late = withDeadline(new Promise(() => undefined), 50, "loading pod.bpf.o", clock);
    const outcome = expect(late).rejects.toMatchObject({
      code: "deadline.exceeded",
      message: expect.stringMatching(/loading pod.bpf.o/),
    });
    clock.advance(50);
    await outcome;
  });

  it("pass on what was in time", async () => {
    const deferred = new Deferred<number>();
    const guarded = withDeadline(deferred.promise, 1000, "x");
    deferred.resolve(7);
    deferred.reject(new Error("too late to matter"));
    expect(await guarded).toBe(7);
    expect(deferred.settled).toBe(true);
  });

  it("waitFor returns the truthy value, and carries the last error when it gives up", async () => {
    let looks = 0;
    expect(await waitFor(() => (++looks === 3 ? "ready" : undefined), { everyMs: 1 })).toBe("ready");
    const failing = () => {
      throw new Error("refused");
    };
    await expect(waitFor(failing, { timeoutMs: 5, everyMs: 1, what: "the socket" })).rejects.toMatchObject({
      code: "wait.timeout",
      message: "waited 5 ms for the socket",
      cause: new Error("refused"),
    });
  });
});

describe("KeyedQueue", () => {
  it("keeps order per key, runs keys side by side, survives failures and forgets idle keys", async () => {
    const queue = new KeyedQueue<string>();
    const seen: string[] = [];
    const gate = new Deferred<void>();
    const first = queue.run("a", async () => {
      await gate.promise;
      seen.push("a1");
      throw new Error("a1 failed");
    });
    const second = queue.run("a", () => seen.push("a2"));
    await queue.run("b", () => seen.push("b1"));
    expect(seen).toEqual(["b1"]);
    gate.resolve();
    await expect(first).rejects.toThrow("a1 failed");
    await second;
    await queue.idle();
    expect(seen).toEqual(["b1", "a1", "a2"]);
    expect(queue.busy).toBe(0);
  });
});

describe("Emitter", () => {
  it("calls all listeners, also beside one that throws, and rethrows", () => {
    const emitter = new Emitter<number>();
    const seen: number[] = [];
    emitter.once(() => {
      throw new Error("listener");
    });
    const off = emitter.on((value) => seen.push(value));
    expect(() => emitter.emit(1)).toThrow("listener");
    emitter.emit(2);
    off();
    emitter.emit(3);
    expect(seen).toEqual([1, 2]);
    expect(emitter.listenerCount).toBe(0);
  });
});

describe("MinHeap", () => {
  it("sorts", () => {
    fc.assert(
      fc.property(fc.array(fc.integer()), (numbers) => {
        const heap = new MinHeap<number>((a, b) => a < b);
        for (const number of numbers) heap.push(number);
        const out: number[] = [];
        while (heap.size > 0) out.push(heap.pop() as number);
        expect(out).toEqual([...numbers].sort((a, b) => a - b));
        expect(heap.pop()).toBeUndefined();
      }),
    );
  });
});

describe("the small ones", () => {
  it("MAC text", () => {
    expect(formatMac(parseMac("0A:bb:00:01:02:ff"))).toBe("0a:bb:00:01:02:ff");
    expect(() => parseMac("0a:bb")).toThrowError(expect.objectContaining({ code: "mac.invalid" }));
    expect(toHex(Uint8Array.of(0, 255))).toBe("00ff");
  });

  it("child loggers add their fields", () => {
    const logger = memoryLogger();
    childLogger(logger, { module: "ipam" }).warn({ pool: "v4" }, "nearly full");
    expect(logger.records).toEqual([
      { level: "warn", message: "nearly full", fields: { module: "ipam", pool: "v4" } },
    ]);
  });
});
