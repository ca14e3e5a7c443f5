/** The operator's process: reads its configuration, stands for election, and stops on a signal. */
import { createLogger, runProgram, stopOnSignal } from "@axoneme/app";
import { findConfig, KubeClient } from "@axoneme/kube";
import { listen } from "./listener.ts";
import { makeMetrics } from "./metrics.ts";
import { Operator } from "./operator.ts";
import { operatorOptions } from "./options.ts";

declare const AXON_VERSION: string | undefined;
const version = typeof AXON_VERSION === "string" ? AXON_VERSION : "dev";

runProgram({
  name: "operator",
  version,
  about: "One operator leads in a cluster, others wait: what has to be done once for all nodes.",
  options: operatorOptions,
  async start(config) {
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
    stopOnSignal(log, "stopping", async () => {
      await operator.stop();
      server?.close();
      await client.close();
    });
  },
});
