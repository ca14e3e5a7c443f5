import type { Camera } from "./camera.ts";
import { fitted, moved, type Rect, type View, zoomed } from "./view.ts";

/** One press of a key or a button. */
const stepFactor = 1.4;
const stepPixels = 60;

/** Larger or smaller by one step, from the middle. */
export function stepped({ view, size }: Camera, isIn: boolean): View {
  const middle = { x: size.width / 2, y: size.height / 2 };
  return zoomed(view, isIn ? stepFactor : 1 / stepFactor, middle);
}

const views: Readonly<Record<string, (camera: Camera, world: Rect) => View>> = {
  "+": (camera) => stepped(camera, true),
  "=": (camera) => stepped(camera, true),
  "-": (camera) => stepped(camera, false),
  "0": ({ size }, world) => fitted(world, size),
  ArrowLeft: ({ view }) => moved(view, stepPixels, 0),
  ArrowRight: ({ view }) => moved(view, -stepPixels, 0),
  ArrowUp: ({ view }) => moved(view, 0, stepPixels),
  ArrowDown: ({ view }) => moved(view, 0, -stepPixels),
};

/** The view after a key; undefined for those that mean nothing here. */
export function viewAfter(key: string, camera: Camera, world: Rect): View | undefined {
  return views[key]?.(camera, world);
}
