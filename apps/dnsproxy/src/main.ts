/** The DNS proxy's process: reads its configuration, starts, and stops on a signal or when another one takes over. */
import { createLogger, runProgram, stopOnSignal } from "@axoneme/app";
import { proxyOptions } from "./options.ts";
import { build, DnsProxy } from "./proxy.ts";

runProgram({
  name: "dnsproxy",
  version: build,
  about: `Answers the DNS queries of a node's pods that a policy sends to it. It runs as root in the node's network namespace,
beside the agent, and goes on while the agent does not. Started a second time, it takes the first one's place without a
query lost.`,
  options: proxyOptions,
  async start(config) {
    const log = createLogger("dnsproxy", config.logLevel);
    const proxy = await DnsProxy.start(config, log);
    proxy.onDone = () => process.exit(0);
    stopOnSignal(log, "stopping", async () => proxy.stop());
  },
});
