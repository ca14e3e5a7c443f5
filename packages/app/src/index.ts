export { type Layer, parseOptions, resolveLayers, type Settings } from "./config.ts";
export { type ConfigPlaces, ConfigSources, textLayer } from "./config-sources.ts";
export { Health, type HealthReporter, type HealthState, type ModuleHealth } from "./health.ts";
export { Lifecycle, type Module } from "./lifecycle.ts";
export { createLogger, logLevels, type ProblemListener, type StructuredLogger } from "./logging.ts";
export type { Liveness, Option, OptionSet, Values } from "./option.ts";
export { configKey, namesByKey, nearest } from "./option-keys.ts";
export { textOfValue, valueFromText } from "./option-text.ts";
export { type Program, programHelp, readCommandLine, runProgram, stopOnSignal } from "./program.ts";
