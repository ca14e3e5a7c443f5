import { mkdirSync } from "node:fs";
import { hostname } from "node:os";
import {
  type ConfigSources,
  configKey,
  type HealthReporter,
  type Layer,
  type Module,
  type Settings,
} from "@axoneme/app";
import { errorText, type Logger } from "@axoneme/base";
import {
  builtinResources,
  type CiliumNodeConfig,
  type KubeClient,
  ListWatch,
  resources,
} from "@axoneme/kube";
import type { ConfigOptionView, ConfigView } from "@axoneme/observe";
import { type AgentConfig, agentOptions } from "../options.ts";
import { refuseContradictions } from "./contradictions.ts";
import {
  apiLayer,
  firstNodeOptions,
  layersOf,
  type NodeOptions,
  remember,
  selected,
} from "./node-configs.ts";

type Name = keyof AgentConfig;
type AgentSettings = Settings<typeof agentOptions>;

/** The definition of CiliumNodeConfig may come after us. */
const maxBackoffMs = 3000;

/** What an agent's configuration is made from. */
export interface ConfigurationParts {
  readonly sources: Pick<ConfigSources<typeof agentOptions>, "read" | "follow" | "hasDirectory">;
  readonly client: KubeClient;
  readonly log: Logger;
}

/**
 * The agent's configuration while it runs: what it was started with, what is wanted since, and the options that take
 * a change at once. Nothing that is wanted and cannot be is taken up: the agent goes on as it is and says so.
 */
export class Configuration implements Module {
  readonly name = "configuration";
  readonly #parts: ConfigurationParts;
  readonly #nodeName: string;
  readonly #appliers = new Map<Name, (config: AgentConfig) => void>();
  readonly #configs: ListWatch<CiliumNodeConfig>;
  #nodeOptions: readonly NodeOptions[];
  #map: Layer | undefined;
  #labels: Readonly<Record<string, string>> | undefined;
  #running: AgentConfig;
  #desired: AgentSettings;
  #problem: string | undefined;
  #health: HealthReporter | undefined;
  #stops: (() => void | Promise<unknown>)[] = [];
  /** Told after each look at what is wanted. */
  onChange: () => void = () => undefined;

