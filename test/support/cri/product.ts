import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { AxonError } from "@axoneme/base";
import { MountPropagation, NamespaceMode } from "@axoneme/proto/cri";
import { defaultsOf, objects, valueTree } from "../../../deploy/source/kubernetes/index.ts";
import { type Outcome, root, run } from "../command.ts";
import type { TestLab } from "../lab.ts";
import type { Containerd } from "./containerd.ts";

interface ContainerSpec {
  readonly name: string;
  readonly image: string;
  readonly command: readonly string[];
  readonly env: readonly { readonly name: string; readonly value?: string }[];
  readonly securityContext: {
    readonly readOnlyRootFilesystem: boolean;
    readonly capabilities: { readonly add: readonly string[]; readonly drop: readonly string[] };
  };
  readonly volumeMounts: readonly MountSpec[];
}

interface MountSpec {
  readonly name: string;
  readonly mountPath: string;
  readonly mountPropagation?: string;
}

interface PodSpec {
  readonly containers: readonly [ContainerSpec];
  readonly volumes: readonly { readonly name: string; readonly hostPath?: { readonly path: string } }[];
}

/** What the kubelet keeps containers from that are not privileged. */
const maskedPaths = ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list"];
const readonlyPaths = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

const propagation: Readonly<Record<string, MountPropagation>> = {
  HostToContainer: MountPropagation.PROPAGATION_HOST_TO_CONTAINER,
  Bidirectional: MountPropagation.PROPAGATION_BIDIRECTIONAL,
};

const alone = MountPropagation.PROPAGATION_PRIVATE;

/** Whether what is mounted below a path later can be passed on: on machines that systemd started it always is. */
function isShared(path: string): boolean {
  const mounts = readFileSync("/proc/self/mountinfo", "utf8").split("\n");
  const around = mounts
    .map((line) => line.split(" "))
    .filter(([, , , , point = "\0"]) => contains(point, path));
  const nearest = around.sort((a, b) => (a[4]?.length ?? 0) - (b[4]?.length ?? 0)).at(-1);
  return nearest?.some((word) => /^(shared|master):/.test(word)) ?? false;
}

const contains = (point: string, path: string): boolean =>
  point === "/" || path === point || path.startsWith(`${point}/`);

/** Makes the image of all programs; returns the archive's path. */
export async function productImage(out: string, name: string): Promise<string> {
  const args = [join(root, "scripts/image.mjs"), "--out", out, "--name", name];
  const { code, stderr } = await run(process.execPath, args, { timeoutMs: 60_000 });
  if (code !== 0) throw new AxonError("test.image", `make image: ${stderr}`);
  return join(out, "axoneme.tar");
}

/** The pod that the chart makes of an agent. */
function agentPod(): PodSpec {
  const made = objects({ values: defaultsOf(valueTree), namespace: "kube-system", appVersion: "0" });
  const daemonSet = made.find(({ kind, metadata }) => kind === "DaemonSet" && metadata.name === "axoneme");
  if (daemonSet === undefined) throw new AxonError("test.chart", "the chart has no DaemonSet axoneme");
  return (daemonSet["spec"] as { template: { spec: PodSpec } }).template.spec;
}

/** A node of a lab, and where on this machine its things are that elsewhere would be the node's own. */
export interface AgentPlace {
  readonly lab: TestLab;
  readonly node: string;
  readonly containerd: Containerd;
  /** Directory of the pods' network namespaces, as the runtime has it. */
  readonly netns: string;
  readonly logs: string;
}

/**
 * The agent as a container from the image, as the chart has it: its command, capabilities, mounts with their propagation,
 * the node's network and processes, a root file system that cannot be written. Only where things of the node are is the lab's.
 */
export class ImageAgent {
  readonly #place: AgentPlace;
  readonly #image: string;
  #sandbox = "";
  #container = "";

  private constructor(place: AgentPlace, image: string) {
    this.#place = place;
    this.#image = image;
  }

  static async start(place: AgentPlace, image: string): Promise<ImageAgent> {
    const agent = new ImageAgent(place, image);
    await agent.#start();
    return agent;
  }

