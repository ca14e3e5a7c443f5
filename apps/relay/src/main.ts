/** The relay's process: reads its configuration, starts, and stops on a signal. */
import { parseArgs } from "node:util";
import { createLogger, loadOptions, parseOptions } from "@axoneme/app";
import { errorText } from "@axoneme/base";
import { relayOptions } from "./options.ts";
import { RelayProcess } from "./relay.ts";

declare const AXON_VERSION: string | undefined;
const version = typeof AXON_VERSION === "string" ? AXON_VERSION : "dev";

function help(): string {
  const lines = Object.entries(relayOptions).map(
    ([name, { doc, default: value }]) => `  ${name.padEnd(22)} ${doc} (${JSON.stringify(value)})`,
  );
  return `axoneme-relay ${version}

Usage: relay [--config FILE]

Serves the flows of all nodes at one address: merges the streams of their agents in order of time. The file is YAML or
JSON.

Options of the file, with their defaults:
${lines.join("\n")}
`;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: { config: { type: "string" }, help: { type: "boolean", short: "h" } },
  });
  if (values.help) {
    process.stdout.write(help());
    return;
  }
  const config =
    values.config === undefined ? parseOptions(relayOptions, {}) : loadOptions(relayOptions, values.config);
  const log = createLogger("relay", config.logLevel);
  const relay = new RelayProcess(config, version, log);
  const stop = (signal: string): void => {
    log.info({ signal }, "stopping");
    relay.stop().then(
      () => process.exit(0),
      (err: unknown) => {
        log.error({ err }, "did not stop cleanly");
        process.exit(1);
      },
    );
  };
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => stop(signal));
  await relay.start();
  log.info({ peers: config.peerService, socket: config.socketPath }, "serving the flows of all nodes");
}

main().catch((error: unknown) => {
  process.stderr.write(`relay: ${errorText(error)}\n`);
  process.exit(1);
});