  private constructor(parts: ConfigurationParts, first: AgentSettings, nodeOptions: readonly NodeOptions[]) {
    this.#parts = parts;
    this.#desired = first;
    this.#running = first.values;
    this.#nodeOptions = nodeOptions;
    this.#nodeName = first.values.nodeName || hostname();
    this.#configs = new ListWatch(parts.client, resources.ciliumnodeconfigs, {
      log: parts.log,
      maxBackoffMs,
      namespace: first.values.configNamespace,
    });
  }

  /**
   * Reads everything once.
   * @throws AxonError `config.invalid`, `config.unreadable`: a sentence for each thing that is wrong
   */
  static async open(parts: ConfigurationParts): Promise<Configuration> {
    const own = parts.sources.read().values;
    mkdirSync(own.runDir, { recursive: true, mode: 0o700 });
    const nodeName = own.nodeName || hostname();
    const nodeOptions = await firstNodeOptions(parts.client, own, nodeName, parts.log);
    const first = parts.sources.read(layersOf(nodeOptions));
    refuseContradictions(first.values);
    return new Configuration(parts, first, nodeOptions);
  }

  /** What the agent runs with; live options change in it. */
  get running(): AgentConfig {
    return this.#running;
  }

  /** Calls when the option, which has to be a live one, is another; with all that is in force then. */
  on(name: Name, apply: (config: AgentConfig) => void): this {
    this.#appliers.set(name, apply);
    return this;
  }

  start(health: HealthReporter): void {
    this.#health = health;
    this.#stops.push(this.#parts.sources.follow(() => this.#look()));
    const changed = (): void => {
      if (this.#labels !== undefined && this.#configs.health().synced) this.#select();
    };
    this.#configs.start({ onAdd: changed, onUpdate: changed, onDelete: changed, onSynced: changed });
    this.#stops.push(() => this.#configs.stop());
    this.#followMap();
    this.#look();
  }

  async stop(): Promise<void> {
    for (const stop of this.#stops.splice(0)) await stop();
  }

  /** The labels of this node's object: CiliumNodeConfigs select by them. */
  nodeLabels(labels: Readonly<Record<string, string>>): void {
    this.#labels = labels;
    if (this.#configs.health().synced) this.#select();
  }

  view(): ConfigView {
    const options = Object.entries(agentOptions).map(([name, option]): ConfigOptionView => {
      const running = this.#running[name as Name];
      const desired = this.#desired.values[name as Name];
      return {
        name,
        key: configKey(name, option),
        running,
        desired,
        origin: this.#desired.origins[name as Name] ?? "default",
        change: option.liveness,
        ...(same(running, desired) ? {} : { pending: true }),
      };
    });
    return {
      node: this.#nodeName,
      options,
      ...(this.#problem === undefined ? {} : { problem: this.#problem }),
    };
  }

  /** What is told to the cluster: options that wait, and why nothing is taken up; undefined: all is in force. */
  summary(): string | undefined {
    const pending = this.view()
      .options.filter((option) => option.pending === true)
      .map(({ key, running, desired, change }) => ({ key, running, desired, change }));
    if (pending.length === 0 && this.#problem === undefined) return undefined;
    return JSON.stringify({ pending, ...(this.#problem === undefined ? {} : { problem: this.#problem }) });
  }

  /** The ConfigMap that the directory is a copy of: its volume follows it after a minute, the API at once. */
  #followMap(): void {
    const { configMap, configNamespace: namespace } = this.#running;
    if (configMap === "" || !this.#parts.sources.hasDirectory) return;
    const watch = new ListWatch(this.#parts.client, builtinResources.configmaps, {
      log: this.#parts.log,
      namespace,
      fieldSelector: `metadata.name=${configMap}`,
    });
    const take = (data: Record<string, string> | undefined): void => {
      this.#map = data && apiLayer(`ConfigMap ${namespace}/${configMap}`, data);
      this.#look();
    };
    watch.start({
      onAdd: ({ data = {} }) => take(data),
      onUpdate: ({ data = {} }) => take(data),
      onDelete: () => take(undefined),
    });
    this.#stops.push(() => watch.stop());
  }

  #select(): void {
    const now = selected(this.#configs.store.values(), this.#labels ?? {});
    if (same(now, this.#nodeOptions)) return;
    this.#nodeOptions = now;
    try {
      remember(this.#running.runDir, now);
    } catch (error) {
      this.#parts.log.warn({ err: errorText(error) }, "CiliumNodeConfigs are not kept for the next start");
    }
    this.#look();
  }

  /** Reads what is wanted, applies what can be at once, and says what waits. */
  #look(): void {
    const before = this.#problem;
    try {
      const wanted = this.#parts.sources.read(layersOf(this.#nodeOptions), this.#map);
      refuseContradictions(wanted.values);
      this.#problem = undefined;
      this.#desired = wanted;
      this.#apply(wanted.values);
    } catch (error) {
      this.#problem = errorText(error);
      if (this.#problem !== before) this.#parts.log.error({ err: this.#problem }, "a change is not taken up");
    }
    this.#report();
    this.onChange();
  }

  #apply(wanted: AgentConfig): void {
    const changed = [...this.#appliers].filter(([name]) => !same(this.#running[name], wanted[name]));
    const live = Object.fromEntries(changed.map(([name]) => [name, wanted[name]]));
    this.#running = { ...this.#running, ...live };
    for (const [name, apply] of changed) {
      this.#parts.log.info({ option: name, value: wanted[name] }, "option changed");
      apply(this.#running);
    }
  }

  #report(): void {
    if (this.#problem !== undefined) {
      this.#health?.degraded(`goes on as before, a change is not taken up: ${this.#problem}`);
      return;
    }
    const waiting = this.view().options.filter(({ pending }) => pending === true);
    const text = waiting.map(({ name, change }) => `${name} (${change})`).join(", ");
    this.#health?.ok(waiting.length === 0 ? "" : `changed and not in force yet: ${text}`);
  }
}

function same(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
