import { inTrouble } from "./nodes.ts";
import type { Shown } from "./use-flows.ts";

interface Props {
  readonly shown: Shown;
  readonly isPaused: boolean;
  readonly setPaused: (isPaused: boolean) => void;
  readonly showNodes: () => void;
}

const words = {
  connecting: "connecting",
  live: "live",
  lost: "connection lost, trying again",
  past: "past",
} as const;

/** How the connection and the nodes behind it are. */
export function HealthBar({ shown, isPaused, setPaused, showNodes }: Props) {
  const { connection, error, health } = shown;
  const sources = health?.sources ?? [];
  // Nodes that a relay does not reach are among those in trouble, where anybody tells of nodes.
  const unavailable = shown.nodes.length > 0 ? [] : sources.flatMap(({ nodes }) => nodes.unavailable);
  const failed = sources.filter(({ state }) => state === "failed");
  const lost = sources.reduce((sum, one) => sum + one.lost, 0);
  const troubled = inTrouble(shown.nodes).length;
  const nodes = shown.nodes.length || sources.reduce((sum, one) => sum + one.nodes.connected, 0);
  return (
    <div className="health">
      <output className={`state ${isPaused ? "paused" : connection}`}>
        {isPaused ? "paused" : words[connection]}
      </output>
      {error !== "" && <span className="bad">{error}</span>}
      <span>{health?.rate ?? 0} flows/s</span>
      <button type="button" className={troubled > 0 ? "bad" : ""} onClick={showNodes}>
        {nodes} nodes{troubled > 0 && `, ${troubled} in trouble`}
      </button>
      {failed.map(({ name, message }) => (
        <span key={name} className="bad" title={message}>
          {name} does not answer
        </span>
      ))}
      {unavailable.length > 0 && <span className="bad">no answer from {unavailable.join(", ")}</span>}
      {lost > 0 && <span className="warn">{lost} records lost</span>}
      {connection !== "past" && (
        <button type="button" aria-pressed={isPaused} onClick={() => setPaused(!isPaused)}>
          {isPaused ? "Go on" : "Pause"}
        </button>
      )}
    </div>
  );
}
