/** The DNS proxy's process: reads its configuration, starts, and stops on a signal or when another one takes over. */
import { parseArgs } from "node:util";
import { createLogger, loadOptions, parseOptions } from "@axoneme/app";
import { errorText } from "@axoneme/base";
import { proxyOptions } from "./options.ts";
import { build, DnsProxy } from "./proxy.ts";

function help(): string {
  const lines = Object.entries(proxyOptions).map(
    ([name, { doc, default: value }]) => `  ${name.padEnd(18)} ${doc} (${JSON.stringify(value)})`,
  );
  return `axoneme-dnsproxy ${build}

Usage: dnsproxy [--config FILE]

Answers the DNS queries of a node's pods that a policy sends to it. It runs as root in the node's network namespace,
beside the agent, and goes on while the agent does not. Started a second time, it takes the first one's place without a
query lost. The file is YAML or JSON.

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
    values.config === undefined ? parseOptions(proxyOptions, {}) : loadOptions(proxyOptions, values.config);
  const log = createLogger("dnsproxy", config.logLevel);
  const proxy = await DnsProxy.start(config, log);
  proxy.onDone = () => process.exit(0);
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.once(signal, () => {
      log.info({ signal }, "stopping");
      proxy.stop();
      process.exit(0);
    });
  }
}

main().catch((error: unknown) => {
  process.stderr.write(`dnsproxy: ${errorText(error)}\n`);
  process.exit(1);
});
