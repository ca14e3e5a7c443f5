import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { AxonError, childLogger, errorText, type Logger, systemClock } from "@axoneme/base";
import {
  defineResource,
  isAlreadyExists,
  KubeClient,
  type KubeObject,
  loadKubeconfig,
  resources,
} from "@axoneme/kube";
import { builtFile } from "@axoneme/netlink";
import { ControllerManager } from "../controllers/manager.ts";
import { buildNetwork, wireNamespace } from "../network/build.ts";
import { type NetworkPlan, type NodePlan, planNetwork } from "../network/plan.ts";
import { type AttachedServer, attachServer } from "./attached.ts";
import { createCgroup, joinCgroup } from "./cgroup.ts";
import { hostRoots, type LabConfig, type LabRbac, readConfig, substitute } from "./config.ts";
import { launchLine } from "./launch.ts";
import { type LabPaths, labPaths } from "./paths.ts";
import { type SupervisorReport, writeReport } from "./progress.ts";
import { type RunningApiServer, startApiServer } from "./server.ts";
import { Service } from "./service.ts";
import { untilTold } from "./signals.ts";

/** Everything a lab's supervisor keeps running, in the order of the start. */
class Supervisor {
  readonly #config: LabConfig;
  readonly #paths: LabPaths;
  readonly #plan: NetworkPlan;
  readonly #log: Logger;
  #server: RunningApiServer | undefined;
  #attached: AttachedServer | undefined;
  #client: KubeClient | undefined;
  #controllers: ControllerManager | undefined;
  #services: Service[] = [];

  constructor(name: string, log: Logger) {
    this.#paths = labPaths(name, hostRoots());
    this.#config = readConfig(this.#paths.config);
    this.#plan = planNetwork(this.#config.number, this.#config.nodes);
    this.#log = log;
  }

