import { join } from "node:path";
import type { Logger } from "@axoneme/base";
import { builtFile } from "@axoneme/netlink";
import type { AgentConfig } from "../options.ts";
import { conflist } from "./conflist.ts";
import { CniInstaller } from "./installer.ts";
import { type CniHandler, CniServer } from "./server.ts";

/** Where the agent serves the plugin. */
function socketOf({ runDir }: AgentConfig): string {
  return join(runDir, "cni.sock");
}

/** What answers the plugin. */
export function cniServer(config: AgentConfig, handler: CniHandler, log: Logger): CniServer {
  return new CniServer(socketOf(config), handler, log);
}

/** What shows the runtime the plugin. */
export function cniInstaller(
  config: AgentConfig,
  handler: Pick<CniHandler, "status">,
  wanted: () => boolean,
  log: Logger,
): CniInstaller {
  return new CniInstaller({
    confDir: config.cniConfDir,
    binDir: config.cniBinDir,
    wanted,
    exclusive: config.cniExclusive,
    conflist: conflist(socketOf(config)),
    plugin: () => builtFile("bin/axoneme-cni"),
    status: () => handler.status(),
    log,
  });
}
