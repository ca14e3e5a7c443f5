import {
  type KeyboardEvent,
  useCallback,
  useEffect,
  useLayoutEffect,
  useMemo,
  useRef,
  useState,
} from "react";
import type { MapNode, NodeHealth } from "../../src/shared/model.ts";
import type { Graph } from "../graph.ts";
import { box } from "../layout.ts";
import { useLayout } from "../use-layout.ts";
import { Camera } from "./camera.ts";
import { curveOf, pointAt } from "./curve.ts";
import { EdgeGrid } from "./edge-grid.ts";
import { EdgeList } from "./edge-list.tsx";
import { gestures } from "./gestures.ts";
import { stepped, viewAfter } from "./keys.ts";
import { NodeLayer } from "./node-layer.tsx";
import { Overview } from "./overview.tsx";
import { onThemeChange, paletteOf } from "./palette.ts";
import { Picture } from "./picture.ts";
import { type Card, cardsOf, type Line, linesOf, worldOf } from "./scene.ts";
import { fitted, revealing } from "./view.ts";

interface Props {
  readonly graph: Graph;
  /** The edge whose details are shown. */
  readonly selected: string | undefined;
  /** The node that the filter names; empty for none. */
  readonly group: string;
  /** The cluster's nodes that are not well. */
  readonly troubled: readonly NodeHealth[];
  readonly onEdge: (id: string) => void;
  readonly onNode: (node: MapNode) => void;
}

/** Pixels from an edge at which it is still meant. */
const reach = 7;
/** Nodes from which on an overview helps. */
const many = 40;

/**
 * The service map: a picture that a worker draws, moved by a transform, and over it what the keyboard and screen readers
 * find: a button for each node, a list of edges.
 */
export function MapView({ graph, selected, group, troubled, onEdge, onNode }: Props) {
  const surface = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const overview = useRef<HTMLCanvasElement>(null);
  const [camera] = useState(() => new Camera());
  const picture = useRef<Picture | undefined>(undefined);
  const positions = useLayout(graph);
  const cards = useMemo(() => cardsOf(graph.nodes, positions, troubled), [graph.nodes, positions, troubled]);
  const lines = useLines(graph);
  const world = useMemo(() => worldOf(cards), [cards]);
  const curves = useCurves(cards, lines);

  useSize(surface, camera);
  useEffect(() => {
    if (canvas.current === null || overview.current === null) return;
    const made = new Picture(canvas.current, overview.current, camera);
    const home = canvas.current.parentElement ?? document.body;
    const colour = (): void => made.colour(paletteOf(home));
    colour();
    picture.current = made;
    const leave = onThemeChange(colour);
    return () => {
      leave();
      made.close();
    };
  }, [camera]);
  useEffect(() => picture.current?.show({ cards, lines }), [cards, lines]);
  useEffect(() => picture.current?.mark({ chosen: selected ?? "", group }), [selected, group]);
  useFit(camera, cards);

  // Built when the pointer first asks after the edges have moved.
  const grid = useRef<EdgeGrid | undefined>(undefined);
  useEffect(() => {
    grid.current = undefined;
    if (surface.current === null) return;
    const element = surface.current;
    const edgeAt = (point: { x: number; y: number }): string | undefined => {
      grid.current ??= new EdgeGrid(curves());
      return grid.current.near(point, reach / camera.view.scale);
    };
    return gestures(element, camera, {
      over: (point) => {
        const id = point === undefined ? undefined : edgeAt(point);
        element.style.cursor = id === undefined ? "" : "pointer";
        picture.current?.mark({ pointed: id ?? "" });
      },
      clicked: (point) => {
        const id = edgeAt(point);
        if (id !== undefined) onEdge(id);
      },
    });
  }, [camera, curves, onEdge]);

  const focusCard = useCallback(
    (card: Card | undefined) => {
      picture.current?.mark({ pointed: card?.id ?? "" });
      if (card !== undefined) camera.look(revealing(camera.view, { ...card, ...box }, camera.size));
    },
    [camera],
  );
  const focusEdge = useCallback(
    (id: string | undefined) => {
      picture.current?.mark({ pointed: id ?? "" });
      const curve = id === undefined ? undefined : new Map(curves()).get(id);
      if (curve === undefined) return;
      camera.look(revealing(camera.view, { ...pointAt(curve, 0.5), width: 1, height: 1 }, camera.size));
    },
    [camera, curves],
  );

  const fit = (): void => camera.look(fitted(world, camera.size));
  const onKey = (event: KeyboardEvent): void => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const after = viewAfter(event.key, camera, world);
    if (after === undefined) return;
    event.preventDefault();
    camera.look(after);
  };
  return (
    // biome-ignore lint/a11y/noStaticElementInteractions: keys of what is within it, where nothing nearer takes them
    <div className="world" onKeyDown={onKey}>
      <div className="surface" ref={surface}>
        <canvas ref={canvas} />
        <NodeLayer
          camera={camera}
          cards={cards}
          nodes={graph.nodes}
          group={group}
          choose={onNode}
          focused={focusCard}
        />
      </div>
      <EdgeList edges={graph.edges} choose={onEdge} focused={focusEdge} />
      <fieldset className="controls" aria-label="View">
        <Control name="Zoom In" sign="M8 2v12M2 8h12" act={() => camera.look(stepped(camera, true))} />
        <Control name="Zoom Out" sign="M2 8h12" act={() => camera.look(stepped(camera, false))} />
        <Control name="Fit View" sign="M2 6V2h4M10 2h4v4M14 10v4h-4M6 14H2v-4" act={fit} />
      </fieldset>
      <Overview camera={camera} world={world} canvas={overview} isShown={cards.length > many} />
    </div>
  );
}

function Control({ name, sign, act }: { name: string; sign: string; act: () => void }) {
  return (
    <button type="button" aria-label={name} title={name} onClick={act}>
      <svg viewBox="0 0 16 16" aria-hidden="true">
        <path d={sign} />
      </svg>
    </button>
  );
}

/** Edges as they are drawn: another list only when one of them looks different. */
function useLines(graph: Graph): readonly Line[] {
  const before = useRef<readonly Line[]>([]);
  return useMemo(() => {
    before.current = linesOf(graph, before.current);
    return before.current;
  }, [graph]);
}

/** Where each edge runs, worked out when it is asked for. */
function useCurves(cards: readonly Card[], lines: readonly Line[]) {
  return useCallback(() => {
    const byId = new Map(cards.map((card) => [card.id, card]));
    return lines.flatMap(({ id, source, target }) => {
      const [from, to] = [byId.get(source), byId.get(target)];
      return from === undefined || to === undefined ? [] : [[id, curveOf(from, to)] as const];
    });
  }, [cards, lines]);
}

function useSize(surface: { readonly current: HTMLDivElement | null }, camera: Camera): void {
  useLayoutEffect(() => {
    const element = surface.current;
    if (element === null) return;
    const measure = (): void => camera.resize({ width: element.clientWidth, height: element.clientHeight });
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    return () => observer.disconnect();
  }, [surface, camera]);
}

/** The first picture, and one that has become much larger or smaller, is shown whole; otherwise nothing jumps. */
function useFit(camera: Camera, cards: readonly Card[]): void {
  const drawn = useRef(0);
  useEffect(() => {
    const count = cards.length;
    if (count === 0 || Math.abs(count - drawn.current) <= drawn.current * 0.3) return;
    drawn.current = count;
    camera.look(fitted(worldOf(cards), camera.size));
  }, [cards, camera]);
}
