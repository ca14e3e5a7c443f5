import { join } from "node:path";
import type { Lifecycle } from "@axoneme/app";
import type { Logger } from "@axoneme/base";
import { builtFile } from "@axoneme/netlink";
import type { Configuration } from "../config/configuration.ts";
import type { AgentConfig } from "../options.ts";
import { conflist } from "./conflist.ts";
import { CniInstaller } from "./installer.ts";
import { type CniHandler, CniServer } from "./server.ts";

/** Where the agent serves the plugin. */
function socketOf({ runDir }: AgentConfig): string {
  return join(runDir, "cni.sock");
}

/** What answers the plugin, and what shows the runtime the plugin: that follows `cniWriteConf` while it runs. */
export function addCni(
  lifecycle: Lifecycle,
  configuration: Configuration,
  handler: CniHandler,
  log: Logger,
): void {
  const config = configuration.running;
  const installer = new CniInstaller({
    confDir: config.cniConfDir,
    binDir: config.cniBinDir,
    wanted: () => configuration.running.cniWriteConf,
    exclusive: config.cniExclusive,
    conflist: conflist(socketOf(config)),
    plugin: () => builtFile("bin/axoneme-cni"),
    status: () => handler.status(),
    log,
  });
  configuration.on("cniWriteConf", () => installer.wantedChanged());
  lifecycle.add(new CniServer(socketOf(config), handler, log)).add(installer);
}
