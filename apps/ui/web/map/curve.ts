import { box } from "../layout.ts";
import type { Point, Rect } from "./view.ts";

/** A cubic Bezier curve: begin, the two points that bend it, end. */
export type Curve = readonly [Point, Point, Point, Point];

/** From the right side of a box to the left side of another; from a box to itself over its top. */
export function curveOf(from: Point, to: Point): Curve {
  const begin = { x: from.x + box.width, y: from.y + box.height / 2 };
  const end = { x: to.x, y: to.y + box.height / 2 };
  if (from.x === to.x && from.y === to.y) {
    const top = from.y - box.height * 1.4;
    return [begin, { x: begin.x + 70, y: top }, { x: end.x - 70, y: top }, end];
  }
  const dx = end.x - begin.x;
  const bend = dx >= 0 ? Math.max(24, dx / 2) : 40 + 5 * Math.sqrt(-dx);
  return [begin, { x: begin.x + bend, y: begin.y }, { x: end.x - bend, y: end.y }, end];
}

/** The point at `t` of the way, 0 to 1. */
export function pointAt([a, b, c, d]: Curve, t: number): Point {
  const u = 1 - t;
  const [wa, wb, wc, wd] = [u * u * u, 3 * u * u * t, 3 * u * t * t, t * t * t];
  return {
    x: wa * a.x + wb * b.x + wc * c.x + wd * d.x,
    y: wa * a.y + wb * b.y + wc * c.y + wd * d.y,
  };
}

/** A rectangle that the curve does not leave: its four points are in it. */
export function boundsOf(curve: Curve): Rect {
  const xs = curve.map(({ x }) => x);
  const ys = curve.map(({ y }) => y);
  const [x, y] = [Math.min(...xs), Math.min(...ys)];
  return { x, y, width: Math.max(...xs) - x, height: Math.max(...ys) - y };
}

export function overlap(a: Rect, b: Rect): boolean {
  return a.x <= b.x + b.width && b.x <= a.x + a.width && a.y <= b.y + b.height && b.y <= a.y + a.height;
}