  async #start(): Promise<void> {
    const { containerd, logs } = this.#place;
    const [spec] = agentPod().containers;
    mkdirSync(logs, { recursive: true });
    const namespaceOptions = { network: NamespaceMode.NODE, pid: NamespaceMode.NODE };
    const config = {
      metadata: { name: "axoneme", namespace: "kube-system", uid: "image-agent", attempt: 0 },
      logDirectory: logs,
      linux: { cgroupParent: containerd.cgroupParent, securityContext: { namespaceOptions } },
    };
    const { podSandboxId } = await containerd.client.call("runPodSandbox", { config });
    this.#sandbox = podSandboxId;
    const { add, drop } = spec.securityContext.capabilities;
    const container = {
      metadata: { name: spec.name, attempt: 0 },
      image: { image: this.#image },
      command: this.#command(spec),
      envs: spec.env.flatMap(({ name, value }) => (value === undefined ? [] : [{ key: name, value }])),
      mounts: this.#mounts(spec),
      logPath: "agent.log",
      linux: {
        securityContext: {
          namespaceOptions,
          capabilities: { addCapabilities: [...add], dropCapabilities: [...drop] },
          readonlyRootfs: spec.securityContext.readOnlyRootFilesystem,
          maskedPaths,
          readonlyPaths,
        },
      },
    };
    const made = await containerd.client.call("createContainer", {
      podSandboxId,
      config: container,
      sandboxConfig: config,
    });
    this.#container = made.containerId;
    await containerd.client.call("startContainer", { containerId: this.#container });
  }

  /** The chart's program, with the lab's configuration in place of the ConfigMap. */
  #command({ command }: ContainerSpec): string[] {
    const { lab, node } = this.#place;
    const program = command.filter((word) => !word.startsWith("--"));
    return [...program, `--config=${join(lab.paths.nodeDir(node), "agent.json")}`];
  }

  #mounts({ volumeMounts }: ContainerSpec) {
    const { lab, node, netns } = this.#place;
    const nodeDir = lab.paths.nodeDir(node);
    const { volumes } = agentPod();
    /** The chart's mounts whose place in a lab is another; the rest is where it is on any node. */
    const labs: Readonly<Record<string, readonly string[]>> = {
      run: [nodeDir],
      netns: [netns],
      cgroup: [lab.paths.nodeCgroup(node)],
      config: [dirname(lab.paths.nodeKubeconfig)],
      "cni-conf": [],
      "cni-bin": [],
    };
    return volumeMounts.flatMap(({ name, mountPath, mountPropagation = "" }) => {
      const path = volumes.find((volume) => volume.name === name)?.hostPath?.path;
      const places = labs[name]?.map((each) => [each, each] as const);
      const fixed =
        path === undefined ? [[mountPath, this.#scratch(name)] as const] : [[mountPath, path] as const];
      return (places ?? fixed).map(([containerPath, hostPath]) => ({
        containerPath,
        hostPath,
        readonly: name === "config",
        propagation: isShared(hostPath) ? (propagation[mountPropagation] ?? alone) : alone,
      }));
    });
  }

  /** An emptyDir. */
  #scratch(name: string): string {
    const path = join(this.#place.logs, `volume-${name}`);
    mkdirSync(path, { recursive: true });
    return path;
  }

  /** Runs a command in the container. */
  async exec(...cmd: string[]): Promise<Outcome> {
    const request = { containerId: this.#container, cmd, timeout: 20n };
    const { stdout, stderr, exitCode } = await this.#place.containerd.client.call("execSync", request);
    return { code: exitCode, stdout: Buffer.from(stdout).toString(), stderr: Buffer.from(stderr).toString() };
  }

  get log(): string {
    const path = join(this.#place.logs, "agent.log");
    return existsSync(path) ? readFileSync(path, "utf8") : "";
  }

  async remove(): Promise<void> {
    const { client } = this.#place.containerd;
    await client.call("stopContainer", { containerId: this.#container, timeout: 10n });
    await client.call("stopPodSandbox", { podSandboxId: this.#sandbox });
    await client.call("removePodSandbox", { podSandboxId: this.#sandbox });
  }
}
