import { systemClock } from "@axoneme/base";
import { expect, it } from "vitest";
import { WallOffset } from "../src/wall-offset.ts";

it("two readers of the same clocks agree to a tenth of a millisecond", () => {
  const spreads = Array.from({ length: 5 }, () => {
    const a = new WallOffset(systemClock).now();
    const b = new WallOffset(systemClock).now();
    return Number(a > b ? a - b : b - a);
  });
  // One of the tries may be preempted at its edge.
  expect(Math.min(...spreads)).toBeLessThan(100_000);
});

it("ignores what is within a reading's precision, follows a step either way", () => {
  let wall = 1_000_000;
  let mono = 0n;
  const offset = new WallOffset({
    now: () => wall,
    monotonicNs: () => mono,
    setTimer: () => ({ cancel: () => undefined }),
  });
  const start = offset.now();
  mono += 900_000n;
  expect(offset.now()).toBe(start);
  wall += 5_000;
  expect(offset.now()).toBe(start + 5_000_000_000n - 900_000n);
  wall -= 60_000;
  expect(offset.now()).toBe(start - 55_000_000_000n - 900_000n);
});
