/** Draws pictures of the map beside the page, so that moving it waits for no drawing. */

import { type Prepared, paint, prepare, type Shot } from "./paint.ts";
import type { Scene } from "./scene.ts";
import type { Size } from "./view.ts";

/** A picture that is wanted: the map's, or the overview's. */
export interface Order extends Shot {
  readonly of: "map" | "overview";
  readonly pixels: Size;
}

/** Made as wanted. `ms`: what it took. */
export interface Print {
  readonly order: Order;
  readonly bitmap: ImageBitmap;
  readonly ms: number;
}

/** What the painter is told: another scene, or to draw. */
export type Word = { readonly scene: Scene } | { readonly order: Order };

const canvases = { map: new OffscreenCanvas(1, 1), overview: new OffscreenCanvas(1, 1) };
let prepared: Prepared = { cards: [], lines: [] };

addEventListener("message", ({ data }: MessageEvent<Word>) => {
  if ("scene" in data) {
    prepared = prepare(data.scene);
    return;
  }
  const { order } = data;
  const began = performance.now();
  const canvas = canvases[order.of];
  if (canvas.width !== order.pixels.width || canvas.height !== order.pixels.height) {
    canvas.width = order.pixels.width;
    canvas.height = order.pixels.height;
  }
  const pen = canvas.getContext("2d", { alpha: false });
  if (pen === null) return;
  paint(pen, prepared, order);
  const bitmap = canvas.transferToImageBitmap();
  const print: Print = { order, bitmap, ms: performance.now() - began };
  postMessage(print, { transfer: [bitmap] });
});
