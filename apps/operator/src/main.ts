import { parseArgs } from "node:util";
import { createLogger } from "@axoneme/app";
import { errorText } from "@axoneme/base";
import { findConfig, KubeClient } from "@axoneme/kube";
import { listen } from "./listener.ts";
import { makeMetrics } from "./metrics.ts";
import { Operator } from "./operator.ts";
import { operatorOptions, readConfig } from "./options.ts";

function usage(): string {
  const options = Object.entries(operatorOptions).map(
    ([name, { doc, default: value }]) => `  ${name} (${JSON.stringify(value)}): ${doc}`,
  );
  return `usage: operator [--config FILE] [--kubeconfig FILE] [--set OPTION=VALUE]...

Options of FILE (YAML or JSON) and of --set:
${options.join("\n")}
`;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      config: { type: "string" },
      kubeconfig: { type: "string" },
      set: { type: "string", multiple: true },
      help: { type: "boolean", short: "h" },
    },
  });
  if (values.help) {
    process.stdout.write(usage());
    return;
  }
  const config = readConfig(values);
  const log = createLogger("operator", config.logLevel);
  const client = new KubeClient(
    findConfig({
      ...(config.kubeconfig === "" ? {} : { path: config.kubeconfig }),
      ...(config.context === "" ? {} : { context: config.context }),
    }),
    { userAgent: "axoneme-operator" },
  );
  const operator = new Operator(client, config, log);
  const server =
    config.listen === "" ? undefined : await listen(config.listen, operator, makeMetrics(operator));
  operator.start();
  log.info({ server: client.server, ipamMode: config.ipamMode }, "operator started");

  const stop = async (signal: string): Promise<void> => {
    log.info({ signal }, "stopping");
    await operator.stop();
    server?.close();
    await client.close();
  };
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.once(signal, () => {
      stop(signal).then(
        () => process.exit(0),
        () => process.exit(1),
      );
    });
  }
}

main().catch((error: unknown) => {
  process.stderr.write(`operator: ${errorText(error)}\n`);
  process.exit(1);
});
