/** Layout beside the page, so that it stays quick to the touch. */
import { type LayoutInput, layout } from "./layout.ts";

addEventListener("message", ({ data }: MessageEvent<{ turn: number; input: LayoutInput }>) => {
  postMessage({ turn: data.turn, positions: [...layout(data.input)] });
});
