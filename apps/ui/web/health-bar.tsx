import type { Shown } from "./use-flows.ts";

interface Props {
  readonly shown: Shown;
  readonly isPaused: boolean;
  readonly setPaused: (isPaused: boolean) => void;
}

const words = {
  connecting: "connecting",
  live: "live",
  lost: "connection lost, trying again",
  past: "past",
} as const;

/** How the connection and the nodes behind it are. */
export function HealthBar({ shown, isPaused, setPaused }: Props) {
  const { connection, error, health } = shown;
  const sources = health?.sources ?? [];
  const unavailable = sources.flatMap(({ nodes }) => nodes.unavailable);
  const failed = sources.filter(({ state }) => state === "failed");
  const lost = sources.reduce((sum, one) => sum + one.lost, 0);
  const nodes = sources.reduce((sum, one) => sum + one.nodes.connected, 0);
  return (
    <div className="health">
      <output className={`state ${isPaused ? "paused" : connection}`}>
        {isPaused ? "paused" : words[connection]}
      </output>
      {error !== "" && <span className="bad">{error}</span>}
      <span>{health?.rate ?? 0} flows/s</span>
      <span>{nodes} nodes</span>
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
