import { type Curve, pointAt } from "./curve.ts";
import type { Point } from "./view.ts";

/** Side of a cell, in the world's pixels. */
const cell = 160;
/** Straight pieces that a curve is taken for. */
const pieces = 24;

interface Piece {
  readonly id: string;
  readonly a: Point;
  readonly b: Point;
}

/** Finds the edge under the pointer without asking all: pieces of curves by the cells of a grid that they touch. */
export class EdgeGrid {
  readonly #cells = new Map<string, Piece[]>();

  constructor(curves: Iterable<readonly [string, Curve]>) {
    for (const [id, curve] of curves) this.#add(id, curve);
  }

  /** The edge nearest to a point of the world, at most `reach` away. */
  near(point: Point, reach: number): string | undefined {
    let best: string | undefined;
    let least = reach;
    for (const key of cellsOf(point, point, reach)) {
      for (const { id, a, b } of this.#cells.get(key) ?? []) {
        const away = distance(point, a, b);
        if (away > least) continue;
        least = away;
        best = id;
      }
    }
    return best;
  }

  #add(id: string, curve: Curve): void {
    let a = curve[0];
    for (let i = 1; i <= pieces; i++) {
      const b = pointAt(curve, i / pieces);
      const piece = { id, a, b };
      for (const key of cellsOf(a, b, 0)) {
        const here = this.#cells.get(key);
        if (here === undefined) this.#cells.set(key, [piece]);
        else here.push(piece);
      }
      a = b;
    }
  }
}

/** Cells of the rectangle that two points span, and so much around it. */
function* cellsOf(a: Point, b: Point, around: number): Generator<string> {
  const first = (one: number, other: number): number => Math.floor((Math.min(one, other) - around) / cell);
  const last = (one: number, other: number): number => Math.floor((Math.max(one, other) + around) / cell);
  for (let x = first(a.x, b.x); x <= last(a.x, b.x); x++)
    for (let y = first(a.y, b.y); y <= last(a.y, b.y); y++) yield `${x} ${y}`;
}

/** From a point to the straight line between two others. */
function distance(p: Point, a: Point, b: Point): number {
  const [dx, dy] = [b.x - a.x, b.y - a.y];
  const length = dx * dx + dy * dy;
  const t = length === 0 ? 0 : Math.min(1, Math.max(0, ((p.x - a.x) * dx + (p.y - a.y) * dy) / length));
  return Math.hypot(p.x - a.x - t * dx, p.y - a.y - t * dy);
}
