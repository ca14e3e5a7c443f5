import type { Camera } from "./camera.ts";
import type { Order, Print, Word } from "./painter.worker.ts";
import type { Palette } from "./palette.ts";
import { type Marks, type Scene, worldOf } from "./scene.ts";
import { type Rect, type Size, seen, type View, within } from "./view.ts";

/** So much more than is seen is drawn on each side, and so much of it must be left before the next is ordered. */
const margin = 0.3;
const leastMargin = 0.1;
/** How far a picture is scaled while one zooms, and for how long the view rests before it is drawn as it should be. */
const tolerated = 1.35;
const restMs = 80;
/** Pixels of a picture at most: its memory is four times that. */
const mostPixels = 12e6;

/**
 * The map as a picture that is larger than what is seen of it. Moving and zooming move the picture, which costs the page
 * next to nothing; a worker draws the next one meanwhile, one at a time, always for where the view is by then.
 */
export class Picture {
  readonly #canvas: HTMLCanvasElement;
  readonly #overview: HTMLCanvasElement;
  readonly #camera: Camera;
  readonly #worker: Worker;
  readonly #leave: () => void;
  #marks: Marks = { chosen: "", pointed: "", group: "" };
  #palette: Palette | undefined;
  #scene: Scene | undefined;
  /** What the last picture does not show yet. */
  #isStale = true;
  #isOverviewStale = true;
  #isOrdered = false;
  #drawn: Order | undefined;
  #arrived: Print[] = [];
  #rest: ReturnType<typeof setTimeout> | undefined;

  /** @param overview gets a picture of the whole map, as large as it is on the page */
  constructor(canvas: HTMLCanvasElement, overview: HTMLCanvasElement, camera: Camera) {
    this.#canvas = canvas;
    this.#overview = overview;
    this.#camera = camera;
    this.#worker = new Worker(new URL("./painter.worker.ts", import.meta.url), { type: "module" });
    this.#worker.onmessage = ({ data }: MessageEvent<Print>) => {
      this.#arrived.push(data);
      camera.look(camera.view);
    };
    this.#leave = camera.onFrame(() => this.#frame());
  }

  close(): void {
    this.#leave();
    clearTimeout(this.#rest);
    this.#worker.terminate();
  }

  show(scene: Scene): void {
    this.#scene = scene;
    this.#tell({ scene });
    this.#isOverviewStale = true;
    this.#redraw();
  }

  mark(marks: Partial<Marks>): void {
    const after = { ...this.#marks, ...marks };
    const { chosen, pointed, group } = this.#marks;
    if (after.chosen === chosen && after.pointed === pointed && after.group === group) return;
    this.#marks = after;
    this.#redraw();
  }

  colour(palette: Palette): void {
    this.#palette = palette;
    this.#isOverviewStale = true;
    this.#redraw();
  }

  #redraw(): void {
    this.#isStale = true;
    this.#camera.look(this.#camera.view);
  }

  #tell(word: Word): void {
    this.#worker.postMessage(word);
  }

  /** The new picture and its place come in the same frame: nothing jumps. */
  #frame(): void {
    for (const print of this.#arrived.splice(0)) this.#hang(print);
    if (this.#drawn !== undefined) this.#place(this.#drawn, this.#camera.view);
    if (!this.#isOrdered && this.#palette !== undefined) this.#order(this.#palette);
  }

  #hang({ order, bitmap }: Print): void {
    this.#isOrdered = false;
    const canvas = order.of === "map" ? this.#canvas : this.#overview;
    canvas.getContext("bitmaprenderer")?.transferFromImageBitmap(bitmap);
    if (order.of === "overview") return;
    this.#drawn = order;
    const { width, height } = order.pixels;
    this.#canvas.style.width = `${width / order.ratio}px`;
    this.#canvas.style.height = `${height / order.ratio}px`;
  }

  #place({ rect, scale, ratio }: Order, view: View): void {
    const factor = view.scale / scale;
    // By whole pixels of the device where nothing is scaled: sharp, and quicker to put together.
    const round = (at: number): number => (factor === 1 ? Math.round(at * ratio) / ratio : at);
    const [x, y] = [round(view.x + rect.x * view.scale), round(view.y + rect.y * view.scale)];
    this.#canvas.style.transform = `translate(${x}px, ${y}px) scale(${factor})`;
  }

  #order(palette: Palette): void {
    const { view, size } = this.#camera;
    if (this.#isStale || this.#misfits(view, size)) {
      this.#isStale = false;
      const ratio = ratioFor(size);
      const rect = seen(view, size, margin);
      this.#ask({ of: "map", rect, scale: view.scale, ratio, marks: this.#marks, palette });
    } else if (this.#isOverviewStale) {
      this.#isOverviewStale = false;
      this.#orderOverview(palette);
    }
  }

  #orderOverview(palette: Palette): void {
    const { clientWidth: width, clientHeight: height } = this.#overview;
    if (width === 0 || this.#scene === undefined) return;
    const { rect, scale } = overviewOf(worldOf(this.#scene.cards), { width, height });
    const marks = { chosen: "", pointed: "", group: this.#marks.group };
    this.#ask({ of: "overview", rect, scale, ratio: devicePixelRatio, marks, palette });
  }

  #ask(order: Omit<Order, "pixels">): void {
    const k = order.scale * order.ratio;
    const pixels = { width: Math.round(order.rect.width * k), height: Math.round(order.rect.height * k) };
    this.#isOrdered = true;
    this.#tell({ order: { ...order, pixels } });
  }

  /** Is the view beyond what the last picture shows well enough? One that is only scaled a little waits until it rests. */
  #misfits(view: View, size: Size): boolean {
    const drawn = this.#drawn;
    if (drawn === undefined || drawn.ratio !== ratioFor(size)) return true;
    if (!within(drawn.rect, seen(view, size, leastMargin))) return true;
    const factor = view.scale / drawn.scale;
    if (factor === 1) return false;
    if (factor > tolerated || factor < 1 / tolerated) return true;
    clearTimeout(this.#rest);
    this.#rest = setTimeout(() => this.#redraw(), restMs);
    return false;
  }
}

function ratioFor({ width, height }: Size): number {
  const pixels = width * height * (1 + 2 * margin) ** 2;
  return Math.min(devicePixelRatio, Math.max(0.5, Math.sqrt(mostPixels / pixels)));
}

/** The piece of the world that an overview of this size shows: all of it, in the middle. */
export function overviewOf(
  world: Rect,
  { width, height }: Size,
): { readonly rect: Rect; readonly scale: number } {
  const scale = Math.min(width / world.width, height / world.height) * 0.92;
  const [wide, high] = [width / scale, height / scale];
  return {
    rect: {
      x: world.x + (world.width - wide) / 2,
      y: world.y + (world.height - high) / 2,
      width: wide,
      height: high,
    },
    scale,
  };
}
