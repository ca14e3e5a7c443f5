import fc from "fast-check";
import { expect, test } from "vitest";
import { boundsOf, curveOf, pointAt } from "../web/map/curve.ts";
import { EdgeGrid } from "../web/map/edge-grid.ts";
import { linesOf, worldOf } from "../web/map/scene.ts";
import { centred, fitted, moved, revealing, seen, within, worldAt, zoomed } from "../web/map/view.ts";

const coordinate = fc.integer({ min: -5000, max: 5000 });
const point = fc.record({ x: coordinate, y: coordinate });
const view = fc.record({
  x: coordinate,
  y: coordinate,
  scale: fc.double({ min: 0.05, max: 2.5, noNaN: true }),
});
const size = { width: 1600, height: 540 };

test("what is under the pointer stays there while one zooms", () => {
  fc.assert(
    fc.property(view, point, fc.double({ min: 0.1, max: 10, noNaN: true }), (before, at, factor) => {
      const [was, is] = [worldAt(before, at), worldAt(zoomed(before, factor, at), at)];
      expect(is.x).toBeCloseTo(was.x, 4);
      expect(is.y).toBeCloseTo(was.y, 4);
    }),
  );
});

test("a fitted world is seen whole, and in the middle", () => {
  const world = { x: -300, y: 40, width: 4600, height: 1900 };
  const whole = fitted(world, size);
  expect(within(seen(whole, size), world)).toBe(true);
  expect(worldAt(whole, { x: 800, y: 270 })).toMatchObject({
    x: expect.closeTo(2000, 6),
    y: expect.closeTo(990, 6),
  });
  expect(worldAt(centred(whole, { x: 1, y: 2 }, size), { x: 800, y: 270 })).toMatchObject({
    x: expect.closeTo(1, 6),
    y: expect.closeTo(2, 6),
  });
});

test("a node that the keyboard goes to comes into sight, and one in sight moves nothing", () => {
  const still = { x: 0, y: 0, scale: 1 };
  const card = { x: 500, y: 100, width: 190, height: 52 };
  expect(revealing(still, card, size)).toEqual(still);
  fc.assert(
    fc.property(view, point, (before, { x, y }) => {
      const piece = { x, y, width: 190, height: 52 };
      expect(within(seen(revealing(before, piece, size), size), piece)).toBe(true);
    }),
  );
});

test("an edge is found from any of its points, and from no other place", () => {
  const curves = new Map(
    Array.from({ length: 40 }, (_, i) => [
      `e${i}`,
      curveOf({ x: (i % 5) * 300, y: i * 70 }, { x: ((i * 3) % 5) * 300, y: ((i * 7) % 40) * 70 }),
    ]),
  );
  const grid = new EdgeGrid(curves);
  for (const [id, curve] of curves) {
    const alone = new EdgeGrid([[id, curve]]);
    for (const t of [0, 0.13, 0.5, 0.77, 1]) {
      expect(alone.near(pointAt(curve, t), 3), `${id} at ${t}`).toBe(id);
      expect(grid.near(pointAt(curve, t), 3)).toBeDefined();
    }
  }
  expect(grid.near({ x: -4000, y: -4000 }, 7)).toBeUndefined();
});

test("a curve stays in its bounds", () => {
  fc.assert(
    fc.property(point, point, fc.double({ min: 0, max: 1, noNaN: true }), (from, to, t) => {
      const curve = curveOf(from, to);
      const { x, y, width, height } = boundsOf(curve);
      const on = pointAt(curve, t);
      expect(on.x).toBeGreaterThanOrEqual(x - 1e-6);
      expect(on.x).toBeLessThanOrEqual(x + width + 1e-6);
      expect(on.y).toBeGreaterThanOrEqual(y - 1e-6);
      expect(on.y).toBeLessThanOrEqual(y + height + 1e-6);
    }),
  );
});

test("a rate that wavers draws nothing anew, a drop does", () => {
  const edge = {
    id: "a>b",
    source: "a",
    target: "b",
    forwarded: 100,
    dropped: 0,
    audited: 0,
    totals: { forwarded: 5, dropped: 0, audited: 0 },
    ports: ["TCP/80"],
    droppedPorts: [],
    lastDrop: "",
  };
  const graph = (one: typeof edge) => ({ nodes: new Map(), edges: new Map([[one.id, one]]), hidden: 0 });
  const first = linesOf(graph(edge), []);
  expect(linesOf(graph({ ...edge, forwarded: 104 }), first)).toBe(first);
  const dropped = { ...edge, totals: { ...edge.totals, dropped: 1 } };
  expect(linesOf(graph(dropped), first)[0]).toMatchObject({ state: "dropped", label: "dropped" });
});

test("an empty world has a size, and a moved view is moved", () => {
  expect(worldOf([]).width).toBeGreaterThan(0);
  expect(moved({ x: 1, y: 2, scale: 1 }, 3, 4)).toEqual({ x: 4, y: 6, scale: 1 });
});
