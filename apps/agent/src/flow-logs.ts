import type { HealthReporter, Lifecycle, Module } from "@axoneme/app";
import { AxonError, errorText, type Logger } from "@axoneme/base";
import { type FlowLogs, type Observer, startFlowLogs } from "@axoneme/observe";
import type { Registry } from "prom-client";
import type { AgentConfig } from "./options.ts";

type FlowLogOptions = Pick<
  AgentConfig,
  | "hubbleExportFilePath"
  | "hubbleExportFileMaxSizeMb"
  | "hubbleExportFileMaxBackups"
  | "hubbleExportFileCompress"
  | "hubbleExportAllowlist"
  | "hubbleExportDenylist"
  | "hubbleExportFieldmask"
  | "hubbleFlowlogsConfigPath"
>;

/** Writes flows to files. What is wrong there costs the node its logs, not its pods. */
export class FlowLogModule implements Module {
  readonly name = "flow-logs";
  readonly #config: FlowLogOptions;
  readonly #observer: Observer;
  readonly #registry: Registry;
  readonly #log: Logger;
  #logs: FlowLogs | undefined;

  constructor(config: FlowLogOptions, observer: Observer, registry: Registry, log: Logger) {
    this.#config = config;
    this.#observer = observer;
    this.#registry = registry;
    this.#log = log;
  }

  async start(health: HealthReporter): Promise<void> {
    const path = this.#config.hubbleFlowlogsConfigPath;
    try {
      this.#logs = await startFlowLogs({
        observer: this.#observer,
        registry: this.#registry,
        log: this.#log,
        fixed: fixedLogs(this.#config),
        ...(path === "" ? {} : { configPath: path }),
        onState: (problem, logs) =>
          problem === undefined ? health.ok(`${logs} logs`) : health.degraded(problem),
      });
    } catch (error) {
      health.degraded(errorText(error));
      this.#log.error({ err: error }, "flows are not written to files");
    }
  }

  async stop(): Promise<void> {
    await this.#logs?.stop();
  }
}

/** Adds the logs of flows to an agent, if any are asked for. */
export function addFlowLogs(
  lifecycle: Lifecycle,
  config: FlowLogOptions,
  observer: Observer,
  registry: Registry,
  log: Logger,
): void {
  if (config.hubbleExportFilePath === "" && config.hubbleFlowlogsConfigPath === "") return;
  lifecycle.add(new FlowLogModule(config, observer, registry, log));
}

/** The log that the agent's own options describe. */
function fixedLogs(config: FlowLogOptions): object[] {
  if (config.hubbleExportFilePath === "") return [];
  return [
    {
      name: "static",
      filePath: config.hubbleExportFilePath,
      fieldMask: config.hubbleExportFieldmask,
      includeFilters: config.hubbleExportAllowlist.map((text) => filterOf("hubbleExportAllowlist", text)),
      excludeFilters: config.hubbleExportDenylist.map((text) => filterOf("hubbleExportDenylist", text)),
      fileMaxSizeMb: config.hubbleExportFileMaxSizeMb,
      fileMaxBackups: config.hubbleExportFileMaxBackups,
      fileCompress: config.hubbleExportFileCompress,
    },
  ];
}

function filterOf(option: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new AxonError(
      "config.invalid",
      `${option}: ${text} is not a filter in JSON, as {"verdict":["DROPPED"]}`,
      {
        cause,
      },
    );
  }
}
