import type { Logger } from "@axoneme/base";
import pino from "pino";

/** The log levels an option may name. */
export const logLevels = ["trace", "debug", "info", "warn", "error"] as const;

/** A structured logger: one JSON object a line on stdout, `module` set by children. */
export interface StructuredLogger extends Logger {
  child(bindings: Record<string, unknown>): StructuredLogger;
  level: string;
}

/** Told of each warning and error: its level, and the module that logged it (the program's name where there is none). */
export type ProblemListener = (level: "warning" | "error", module: string) => void;

/** pino's numbers. */
const warnLevel = 40;
const errorLevel = 50;

/** The program's root logger. Writes synchronously so that a crash loses no line. */
export function createLogger(
  name: string,
  level: (typeof logLevels)[number] = "info",
  onProblem?: ProblemListener,
): StructuredLogger {
  return pino(
    {
      name,
      hooks: {
        logMethod(args, method, number) {
          if (onProblem && number >= warnLevel) {
            const module: unknown = this.bindings()["module"];
            onProblem(number >= errorLevel ? "error" : "warning", typeof module === "string" ? module : name);
          }
          method.apply(this, args);
        },
      },
      level,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    pino.destination({ dest: 1, sync: true }),
  );
}
