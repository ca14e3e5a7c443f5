/** What is drawn with: a canvas of the page or of a worker. */
export type Pen = CanvasRenderingContext2D | OffscreenCanvasRenderingContext2D;

/** Texts whose fit is remembered. */
const mostKnown = 20_000;
const known = new Map<string, string>();

/** The text, or its beginning and a `…`, so that it takes no more than `room` in the pen's font of that size. */
export function fittingText(pen: Pen, text: string, room: number, size: number): string {
  // Letters grow with their size: what fits is a matter of how many sizes wide the room is.
  const key = `${pen.font.startsWith("bold")} ${Math.round((room / size) * 4)} ${text}`;
  const before = known.get(key);
  if (before !== undefined) return before;
  if (known.size >= mostKnown) known.clear();
  const fit = fitted(pen, text, room);
  known.set(key, fit);
  return fit;
}

function fitted(pen: Pen, text: string, room: number): string {
  if (pen.measureText(text).width <= room) return text;
  let [fits, over] = [0, text.length];
  while (over - fits > 1) {
    const middle = (fits + over) >> 1;
    if (pen.measureText(`${text.slice(0, middle)}…`).width <= room) fits = middle;
    else over = middle;
  }
  return `${text.slice(0, fits)}…`;
}
