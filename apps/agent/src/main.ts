/** The agent's process: reads its configuration, starts, and stops on a signal. */
import { parseArgs } from "node:util";
import { createLogger, loadOptions, parseOptions } from "@axoneme/app";
import { errorText } from "@axoneme/base";
import { Agent } from "./agent.ts";
import { version } from "./composition.ts";
import { shrinkHeap } from "./heap.ts";
import { Meters } from "./metrics/meters.ts";
import { agentOptions } from "./options.ts";

/** Pods that waited for the start are served first. */
const settledAfterMs = 1000;

function help(): string {
  const lines = Object.entries(agentOptions).map(
    ([name, { doc, default: value }]) => `  ${name.padEnd(26)} ${doc} (${JSON.stringify(value)})`,
  );
  return `axoneme-agent ${version}

Usage: agent [--config FILE]

One agent runs on each node, as root, in the node's network namespace. The file is YAML or JSON.

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
    values.config === undefined ? parseOptions(agentOptions, {}) : loadOptions(agentOptions, values.config);
  const meters = new Meters();
  const log = createLogger("agent", config.logLevel, meters.problemLogged);
  const agent = await Agent.start(config, meters, log);
  agent.ready.then(
    () => setTimeout(shrinkHeap, settledAfterMs).unref(),
    () => undefined, // told by the module that failed
  );
  const stop = (signal: string) => {
    log.info({ signal }, "stopping; what is in the kernel goes on working");
    agent.stop().then(
      () => process.exit(0),
      (err: unknown) => {
        log.error({ err }, "did not stop cleanly");
        process.exit(1);
      },
    );
  };
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => stop(signal));
}

main().catch((error: unknown) => {
  process.stderr.write(`agent: ${errorText(error)}\n`);
  process.exit(1);
});
