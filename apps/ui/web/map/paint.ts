import { box } from "../layout.ts";
import { boundsOf, type Curve, curveOf, overlap, pointAt } from "./curve.ts";
import type { Palette } from "./palette.ts";
import type { Card, Line, Marks, Scene } from "./scene.ts";
import { fittingText, type Pen } from "./text.ts";
import type { Rect } from "./view.ts";

/** A scene made ready: where each edge runs is worked out once for all of its pictures. */
export interface Prepared {
  readonly cards: readonly Card[];
  readonly lines: readonly { readonly line: Line; readonly curve: Curve; readonly bounds: Rect }[];
}

/** One picture of it: a piece of the world, in so many pixels for each of the world's. */
export interface Shot {
  readonly rect: Rect;
  readonly scale: number;
  /** Pixels of the device for each of the page's. */
  readonly ratio: number;
  readonly marks: Marks;
  readonly palette: Palette;
}

/** Below these scales, arrows and labels, or names, are no longer made out. */
const arrowsFrom = 0.3;
const labelsFrom = 0.45;
const namesFrom = 0.17;
/** Size of a name's letters in the page's pixels at least, where there is room for it. */
const leastText = 9;
/** Edges in one picture from which on those without trouble step back. */
const crowded = 400;

export function prepare({ cards, lines }: Scene): Prepared {
  const byId = new Map(cards.map((card) => [card.id, card]));
  return {
    cards,
    lines: lines.flatMap((line) => {
      const [source, target] = [byId.get(line.source), byId.get(line.target)];
      if (source === undefined || target === undefined) return [];
      const curve = curveOf(source, target);
      return [{ line, curve, bounds: boundsOf(curve) }];
    }),
  };
}

/** Draws a piece of the map. */
export function paint(pen: Pen, prepared: Prepared, shot: Shot): void {
  const { rect, scale, ratio } = shot;
  const k = scale * ratio;
  pen.setTransform(1, 0, 0, 1, 0, 0);
  pen.fillStyle = shot.palette.page;
  pen.fillRect(0, 0, Math.ceil(rect.width * k), Math.ceil(rect.height * k));
  pen.setTransform(k, 0, 0, k, -rect.x * k, -rect.y * k);
  const lines = prepared.lines.filter(({ bounds }) => overlap(bounds, rect));
  paintLines(pen, lines, shot);
  const cards = prepared.cards.filter(({ x, y }) => overlap({ x, y, ...box }, rect));
  paintCards(pen, cards, shot);
  if (scale >= labelsFrom) paintLabels(pen, lines, cards, shot);
}

type Lines = Prepared["lines"];

const isMarked = ({ id }: Line, { chosen, pointed }: Marks): boolean => id === chosen || id === pointed;

/** The quiet ones first, what is dropped above them, what is looked at above all. */
function paintLines(pen: Pen, lines: Lines, shot: Shot): void {
  const { scale, marks, palette } = shot;
  const groups = new Map<string, Lines[number][]>();
  for (const one of lines) {
    const { line } = one;
    const order = isMarked(line, marks) ? 8 : { forwarded: 0, audited: 2, dropped: 4 }[line.state];
    const key = `${order + (line.isBusy ? 1 : 0)} ${line.width}`;
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [one]);
    else group.push(one);
  }
  const faded = lines.length > crowded ? 0.6 : 1;
  const thickness = Math.min(1.2, Math.max(0.45, scale));
  for (const [, group] of [...groups].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const [first] = group;
    if (first === undefined) continue;
    const { line } = first;
    const marked = isMarked(line, marks);
    pen.strokeStyle = marked ? palette.accent : palette[line.state];
    pen.fillStyle = pen.strokeStyle;
    pen.globalAlpha = marked || line.state !== "forwarded" ? 1 : (line.isBusy ? 0.9 : 0.45) * faded;
    pen.lineWidth = ((line.width + (marked ? 1.5 : 0)) * thickness) / scale;
    pen.setLineDash(line.state === "dropped" ? [6 / scale, 3 / scale] : []);
    for (const { curve } of group) strokeCurve(pen, curve);
    if (scale >= arrowsFrom) for (const { curve } of group) fillArrow(pen, curve, 6 + line.width);
  }
  pen.globalAlpha = 1;
  pen.setLineDash([]);
}

