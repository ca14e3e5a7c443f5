/** A log method: fields first, then the sentence, as pino takes them. */
export type LogFn = (fields: object, message: string) => void;

/** What packages log to. A pino logger satisfies it. */
export interface Logger {
  debug: LogFn;
  info: LogFn;
  warn: LogFn;
  error: LogFn;
}

/** A logger that adds `bindings` to each record. */
export function childLogger(logger: Logger, bindings: Record<string, unknown>): Logger {
  return {
    debug: (fields, message) => logger.debug({ ...bindings, ...fields }, message),
    info: (fields, message) => logger.info({ ...bindings, ...fields }, message),
    warn: (fields, message) => logger.warn({ ...bindings, ...fields }, message),
    error: (fields, message) => logger.error({ ...bindings, ...fields }, message),
  };
}

/** Discards everything. */
export const silentLogger: Logger = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
};

/** One record kept by {@link memoryLogger}. */
export interface LogRecord {
  level: "debug" | "info" | "warn" | "error";
  message: string;
  fields: Record<string, unknown>;
}

/** Keeps its records in `records`: for tests. */
export function memoryLogger(): Logger & { records: LogRecord[] } {
  const records: LogRecord[] = [];
  const at =
    (level: LogRecord["level"]): LogFn =>
    (fields, message) =>
      void records.push({ level, message, fields: { ...fields } });
  return { records, debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") };
}
