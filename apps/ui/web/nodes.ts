import type { NodeHealth } from "../src/shared/model.ts";

/** Nodes that are not as they should be. */
export const inTrouble = (nodes: readonly NodeHealth[]): NodeHealth[] =>
  nodes.filter(({ state }) => state !== "ok");

/** How long something has been up, in its two largest units. */
export function lasted(seconds: number): string {
  const parts = [
    [Math.floor(seconds / 86_400), "d"],
    [Math.floor(seconds / 3600) % 24, "h"],
    [Math.floor(seconds / 60) % 60, "min"],
    [Math.floor(seconds) % 60, "s"],
  ] as const;
  const first = parts.findIndex(([count]) => count > 0);
  if (first < 0) return "0 s";
  return parts
    .slice(first, first + 2)
    .filter(([count]) => count > 0)
    .map(([count, unit]) => `${count} ${unit}`)
    .join(" ");
}
