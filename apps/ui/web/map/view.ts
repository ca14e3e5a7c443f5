/** Which part of the world is seen: a point of it is at `x + worldX * scale` pixels from the view's left, likewise y. */
export interface View {
  readonly x: number;
  readonly y: number;
  readonly scale: number;
}

export interface Size {
  readonly width: number;
  readonly height: number;
}

/** A piece of the world. */
export interface Rect extends Size {
  readonly x: number;
  readonly y: number;
}

export interface Point {
  readonly x: number;
  readonly y: number;
}

const scales = { least: 0.05, most: 2.5 } as const;
const clamp = (value: number, least: number, most: number): number => Math.min(most, Math.max(least, value));

/** Moved by whole steps of the pointer. */
export function moved(view: View, dx: number, dy: number): View {
  return { ...view, x: view.x + dx, y: view.y + dy };
}

/** Larger by a factor; what is under the point of the view stays there. */
export function zoomed(view: View, factor: number, { x, y }: Point): View {
  const scale = clamp(view.scale * factor, scales.least, scales.most);
  const actual = scale / view.scale;
  return { x: x - (x - view.x) * actual, y: y - (y - view.y) * actual, scale };
}

/** The view in which all of `world` is seen, with a margin, and no larger than life. */
export function fitted(world: Rect, { width, height }: Size): View {
  const margin = 0.92;
  const scale = clamp(
    Math.min((width * margin) / world.width, (height * margin) / world.height),
    scales.least,
    1.1,
  );
  return {
    x: (width - world.width * scale) / 2 - world.x * scale,
    y: (height - world.height * scale) / 2 - world.y * scale,
    scale,
  };
}

/** The view in which a point of the world is in the middle. */
export function centred({ scale }: View, { x, y }: Point, { width, height }: Size): View {
  return { x: width / 2 - x * scale, y: height / 2 - y * scale, scale };
}

/** Moved as little as it takes for a piece of the world to be seen. */
export function revealing(view: View, piece: Rect, { width, height }: Size): View {
  const gap = 24;
  const shift = (from: number, to: number, length: number): number =>
    from < gap ? gap - from : Math.max(gap - from, Math.min(0, length - gap - to));
  const left = view.x + piece.x * view.scale;
  const top = view.y + piece.y * view.scale;
  return moved(
    view,
    shift(left, left + piece.width * view.scale, width),
    shift(top, top + piece.height * view.scale, height),
  );
}

/** The point of the world under a point of the view. */
export function worldAt(view: View, { x, y }: Point): Point {
  return { x: (x - view.x) / view.scale, y: (y - view.y) / view.scale };
}

/** The piece of the world that is seen, and so much more on each side (1: as much as is seen). */
export function seen(view: View, { width, height }: Size, more = 0): Rect {
  const { x, y } = worldAt(view, { x: -width * more, y: -height * more });
  return {
    x,
    y,
    width: (width * (1 + 2 * more)) / view.scale,
    height: (height * (1 + 2 * more)) / view.scale,
  };
}

export function within(outer: Rect, inner: Rect): boolean {
  return (
    inner.x >= outer.x &&
    inner.y >= outer.y &&
    inner.x + inner.width <= outer.x + outer.width &&
    inner.y + inner.height <= outer.y + outer.height
  );
}
