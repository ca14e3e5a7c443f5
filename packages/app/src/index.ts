export {
  type Liveness,
  loadOptions,
  type Option,
  type OptionSet,
  parseOptions,
  type Values,
} from "./config.ts";
export { Health, type HealthReporter, type HealthState, type ModuleHealth } from "./health.ts";
export { Lifecycle, type Module } from "./lifecycle.ts";
export { createLogger, logLevels, type ProblemListener, type StructuredLogger } from "./logging.ts";
export { type Program, programHelp, runProgram, stopOnSignal } from "./program.ts";