function strokeCurve(pen: Pen, [a, b, c, d]: Curve): void {
  pen.beginPath();
  pen.moveTo(a.x, a.y);
  pen.bezierCurveTo(b.x, b.y, c.x, c.y, d.x, d.y);
  pen.stroke();
}

/** Every edge ends on a left side, from the left. */
function fillArrow(pen: Pen, [, , , end]: Curve, size: number): void {
  pen.beginPath();
  pen.moveTo(end.x, end.y);
  pen.lineTo(end.x - size * 1.4, end.y - size * 0.7);
  pen.lineTo(end.x - size * 1.4, end.y + size * 0.7);
  pen.fill();
}

function stripe({ kind, isAlarmed }: Card, palette: Palette): string {
  if (isAlarmed) return palette.dropped;
  if (kind === "workload" || kind === "namespace") return palette.accent;
  return kind === "world" || kind === "name" ? palette.audited : palette.quiet;
}

function paintCards(pen: Pen, cards: readonly Card[], { scale, marks, palette }: Shot): void {
  const radius = scale < arrowsFrom ? 0 : 8;
  const text = Math.max(14, Math.min(leastText / scale, box.height * 0.8));
  const hasNote = scale >= labelsFrom;
  for (const card of cards) {
    const isMarked = card.id === marks.pointed || card.id === marks.group;
    pen.beginPath();
    if (radius === 0) pen.rect(card.x, card.y, box.width, box.height);
    else pen.roundRect(card.x, card.y, box.width, box.height, radius);
    pen.fillStyle = palette.panel;
    pen.fill();
    pen.strokeStyle = isMarked ? palette.accent : palette.line;
    pen.lineWidth = (isMarked ? 2.5 : 1) / Math.min(1, scale);
    pen.stroke();
    pen.fillStyle = stripe(card, palette);
    pen.fillRect(card.x, card.y + radius, 4 / Math.min(1, scale * 2), box.height - 2 * radius);
  }
  if (scale < namesFrom) return;
  pen.textBaseline = "middle";
  const room = box.width - 24;
  pen.fillStyle = palette.text;
  // Small letters are read better thin, and more of them have room.
  pen.font = `${hasNote ? "bold " : ""}${text}px system-ui, sans-serif`;
  for (const { name, x, y } of cards)
    pen.fillText(fittingText(pen, name, room, text), x + 14, y + box.height * (hasNote ? 0.34 : 0.52));
  if (!hasNote) return;
  pen.font = `12px system-ui, sans-serif`;
  for (const { note, x, y, isAlarmed } of cards) {
    pen.fillStyle = isAlarmed ? palette.dropped : palette.quiet;
    pen.fillText(fittingText(pen, note, room, 12), x + 14, y + box.height * 0.7);
  }
}

/** Ports, where they cover no node and no other label: of what is looked at, wherever it is. */
function paintLabels(pen: Pen, lines: Lines, cards: readonly Card[], { marks, palette }: Shot): void {
  pen.font = `11px system-ui, sans-serif`;
  pen.textBaseline = "middle";
  const taken: Rect[] = cards.map(({ x, y }) => ({ x, y, ...box }));
  for (const { line, curve } of lines) {
    const marked = isMarked(line, marks);
    if (line.state !== "dropped" && !marked) continue;
    const width = pen.measureText(line.label).width + 8;
    const spots = labelSpots.map((t) => {
      const { x, y } = pointAt(curve, t);
      return { x: x - width / 2, y: y - 9, width, height: 18 };
    });
    const spot =
      spots.find((one) => !taken.some((other) => overlap(one, other))) ?? (marked ? spots[0] : undefined);
    if (spot === undefined) continue;
    taken.push(spot);
    pen.fillStyle = palette.panel;
    pen.fillRect(spot.x, spot.y, spot.width, spot.height);
    pen.fillStyle = line.state === "dropped" ? palette.dropped : palette.text;
    pen.fillText(line.label, spot.x + 4, spot.y + 9);
  }
}

/** Where on its way an edge's label may be, the best first. */
const labelSpots = [0.5, 0.4, 0.6, 0.3, 0.7, 0.2, 0.8, 0.1, 0.9];
