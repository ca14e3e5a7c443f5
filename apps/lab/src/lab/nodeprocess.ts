import { existsSync } from "node:fs";
import { AxonError, childLogger, type Logger, systemClock } from "@axoneme/base";
import { KubeClient, loadKubeconfig } from "@axoneme/kube";
import { Netns } from "@axoneme/netlink";
import { removeNamespace } from "../network/build.ts";
import { planNetwork, staticPodCidrs } from "../network/plan.ts";
import { NodeRunner } from "../node/runner.ts";
import { hostRoots, readConfig, substitute } from "./config.ts";
import { launchLine } from "./launch.ts";
import { labPaths } from "./paths.ts";
import { untilTold } from "./signals.ts";

/** Runs one node's runner until it is told to end; its pods go on. For `lab.mjs node`. */
export async function runNode(lab: string, name: string, log: Logger): Promise<void> {
  const paths = labPaths(lab, hostRoots());
  const config = readConfig(paths.config);
  const plan = planNetwork(config.number, config.nodes);
  const node = plan.nodes.find((entry) => entry.name === name);
  if (node === undefined) throw new AxonError("lab.nodes", `the lab ${lab} has no node ${name}`);
  const [podCIDR4, podCIDR6] = staticPodCidrs(plan, node.index);
  const client = new KubeClient(loadKubeconfig({ path: paths.kubeconfig }));
  const runner = new NodeRunner({
    node: name,
    paths,
    hostIps: node.ips,
    images: config.images,
    network: substitute(config.cni, { node: name, nodeDir: paths.nodeDir(name), podCIDR4, podCIDR6 }),
    client,
    sandbox: { create: createSandbox, remove: removeNamespace },
    clock: systemClock,
    log: childLogger(log, { node: name }),
    launch: launchLine,
    graceMs: config.node.graceMs,
    runsPods: config.foreignNodes?.includes(name) !== true,
  });
  const told = untilTold();
  await runner.start();
  log.info({ node: name }, "the node is running");
  await told;
  await runner.stop();
  await client.close();
}

/** A pod's namespace; a file left by a crash in the middle of a former attempt is cleared away. */
async function createSandbox(path: string): Promise<void> {
  if (existsSync(path)) await removeNamespace(path);
  // No two pods share an address here: waiting a second or two for IPv6 to make sure of it helps nobody.
  await Netns.create(path, {
    sysctls: { "net.ipv6.conf.all.accept_dad": 0, "net.ipv6.conf.default.accept_dad": 0 },
  });
}
