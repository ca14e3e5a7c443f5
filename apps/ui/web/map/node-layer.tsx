import { type KeyboardEvent, memo, useEffect, useMemo, useRef, useState } from "react";
import type { MapNode } from "../../src/shared/model.ts";
import { box } from "../layout.ts";
import type { Camera } from "./camera.ts";
import { type Card, spokenCard } from "./scene.ts";

interface Props {
  readonly camera: Camera;
  readonly cards: readonly Card[];
  readonly nodes: ReadonlyMap<string, MapNode>;
  readonly group: string;
  readonly choose: (node: MapNode) => void;
  /** The keyboard is at this card, or has left. */
  readonly focused: (card: Card | undefined) => void;
}

/** How far from a card another is that lies in a direction; what is aside of it counts double. */
const steps: Readonly<Record<string, (dx: number, dy: number) => number>> = {
  ArrowRight: (dx, dy) => (dx > box.width / 2 ? dx + 2 * Math.abs(dy) : Infinity),
  ArrowLeft: (dx, dy) => (dx < -box.width / 2 ? -dx + 2 * Math.abs(dy) : Infinity),
  ArrowDown: (dx, dy) => (dy > 0 ? dy + 2 * Math.abs(dx) : Infinity),
  ArrowUp: (dx, dy) => (dy < 0 ? -dy + 2 * Math.abs(dx) : Infinity),
};

function nextCard(cards: readonly Card[], from: Card, key: string): Card | undefined {
  const away = steps[key];
  if (away === undefined) return undefined;
  let [best, least]: [Card | undefined, number] = [undefined, Infinity];
  for (const card of cards) {
    const distance = away(card.x - from.x, card.y - from.y);
    if (distance < least) [best, least] = [card, distance];
  }
  return best;
}

/**
 * The nodes as buttons over the picture, which shows them: for the pointer, the keyboard and those who hear the page. One
 * is a stop of the Tab key, arrow keys go on from there.
 */
export const NodeLayer = memo(function NodeLayer({ camera, cards, nodes, group, choose, focused }: Props) {
  const layer = useRef<HTMLUListElement>(null);
  const [stop, setStop] = useState("");
  const byId = useMemo(() => new Map(cards.map((card) => [card.id, card])), [cards]);
  const current = byId.has(stop) ? stop : (cards[0]?.id ?? "");

  useEffect(
    () =>
      camera.onFrame(() => {
        const { x, y, scale } = camera.view;
        if (layer.current !== null)
          layer.current.style.transform = `translate(${x}px, ${y}px) scale(${scale})`;
      }),
    [camera],
  );

  const cardOf = ({ target }: { target: EventTarget }): Card | undefined =>
    target instanceof HTMLElement ? byId.get(target.dataset["id"] ?? "") : undefined;
  const step = (event: KeyboardEvent): void => {
    const from = cardOf(event);
    const to = from && nextCard(cards, from, event.key);
    if (to === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    layer.current
      ?.querySelector<HTMLElement>(`[data-id="${CSS.escape(to.id)}"]`)
      ?.focus({ preventScroll: true });
  };
  return (
    <ul
      className="cards"
      aria-label={`${cards.length} workloads and others; arrow keys go from one to the next`}
      ref={layer}
      onKeyDown={step}
      onClick={(event) => {
        const node = nodes.get(cardOf(event)?.id ?? "");
        if (node !== undefined) choose(node);
      }}
      onFocus={(event) => {
        const card = cardOf(event);
        if (card === undefined) return;
        setStop(card.id);
        if (event.target.matches(":focus-visible")) focused(card);
      }}
      onBlur={() => focused(undefined)}
    >
      {cards.map((card) => (
        <CardButton
          key={card.id}
          card={card}
          spoken={spokenCard(card)}
          isStop={card.id === current}
          isPressed={card.id === group}
        />
      ))}
    </ul>
  );
});

interface ButtonProps {
  readonly card: Card;
  readonly spoken: string;
  readonly isStop: boolean;
  readonly isPressed: boolean;
}

const CardButton = memo(
  function CardButton({ card: { id, kind, x, y, name }, spoken, isStop, isPressed }: ButtonProps) {
    return (
      <li>
        <button
          type="button"
          className={`card ${kind}`}
          data-id={id}
          tabIndex={isStop ? 0 : -1}
          aria-label={spoken}
          aria-pressed={isPressed}
          title={name}
          style={{ marginLeft: x, marginTop: y, width: box.width, height: box.height }}
        >
          {name}
        </button>
      </li>
    );
  },
  (a, b) =>
    a.card.id === b.card.id &&
    a.card.x === b.card.x &&
    a.card.y === b.card.y &&
    a.spoken === b.spoken &&
    a.isStop === b.isStop &&
    a.isPressed === b.isPressed,
);
