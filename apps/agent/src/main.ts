/** The agent's process: reads its configuration, starts, and stops on a signal. */
import { createLogger, runProgram, stopOnSignal } from "@axoneme/app";
import { prepareBpffs } from "@axoneme/datapath";
import { inCluster, KubeClient, loadKubeconfig } from "@axoneme/kube";
import { Agent } from "./agent.ts";
import { removeCni } from "./cni/files.ts";
import { version } from "./composition.ts";
import { Configuration } from "./config/configuration.ts";
import { keepHeapSmall, shrinkHeap } from "./heap.ts";
import { Meters } from "./metrics/meters.ts";
import { removeNode } from "./node/remove.ts";
import { agentOptions } from "./options.ts";

/** Pods that waited for the start are served first. */
const settledAfterMs = 1000;

runProgram({
  name: "agent",
  version,
  about: "One agent runs on each node, as root, in the node's network namespace.",
  options: agentOptions,
  actions: {
    "remove-cni": {
      about: "takes the CNI configuration and the plugin off this node (cniConfDir, cniBinDir), and ends",
      run: ({ cniConfDir, cniBinDir }) => removeCni({ confDir: cniConfDir, binDir: cniBinDir }),
    },
    "prepare-node": {
      about: "mounts a bpffs where there is none, for an agent in a container that cannot, and ends",
      run: ({ bpffs }) => prepareBpffs(bpffs),
    },
    "remove-node": {
      about: "takes everything of ours off this node: CNI, programs and maps, devices, files; and ends",
      run: removeNode,
    },
  },
  async start(config, sources) {
    const meters = new Meters();
    const log = createLogger("agent", config.logLevel, meters.problemLogged);
    const client = new KubeClient(
      config.kubeconfig === "" ? inCluster() : loadKubeconfig({ path: config.kubeconfig }),
      { onCall: meters.apiCall },
    );
    const configuration = await Configuration.open({ sources, client, log });
    log.level = configuration.running.logLevel;
    configuration.on("logLevel", ({ logLevel }) => {
      log.level = logLevel;
    });
    const agent = await Agent.start(configuration, client, meters, log);
    agent.ready.then(
      () =>
        setTimeout(() => {
          shrinkHeap();
          keepHeapSmall();
        }, settledAfterMs).unref(),
      () => undefined, // told by the module that failed
    );
    stopOnSignal(log, "stopping; what is in the kernel goes on working", () => agent.stop());
  },
});