  /** Starts all parts. Each finds and keeps what a former supervisor left running. */
  async start(): Promise<void> {
    const { control } = this.#directories();
    joinCgroup(control);
    writeFileSync(this.#paths.supervisorPid, String(process.pid));
    try {
      await this.#step("building the network", () => buildNetwork(this.#paths, this.#plan, this.#config.xdp));
      await this.#step("starting the API server", () => this.#startServer());
      await this.#step("starting the operator", () => this.#startOperator());
      await this.#step("starting agents", () => this.#startAgents());
      await this.#step("starting the relay", () => this.#startRelay());
      await this.#step("starting controllers", () => this.#startControllers());
      await this.#step("starting nodes", () => this.#startNodes());
      this.#report({ state: "running", step: "running" });
    } catch (error) {
      this.#report({ state: "failed", step: this.#lastStep, error: errorText(error) });
      throw error;
    }
  }

  /** Ends the supervisor's own parts; pods, agents and the network stay for the next one. */
  async stop(): Promise<void> {
    for (const service of this.#services) service.release();
    await this.#controllers?.stop();
    await this.#client?.close();
    await this.#server?.stop();
    await this.#attached?.stop();
  }

  #lastStep = "";

  async #step(what: string, work: () => Promise<void> | void): Promise<void> {
    this.#lastStep = what;
    this.#report({ state: "starting", step: what });
    this.#log.info({ lab: this.#config.name }, what);
    await work();
  }

  #report(report: Omit<SupervisorReport, "pid">): void {
    writeReport(this.#paths.status, { pid: process.pid, ...report });
  }

  #directories(): { control: string } {
    const control = join(this.#paths.cgroup, "control");
    createCgroup(control);
    for (const dir of [this.#paths.netnsDir, this.#paths.pods, this.#paths.apiserver])
      mkdirSync(dir, { recursive: true });
    for (const node of this.#config.nodes) {
      mkdirSync(this.#paths.nodeDir(node), { recursive: true });
      for (const part of ["pods", "agent", "cni", "kubelet"])
        createCgroup(join(this.#paths.nodeCgroup(node), part));
    }
    return { control };
  }

  async #startServer(): Promise<void> {
    const { kubeconfig } = this.#config;
    const common = {
      paths: this.#paths,
      plan: this.#plan,
      netns: this.#paths.netns(wireNamespace),
      rbac: this.#config.rbac,
      log: childLogger(this.#log, { module: "apiserver" }),
    };
    if (kubeconfig !== undefined) this.#attached = await attachServer({ ...common, kubeconfig });
    else {
      const userPort = formerPort(this.#paths.kubeconfig);
      this.#server = await startApiServer({ ...common, userPort });
    }
    this.#client = new KubeClient(loadKubeconfig({ path: this.#paths.kubeconfig }));
    await this.#client.version();
    for (const object of this.#config.rbac?.objects ?? []) await createPlain(this.#client, object);
  }

  #needClient(): KubeClient {
    if (this.#client === undefined)
      throw new AxonError("lab.order", "the API server has not been started yet");
    return this.#client;
  }

  async #startControllers(): Promise<void> {
    if (this.#attached !== undefined && (await hasControllers(this.#needClient()))) return;
    const { graceMs, evictAfterMs } = this.#config.node;
    this.#controllers = new ControllerManager({
      client: this.#needClient(),
      log: childLogger(this.#log, { module: "controllers" }),
      nodeGraceMs: graceMs,
      evictAfterMs,
      ...(this.#server === undefined ? {} : { caCertificate: this.#server.caCertificate }),
    });
    await this.#controllers.start();
  }

  #startOperator(): void {
    const { operatorCommand } = this.#config;
    if (operatorCommand === null) return;
    const cgroup = join(this.#paths.cgroup, "operator");
    const config = join(this.#paths.state, "operator.json");
    writeFileSync(config, `${JSON.stringify(this.#operatorConfig(), null, 2)}\n`, { mode: 0o600 });
    const argv = substitute(operatorCommand, { kubeconfig: this.#paths.kubeconfig, config });
    this.#serve("operator", {
      argv: [builtFile("bin/axon-exec"), "--cgroup", cgroup, "--", ...argv],
      cgroup,
      dir: this.#paths.state,
    });
  }

  #operatorConfig(): object {
    const { podCidrs, podCidrMaskSizes } = this.#plan;
    const { enableCiliumEndpointSlice } = this.#config.agentConfig;
    return {
      ...(enableCiliumEndpointSlice === undefined ? {} : { enableCiliumEndpointSlice }),
      clusterPoolIpv4Cidrs: [podCidrs[0]],
      clusterPoolIpv4MaskSize: podCidrMaskSizes[0],
      clusterPoolIpv6Cidrs: [podCidrs[1]],
      clusterPoolIpv6MaskSize: podCidrMaskSizes[1],
      ...this.#cluster(),
    };
  }

  /** What all parts must call the cluster alike. */
  #cluster(): { clusterName?: unknown } {
    const { clusterName } = this.#config.agentConfig;
    return clusterName === undefined ? {} : { clusterName };
  }

  /** It stands on the wire, where it reaches the nodes; its socket is for the user. */
  #startRelay(): void {
    const { relayCommand } = this.#config;
    if (relayCommand === null) return;
    const config = join(this.#paths.state, "relay.json");
    const options = {
      nodeName: `relay-${this.#config.name}`,
      peerService: "kubernetes",
      kubeconfig: this.#paths.nodeKubeconfig,
      socketPath: this.#paths.relaySocket,
      ...this.#cluster(),
    };
    writeFileSync(config, `${JSON.stringify(options, null, 2)}\n`, { mode: 0o600 });
    const cgroup = join(this.#paths.cgroup, "relay");
    const argv = substitute(relayCommand, { config });
    this.#serve("relay", {
      argv: launchLine({ netns: this.#paths.netns(wireNamespace), cgroup, argv }),
      cgroup,
      dir: this.#paths.state,
    });
  }

  #startAgents(): void {
    const { agentCommand } = this.#config;
    if (agentCommand === null) return;
    for (const node of this.#plan.nodes) {
      const config = join(this.#paths.nodeDir(node.name), "agent.json");
      writeFileSync(config, `${JSON.stringify(this.#agentConfig(node), null, 2)}\n`, { mode: 0o600 });
      const cgroup = join(this.#paths.nodeCgroup(node.name), "agent");
      const argv = substitute(agentCommand, { config, node: node.name });
      this.#serve(`agent of ${node.name}`, {
        argv: launchLine({ netns: this.#paths.netns(node.name), cgroup, argv }),
        cgroup,
        dir: this.#paths.nodeDir(node.name),
        file: "agent",
      });
    }
  }

  #agentConfig(node: NodePlan): object {
    return {
      nodeName: node.name,
      kubeconfig: this.#paths.nodeKubeconfig,
      runDir: this.#paths.nodeDir(node.name),
      bpffs: this.#paths.bpffs(node.name),
      cgroup: this.#paths.nodeCgroup(node.name),
      device: "eth0",
      routingMode: this.#config.routingMode,
      hubbleListenAddress: "[::]:4244",
      ...substitute(this.#config.agentConfig, {
        node: node.name,
        nodeDir: this.#paths.nodeDir(node.name),
      }),
    };
  }

  #serve(name: string, where: { argv: readonly string[]; cgroup: string; dir: string; file?: string }): void {
    const file = where.file ?? name;
    const service = new Service({
      name,
      argv: where.argv,
      cgroup: where.cgroup,
      logFile: join(where.dir, `${file}.log`),
      pidFile: join(where.dir, `${file}.pid`),
      clock: systemClock,
      log: this.#log,
    });
    this.#services.push(service);
    service.start();
  }

  /** Each node's runner is a process of its own, as a kubelet is: it goes on while the supervisor restarts. */
  #startNodes(): void {
    for (const node of this.#config.nodes) {
      const cgroup = join(this.#paths.nodeCgroup(node), "kubelet");
      const self = [process.execPath, ...process.execArgv, process.argv[1] ?? ""];
      this.#serve(`kubelet of ${node}`, {
        argv: [
          builtFile("bin/axon-exec"),
          "--cgroup",
          cgroup,
          "--",
          ...self,
          "node",
          "--name",
          this.#config.name,
          "--node",
          node,
        ],
        cgroup,
        dir: this.#paths.nodeDir(node),
        file: "kubelet",
      });
    }
  }
}

/** Whether somebody does the work of kube-controller-manager: the lease it keeps is younger than a minute. */
async function hasControllers(client: KubeClient): Promise<boolean> {
  const name = "kube-controller-manager";
  const lease = await client.resource(resources.leases).find(name, { namespace: "kube-system" });
  return Date.now() - Date.parse(String(lease?.spec?.renewTime ?? 0)) < 60_000;
}

/** The port of a former kubeconfig, 0 (any) when there is none. */
function formerPort(kubeconfig: string): number {
  if (!existsSync(kubeconfig)) return 0;
  return Number(new URL(loadKubeconfig({ path: kubeconfig }).server).port);
}

/** Runs a supervisor until it is told to end. For `lab.mjs run`. */
export async function runSupervisor(name: string, log: Logger): Promise<void> {
  const supervisor = new Supervisor(name, log);
  const told = untilTold();
  await supervisor.start();
  log.info({ lab: name }, "the lab is running");
  await told;
  await supervisor.stop();
  rmSync(labPaths(name, hostRoots()).supervisorPid, { force: true });
}

/** Makes an object of a built-in kind with a regular plural; one that is there is left. */
async function createPlain(client: KubeClient, object: LabRbac["objects"][number]): Promise<void> {
  const { apiVersion, kind, metadata } = object;
  const scope = metadata.namespace === undefined ? "Cluster" : "Namespaced";
  const resource = defineResource<KubeObject>(apiVersion, `${kind.toLowerCase()}s`, kind, scope);
  try {
    await client.resource(resource).create(object);
  } catch (error) {
    if (!isAlreadyExists(error)) throw error;
  }
}
