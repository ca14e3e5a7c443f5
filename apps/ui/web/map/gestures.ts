import type { Camera } from "./camera.ts";
import { moved, type Point, worldAt, zoomed } from "./view.ts";

/** Pixels that a pointer may stray while it clicks. */
const strayed = 4;

export interface Touched {
  /** The pointer is over this point of the world, but not while it moves the map; undefined: it has left. */
  readonly over: (point: Point | undefined) => void;
  /** This point of the world was clicked. */
  readonly clicked: (point: Point) => void;
}

/** Pointers that move the map (one) or also zoom it (two), and the wheel, which zooms. */
class Gestures {
  readonly #element: HTMLElement;
  readonly #camera: Camera;
  readonly #touched: Touched;
  readonly #pointers = new Map<number, Point>();
  #begin: Point = { x: 0, y: 0 };
  #isMoving = false;

  constructor(element: HTMLElement, camera: Camera, touched: Touched) {
    this.#element = element;
    this.#camera = camera;
    this.#touched = touched;
  }

  #at({ clientX, clientY }: MouseEvent): Point {
    const { left, top } = this.#element.getBoundingClientRect();
    return { x: clientX - left, y: clientY - top };
  }

  down(event: PointerEvent): void {
    if (event.button !== 0) return;
    const at = this.#at(event);
    if (this.#pointers.size === 0) {
      this.#begin = at;
      this.#isMoving = false;
    }
    this.#pointers.set(event.pointerId, at);
  }

  move(event: PointerEvent): void {
    const at = this.#at(event);
    const before = this.#pointers.get(event.pointerId);
    if (before === undefined) {
      if (this.#pointers.size === 0) this.#touched.over(worldAt(this.#camera.view, at));
      return;
    }
    if (!this.#isMoving) {
      if (Math.hypot(at.x - this.#begin.x, at.y - this.#begin.y) < strayed) return;
      this.#isMoving = true;
      this.#touched.over(undefined);
      // From now on it is ours, wherever it goes; before, a button under it is to get its click.
      this.#element.setPointerCapture(event.pointerId);
    }
    const other = [...this.#pointers].find(([id]) => id !== event.pointerId)?.[1];
    const { view } = this.#camera;
    this.#camera.look(
      other === undefined
        ? moved(view, at.x - before.x, at.y - before.y)
        : pinched(this.#camera, before, at, other),
    );
    this.#pointers.set(event.pointerId, at);
  }

  up(event: PointerEvent): void {
    this.#pointers.delete(event.pointerId);
  }

  /** The click that ends a movement is none. */
  click(event: MouseEvent): void {
    if (this.#isMoving) {
      this.#isMoving = false;
      event.stopPropagation();
      event.preventDefault();
    } else if (event.target === this.#element)
      this.#touched.clicked(worldAt(this.#camera.view, this.#at(event)));
  }

  wheel(event: WheelEvent): void {
    event.preventDefault();
    // Lines are larger than pixels; a pinch on a touch pad comes as a wheel with Ctrl, in small steps.
    const step = event.deltaMode === 0 ? 0.002 : 0.05;
    const factor = 2 ** (-event.deltaY * step * (event.ctrlKey ? 10 : 1));
    this.#camera.look(zoomed(this.#camera.view, factor, this.#at(event)));
  }
}

/** Two pointers, one of which moved: what is under each stays there. */
function pinched({ view }: Camera, before: Point, at: Point, other: Point) {
  const [was, is] = [
    Math.hypot(before.x - other.x, before.y - other.y),
    Math.hypot(at.x - other.x, at.y - other.y),
  ];
  return was === 0
    ? view
    : zoomed(moved(view, (at.x - before.x) / 2, (at.y - before.y) / 2), is / was, {
        x: (at.x + other.x) / 2,
        y: (at.y + other.y) / 2,
      });
}

/** Listens on an element until the returned is called. */
export function gestures(element: HTMLElement, camera: Camera, touched: Touched): () => void {
  const all = new Gestures(element, camera, touched);
  const over = new AbortController();
  const { signal } = over;
  element.addEventListener("pointerdown", (event) => all.down(event), { signal });
  element.addEventListener("pointermove", (event) => all.move(event), { signal });
  element.addEventListener("pointerup", (event) => all.up(event), { signal });
  element.addEventListener("pointercancel", (event) => all.up(event), { signal });
  element.addEventListener("pointerleave", () => touched.over(undefined), { signal });
  element.addEventListener("click", (event) => all.click(event), { signal, capture: true });
  element.addEventListener("wheel", (event) => all.wheel(event), { signal, passive: false });
  return () => over.abort();
}
