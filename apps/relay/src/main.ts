/** The relay's process: reads its configuration, starts, and stops on a signal. */
import { createLogger, runProgram, stopOnSignal } from "@axoneme/app";
import { relayOptions } from "./options.ts";
import { RelayProcess } from "./relay.ts";

declare const AXON_VERSION: string | undefined;
const version = typeof AXON_VERSION === "string" ? AXON_VERSION : "dev";

runProgram({
  name: "relay",
  version,
  about: "Serves the flows of all nodes at one address: merges the streams of their agents in order of time.",
  options: relayOptions,
  async start(config) {
    const log = createLogger("relay", config.logLevel);
    const relay = new RelayProcess(config, version, log);
    stopOnSignal(log, "stopping", () => relay.stop());
    await relay.start();
    log.info({ peers: config.peerService, socket: config.socketPath }, "serving the flows of all nodes");
  },
});
