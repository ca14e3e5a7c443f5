import type { Logger } from "@axoneme/base";
import pino from "pino";

/** The log levels an option may name. */
export const logLevels = ["trace", "debug", "info", "warn", "error"] as const;

/** A structured logger: one JSON object a line on stdout, `module` set by children. */
export interface StructuredLogger extends Logger {
  child(bindings: Record<string, unknown>): StructuredLogger;
  level: string;
}

/** The program's root logger. Writes synchronously so that a crash loses no line. */
export function createLogger(name: string, level: (typeof logLevels)[number] = "info"): StructuredLogger {
  return pino(
    {
      name,
      level,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    pino.destination({ dest: 1, sync: true }),
  );
}
