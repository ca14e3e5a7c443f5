import type { Logger } from "@axoneme/base";

/** A logger that says nothing. */
export const quiet: Logger = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
};

/** A logger that keeps the messages of one level. */
export function linesOf(level: keyof Logger): { readonly logger: Logger; readonly lines: string[] } {
  const lines: string[] = [];
  const keep = (...args: unknown[]) => void lines.push(String(args.at(-1)));
  return { logger: { ...quiet, [level]: keep }, lines };
}
