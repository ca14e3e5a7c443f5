import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { quarantineMs, SlotAllocator, type SlotRange } from "../src/slots.ts";

describe("SlotAllocator", () => {
  it("takes the smallest free range that fits, and joins neighbours", () => {
    const slots = new SlotAllocator(1000);
    const at = [10, 4, 20, 4].map((size) => slots.allocate(size) ?? -1);
    expect(at).toEqual([0, 10, 14, 34]);
    slots.free({ offset: 0, size: 10 });
    slots.free({ offset: 14, size: 20 });
    expect(slots.allocate(5)).toBe(38);
    slots.reclaim(0);
    expect(slots.reclaim(quarantineMs - 1)).toBe(false);
    expect(slots.reclaim(quarantineMs)).toBe(true);
    expect(slots.allocate(8)).toBe(0);
    slots.free({ offset: 10, size: 4 });
    slots.reclaim(2 * quarantineMs);
    slots.reclaim(3 * quarantineMs);
    expect(slots.allocate(26)).toBe(8); // 8..10, 10..14 and 14..34 are one range
  });

  it("grows from a free tail, and stops at its limit", () => {
    const slots = new SlotAllocator(10);
    expect(slots.allocate(4)).toBe(0);
    slots.free({ offset: 0, size: 4 });
    expect(slots.allocate(7)).toBeUndefined();
    expect(slots.slotsNeeded).toBe(4);
    slots.reclaim(0);
    slots.reclaim(quarantineMs);
    expect(slots.allocate(7)).toBe(0);
    expect(slots.slotsNeeded).toBe(7);
  });

  it("never gives a slot twice, nor one that was freed less than a second ago", () => {
    const operation = fc.oneof(
      { weight: 3, arbitrary: fc.record({ size: fc.integer({ min: 1, max: 9 }) }) },
      { weight: 2, arbitrary: fc.record({ free: fc.nat() }) },
      { weight: 1, arbitrary: fc.record({ wait: fc.integer({ min: 1, max: 1500 }) }) },
    );
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 200, size: "max" }), (operations) => {
        const slots = new SlotAllocator(400);
        const held: SlotRange[] = [];
        const owner = new Map<number, "used" | number>();
        let now = 0;
        for (const operation of operations) {
          if ("wait" in operation) {
            now += operation.wait;
            slots.reclaim(now);
          } else if ("free" in operation) {
            const [range] = held.splice(operation.free % Math.max(1, held.length), 1);
            if (range === undefined) continue;
            slots.free(range);
            for (let i = 0; i < range.size; i++) owner.set(range.offset + i, now);
          } else {
            const offset = slots.allocate(operation.size);
            if (offset === undefined) continue;
            for (let i = offset; i < offset + operation.size; i++) {
              const before = owner.get(i);
              expect(before).not.toBe("used");
              expect(before === undefined || Number(before) + quarantineMs <= now).toBe(true);
              owner.set(i, "used");
            }
            held.push({ offset, size: operation.size });
          }
          expect(slots.used).toBe(held.reduce((sum, { size }) => sum + size, 0));
        }
        for (const range of held) slots.free(range);
        slots.reclaim(now);
        slots.reclaim(now + quarantineMs);
        const all = slots.slotsNeeded;
        if (all > 0) expect(slots.allocate(all)).toBe(0); // nothing was lost
      }),
      { numRuns: 100 },
    );
  });
});
