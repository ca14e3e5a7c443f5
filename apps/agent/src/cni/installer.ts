import { existsSync } from "node:fs";
import { join } from "node:path";
import type { HealthReporter, Module } from "@axoneme/app";
import { errorText, type Logger } from "@axoneme/base";
import { conflistName } from "./conflist.ts";
import { type CniDirs, installPlugin, putOthersAside, removeCni, writeConflist } from "./files.ts";

export interface InstallerDeps extends CniDirs {
  /** Whether the runtime is to use our network; while not, ours is taken away and those put aside are back. */
  readonly wanted: () => boolean;
  /** Whether configurations of others are put aside. */
  readonly exclusive: boolean;
  /** The configuration's text. */
  readonly conflist: string;
  /** Path of the plugin of this build. */
  readonly plugin: () => string;
  /** Rejects while STATUS would fail. */
  readonly status: () => Promise<void>;
  /** Milliseconds between looks before and after the installation; default 200 and 10000. */
  readonly everyMs?: readonly [number, number];
  readonly log: Logger;
}

/**
 * Shows the runtime its network: the plugin, then the configuration, once STATUS says that pods can be added. With the
 * configuration a kubelet calls its node ready. It stays while the agent restarts, and comes back when somebody
 * removes or changes it. While a node stays with another network, the plugin alone is there.
 */
export class CniInstaller implements Module {
  readonly name = "cni-config";
  readonly #deps: InstallerDeps;
  #health: HealthReporter | undefined;
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;

  constructor(deps: InstallerDeps) {
    this.#deps = deps;
  }

  start(health: HealthReporter): void {
    const { confDir, binDir } = this.#deps;
    if (confDir === "" && binDir === "") {
      health.ok("installed by somebody else (cniConfDir and cniBinDir are not set)");
      return;
    }
    this.#health = health;
    health.degraded("not written yet");
    void this.#look();
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  /** Looks now: whether the configuration is wanted has changed. */
  wantedChanged(): void {
    if (this.#health === undefined || this.#stopped) return;
    clearTimeout(this.#timer);
    void this.#look();
  }

  async #look(): Promise<void> {
    const [before, after] = this.#deps.everyMs ?? [200, 10_000];
    const done = await this.#install();
    if (this.#stopped) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#look(), done ? after : before);
    this.#timer.unref();
  }

  /** False while the configuration is not there. */
  async #install(): Promise<boolean> {
    const { confDir, binDir, plugin, log } = this.#deps;
    try {
      if (binDir !== "" && installPlugin(binDir, plugin())) log.info({ binDir }, "CNI plugin installed");
      if (!this.#deps.wanted()) return this.#withdraw();
      if (!(await this.#mayWrite())) return false;
      // What was wanted may have changed while STATUS was asked.
      if (!this.#deps.wanted()) return this.#withdraw();
      if (confDir !== "") this.#write(confDir);
      this.#health?.ok(confDir === "" ? `plugin in ${binDir}` : join(confDir, conflistName));
      return true;
    } catch (err) {
      this.#health?.failed(errorText(err));
      log.error({ err }, "CNI configuration not written, tried again");
      return false;
    }
  }

  /** Leaves the runtime to the other network. */
  #withdraw(): boolean {
    const { confDir, log } = this.#deps;
    if (confDir !== "" && existsSync(join(confDir, conflistName))) {
      removeCni({ confDir, binDir: "" });
      log.info({ confDir }, "CNI configuration taken away (cniWriteConf)");
    }
    this.#health?.ok("the runtime is left to another network (cniWriteConf is false)");
    return true;
  }

  /** What is there stays when STATUS fails later: the runtime then says so for each pod, with the reason. */
  async #mayWrite(): Promise<boolean> {
    if (existsSync(join(this.#deps.confDir, conflistName))) return true;
    try {
      await this.#deps.status();
      return true;
    } catch (error) {
      this.#health?.degraded(`not written yet: ${errorText(error)}`);
      return false;
    }
  }

  #write(confDir: string): void {
    const { exclusive, conflist, log } = this.#deps;
    if (writeConflist(confDir, conflist)) log.info({ confDir }, "CNI configuration written");
    if (!exclusive) return;
    const aside = putOthersAside(confDir);
    if (aside.length > 0)
      log.warn({ confDir, aside }, "CNI configurations of others put aside (cniExclusive)");
  }
}
