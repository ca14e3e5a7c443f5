import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { errorText } from "@axoneme/base";
import { KubeClient, loadKubeconfig, resources } from "@axoneme/kube";
import { condition, nameOf } from "../controllers/objects.ts";
import { planNetwork } from "../network/plan.ts";
import { cgroupPids } from "./cgroup.ts";
import { hostRoots, type LabConfig, readConfig } from "./config.ts";
import { describeLeftovers, isClean, leftovers } from "./leftovers.ts";
import { type LabPaths, labPaths } from "./paths.ts";
import { readReport } from "./progress.ts";
import { isSupervised, readPid } from "./up.ts";

/** How a lab fares. */
export interface LabStatus {
  name: string;
  /** absent: nothing there; crashed: remains of one whose supervisor is gone. */
  state: "absent" | "starting" | "running" | "failed" | "crashed";
  /** What is wrong, as a sentence; "" when nothing is. */
  problem: string;
  kubeconfig: string;
  stateDir: string;
  routingMode: string;
  /** Where the flows of all nodes are served; undefined when no relay runs. */
  relay: string | undefined;
  nodes: LabNodeStatus[];
}

export interface LabNodeStatus {
  name: string;
  addresses: readonly string[];
  ready: boolean;
  /** Why it is not ready. */
  reason: string;
  /** The agent's process; undefined when none runs. */
  agentPid: number | undefined;
  pods: number;
}

/** The names of the labs on this machine that have a state directory. */
export function labNames(): string[] {
  const { run } = hostRoots();
  if (!existsSync(run)) return [];
  return readdirSync(run)
    .filter((name) => existsSync(join(run, name, "lab.json")))
    .sort();
}

/** Looks at a lab; never throws for what is wrong with the lab itself. */
export async function labStatus(options: { name: string }): Promise<LabStatus> {
  const roots = hostRoots();
  const paths = labPaths(options.name, roots);
  const status: LabStatus = {
    name: options.name,
    state: "absent",
    problem: "",
    kubeconfig: paths.kubeconfig,
    stateDir: paths.state,
    routingMode: "",
    relay: undefined,
    nodes: [],
  };
  const rest = await leftovers(options.name, roots);
  if (isClean(rest)) return status;
  let config: LabConfig;
  try {
    config = readConfig(paths.config);
  } catch (error) {
    return { ...status, state: "crashed", problem: `${errorText(error)} (${describeLeftovers(rest)})` };
  }
  status.routingMode = config.routingMode;
  if (isRunning(join(paths.state, "relay.pid"), join(paths.cgroup, "relay")))
    status.relay = paths.relaySocket;
  const report = readReport(paths.status);
  if (!isSupervised(paths)) {
    const problem = report?.error ?? "the supervisor is not running: `axon lab up` takes it up again";
    const nodes = nodesOf(paths, config);
    return { ...status, nodes, state: report?.state === "failed" ? "failed" : "crashed", problem };
  }
  status.state = report?.state ?? "starting";
  return fillNodes(status, paths, config);
}

/** What is known of the nodes without asking the API: agents go on when the supervisor has died. */
function nodesOf(paths: LabPaths, config: LabConfig): LabNodeStatus[] {
  const plan = planNetwork(config.number, config.nodes);
  return plan.nodes.map((node): LabNodeStatus => {
    const dir = paths.nodeDir(node.name);
    const file = join(dir, "agent.pid");
    const isAlive = isRunning(file, join(paths.nodeCgroup(node.name), "agent"));
    return {
      name: node.name,
      addresses: node.ips,
      ready: false,
      reason: "",
      agentPid: isAlive ? readPid(file) : undefined,
      pods: 0,
    };
  });
}

function isRunning(pidFile: string, cgroup: string): boolean {
  const pid = readPid(pidFile);
  return pid !== undefined && cgroupPids(cgroup).includes(pid);
}

async function fillNodes(status: LabStatus, paths: LabPaths, config: LabConfig): Promise<LabStatus> {
  const nodes = nodesOf(paths, config);
  let client: KubeClient | undefined;
  try {
    client = new KubeClient(loadKubeconfig({ path: paths.kubeconfig }), { deadlineMs: 3_000 });
    const objects = (await client.resource(resources.nodes).list()).items;
    const pods = (await client.resource(resources.pods).list()).items;
    for (const node of nodes) {
      const ready = condition(
        objects.find((object) => nameOf(object) === node.name)?.status?.conditions,
        "Ready",
      );
      node.ready = ready?.status === "True";
      node.reason = node.ready ? "" : (ready?.message ?? "not registered");
      node.pods = pods.filter((pod) => pod.spec?.nodeName === node.name).length;
    }
    const missing = nodes
      .filter((node) => !node.ready)
      .map((node) => `${node.name} is not ready: ${node.reason}`);
    return { ...status, nodes, problem: missing.join("; ") };
  } catch (error) {
    return { ...status, nodes, problem: `the API does not answer: ${errorText(error)}` };
  } finally {
    await client?.close();
  }
}
