import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { AxonError, errorText, waitFor } from "@axoneme/base";
import { type KubeObject, type Pod, resources } from "@axoneme/kube";
import { ContainerState, NamespaceMode, Protocol } from "@axoneme/proto/cri";
import type { Outcome } from "../command.ts";
import { type Place, port, type TestLab } from "../lab.ts";
import type { Containerd } from "./containerd.ts";

export interface CriPodRequest {
  readonly name: string;
  readonly namespace: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  /** Default: axon-probe on 8080. */
  readonly command?: readonly string[];
  /** Commands of init containers, one after the other. */
  readonly init?: readonly (readonly string[])[];
  readonly hostPort?: number;
  readonly hostNetwork?: boolean;
  /** Comes from a file of the kubelet's: the runtime calls it by this uid, and the API's Pod only shows it. */
  readonly staticUid?: string;
  /** Name servers and search domains of its resolv.conf. */
  readonly dns?: { readonly servers: readonly string[]; readonly searches: readonly string[] };
}

/** What a kubelet does for a Pod on one node, as far as the network sees it: every step is a call of CRI. */
export class CriNode {
  readonly lab: TestLab;
  readonly node: string;
  readonly containerd: Containerd;
  readonly image: string;
  readonly #dir: string;
  readonly #pods = new Set<CriPod>();

  /** @param dir for the containers' logs. */
  constructor(lab: TestLab, node: string, containerd: Containerd, image: string, dir: string) {
    this.lab = lab;
    this.node = node;
    this.containerd = containerd;
    this.image = image;
    this.#dir = dir;
  }

  /** Creates the Pod and brings it up; a sandbox that fails is tried again, as a kubelet does. */
  async run(request: CriPodRequest): Promise<CriPod> {
    const pod = await this.create(request);
    await pod.start();
    return pod;
  }

  /** Creates the Pod only. */
  async create(request: CriPodRequest): Promise<CriPod> {
    const object = await this.lab.client.resource(resources.pods).create(this.#object(request));
    const uid = request.staticUid ?? object.metadata?.uid ?? "";
    const pod = new CriPod(this, request, uid, join(this.#dir, uid));
    this.#pods.add(pod);
    return pod;
  }

  /** Removes every pod that is left. */
  async clear(): Promise<void> {
    await Promise.all([...this.#pods].map((pod) => pod.remove()));
  }

  forget(pod: CriPod): void {
    this.#pods.delete(pod);
  }

  #object(request: CriPodRequest): Pod & KubeObject {
    const { name, namespace, labels = { app: name }, hostNetwork = false, hostPort, staticUid } = request;
    const shown = staticUid === undefined ? {} : { "kubernetes.io/config.mirror": staticUid };
    const ports = hostPort === undefined ? {} : { ports: [{ containerPort: Number(port), hostPort }] };
    return {
      apiVersion: "v1",
      kind: "Pod",
      metadata: {
        name,
        namespace,
        labels: { ...labels },
        annotations: { ...request.annotations, ...shown },
      },
      spec: {
        nodeName: this.node,
        hostNetwork,
        automountServiceAccountToken: false,
        terminationGracePeriodSeconds: 0,
        ...(request.init === undefined
          ? {}
          : {
              initContainers: request.init.map((command, i) => ({
                name: `init${i}`,
                image: this.image,
                command: [...command],
              })),
            }),
        containers: [{ name: "main", image: this.image, command: commandOf(request), ...ports }],
      },
    };
  }
}

function commandOf({ name, command }: CriPodRequest): string[] {
  return command === undefined ? ["/bin/axon-probe", "serve", port, "--name", name] : [...command];
}

/** A Pod in containers. */
export class CriPod {
  readonly request: CriPodRequest;
  readonly uid: string;
  readonly #node: CriNode;
  readonly #logs: string;
  #sandbox = "";
  #attempt = -1;
  #main = "";
  #restarts = 0;
  /** Why sandboxes failed. */
  readonly failures: string[] = [];
  ips: readonly string[] = [];

  constructor(node: CriNode, request: CriPodRequest, uid: string, logs: string) {
    this.#node = node;
    this.request = request;
    this.uid = uid;
    this.#logs = logs;
  }

  get name(): string {
    return this.request.name;
  }

  get sandboxId(): string {
    return this.#sandbox;
  }

  get v4(): string {
    return this.ips.find((ip) => !ip.includes(":")) ?? "";
  }

  get v6(): string {
    return this.ips.find((ip) => ip.includes(":")) ?? "";
  }

  /** Sandbox, init containers, main container, status. */
  async start(): Promise<void> {
    await waitFor(() => this.#trySandbox(), {
      timeoutMs: 40_000,
      everyMs: 200,
      what: `a sandbox of ${this.name}`,
    }).catch((cause: unknown) => {
      throw new AxonError("test.sandbox", `${this.name}: ${this.failures.at(-1)}`, { cause });
    });
    for (const [i, command] of (this.request.init ?? []).entries()) await this.#runToEnd(`init${i}`, command);
    await this.#startMain();
  }

  /** One try. A failed one leaves a sandbox that is not ready, which a kubelet stops and removes. */
  async #trySandbox(): Promise<boolean> {
    try {
      await this.trySandbox();
      return true;
    } catch (error) {
      this.failures.push(errorText(error));
      return false;
    }
  }

  /** One call of RunPodSandbox. @throws GrpcError with the runtime's words. */
  async trySandbox(): Promise<void> {
    this.#attempt++;
    mkdirSync(this.#logs, { recursive: true });
    const { client } = this.#node.containerd;
    const { podSandboxId } = await client.call("runPodSandbox", { config: this.#config() });
    this.#sandbox = podSandboxId;
    const { status } = await client.call("podSandboxStatus", { podSandboxId });
    const { ip = "", additionalIps = [] } = status?.network ?? {};
    const host = this.#node.lab.node(this.#node.node);
    this.ips = this.request.hostNetwork ? [host.v4, host.v6] : [ip, ...additionalIps.map((more) => more.ip)];
  }

  #config() {
    const { name, namespace, hostPort, hostNetwork, dns, annotations = {} } = this.request;
    const network = hostNetwork ? NamespaceMode.NODE : NamespaceMode.POD;
    const mapping = {
      protocol: Protocol.TCP,
      containerPort: Number(port),
      hostPort: hostPort ?? 0,
      hostIp: "",
    };
    return {
      metadata: { name, namespace, uid: this.uid, attempt: this.#attempt },
      hostname: hostNetwork ? "" : name,
      logDirectory: this.#logs,
      portMappings: hostPort === undefined ? [] : [mapping],
      annotations,
      labels: { "io.kubernetes.pod.uid": this.uid },
      ...(dns && {
        dnsConfig: { servers: [...dns.servers], searches: [...dns.searches], options: ["ndots:5"] },
      }),
      linux: {
        cgroupParent: this.#node.containerd.cgroupParent,
        securityContext: { namespaceOptions: { network, pid: NamespaceMode.CONTAINER } },
      },
    };
  }

  async #container(name: string, attempt: number, command: readonly string[]): Promise<string> {
    const { client } = this.#node.containerd;
    const network = this.request.hostNetwork ? NamespaceMode.NODE : NamespaceMode.POD;
    const { containerId } = await client.call("createContainer", {
      podSandboxId: this.#sandbox,
      config: {
        metadata: { name, attempt },
        image: { image: this.#node.image },
        command: [...command],
        logPath: `${name}.${attempt}.log`,
        linux: { securityContext: { namespaceOptions: { network, pid: NamespaceMode.CONTAINER } } },
      },
      sandboxConfig: this.#config(),
    });
    await client.call("startContainer", { containerId });
    return containerId;
  }

  async #runToEnd(name: string, command: readonly string[]): Promise<void> {
    const id = await this.#container(name, this.#restarts, command);
    const code = await this.#untilEnded(id);
    if (code !== 0)
      throw new AxonError("test.init", `${name} of ${this.name} ended with ${code}: ${this.log(name)}`);
  }

  async #untilEnded(containerId: string): Promise<number> {
    return waitFor(
      async () => {
        const { status } = await this.#node.containerd.client.call("containerStatus", { containerId });
        // In a list, because 0 is what is waited for most.
        return status?.state === ContainerState.CONTAINER_EXITED ? [status.exitCode] : undefined;
      },
      { timeoutMs: 30_000, everyMs: 20, what: `a container of ${this.name} to end` },
    ).then(([code]) => code ?? -1);
  }

  /** What a container wrote; the last start's. */
  log(container: string): string {
    const path = join(this.#logs, `${container}.${this.#restarts}.log`);
    const lines = existsSync(path) ? readFileSync(path, "utf8").split("\n") : [];
    return lines.map((line) => line.split(" ").slice(3).join(" ")).join("\n");
  }

  async #startMain(): Promise<void> {
    this.#main = await this.#container("main", this.#restarts, commandOf(this.request));
    if (this.request.command === undefined) {
      const server = ["/bin/axon-probe", "tcp", "127.0.0.1", port];
      await waitFor(async () => (await this.exec(...server)).code === 0, {
        everyMs: 20,
        what: `${this.name} to serve`,
      });
    }
    await this.#report();
  }

  /** The Pod's status, as a kubelet sends it. */
  async #report(): Promise<void> {
    const { name, namespace } = this.request;
    const now = new Date().toISOString().replace(/\.\d+Z$/, "Z");
    const kinds = ["PodScheduled", "Initialized", "ContainersReady", "Ready"];
    const main = {
      name: "main",
      ready: true,
      restartCount: this.#restarts,
      image: this.#node.image,
      imageID: this.#node.image,
      containerID: `containerd://${this.#main}`,
      state: { running: { startedAt: now } },
    };
    const status = {
      phase: "Running",
      startTime: now,
      hostIP: this.#node.lab.node(this.#node.node).v4,
      podIP: this.ips[0],
      podIPs: this.ips.map((ip) => ({ ip })),
      conditions: kinds.map((type) => ({ type, status: "True", lastTransitionTime: now })),
      containerStatuses: [main],
    };
    const pods = this.#node.lab.client.resource(resources.pods);
    await pods.patch(name, { status }, { namespace, subresource: "status" });
  }

  /** Runs a command in the main container. */
  async exec(...cmd: string[]): Promise<Outcome> {
    const request = { containerId: this.#main, cmd, timeout: 20n };
    const { stdout, stderr, exitCode } = await this.#node.containerd.client.call("execSync", request);
    return { code: exitCode, stdout: Buffer.from(stdout).toString(), stderr: Buffer.from(stderr).toString() };
  }

  /** Asks from inside until an answer comes. */
  async reaches(...question: string[]): Promise<string> {
    let last: Outcome | undefined;
    return waitFor(
      async () => {
        last = await this.exec("/bin/axon-probe", ...question, "--timeout", "1500");
        return last.code === 0 ? last.stdout : undefined;
      },
      { timeoutMs: 15_000, everyMs: 20, what: question.join(" ") },
    ).catch((cause: unknown) => {
      const what = `${this.name} does not reach ${question.join(" ")}: ${last?.stderr.trim()}`;
      throw new AxonError("test.cut", what, { cause });
    });
  }

  /** Asks until no answer comes. */
  async isCutOff(...question: string[]): Promise<void> {
    const ask = () => this.exec("/bin/axon-probe", ...question, "--timeout", "400");
    await waitFor(async () => (await ask()).code !== 0, {
      timeoutMs: 15_000,
      everyMs: 20,
      what: question.join(" "),
    });
    await waitFor(async () => (await ask()).code !== 0, {
      timeoutMs: 15_000,
      everyMs: 20,
      what: question.join(" "),
    });
  }

  /** Its network namespace, for processes of the test beside the containers'. */
  async place(): Promise<Place> {
    const call = { podSandboxId: this.#sandbox, verbose: true };
    const { info } = await this.#node.containerd.client.call("podSandboxStatus", call);
    const { runtimeSpec } = JSON.parse(info["info"] ?? "{}") as {
      runtimeSpec?: { linux?: { namespaces?: { type: string; path?: string }[] } };
    };
    const netns = runtimeSpec?.linux?.namespaces?.find(({ type }) => type === "network")?.path ?? "";
    const { cgroup } = this.#node.lab.node(this.#node.node);
    return { name: this.name, netns, cgroup, v4: this.v4, v6: this.v6 };
  }

  /** The main container dies; another takes its place in the same sandbox. */
  async restartContainer(): Promise<void> {
    const { client } = this.#node.containerd;
    const former = this.#main;
    await client.call("stopContainer", { containerId: former, timeout: 0n });
    this.#restarts++;
    await this.#startMain();
    await client.call("removeContainer", { containerId: former });
  }

  /** The sandbox goes and another comes, as after its first process was killed. */
  async recreate(): Promise<void> {
    await this.stopSandbox();
    await this.#removeSandbox();
    this.#restarts++;
    await this.start();
  }

  async stopSandbox(): Promise<void> {
    await this.#node.containerd.client.call("stopPodSandbox", { podSandboxId: this.#sandbox });
  }

  async #removeSandbox(): Promise<void> {
    await this.#node.containerd.client.call("removePodSandbox", { podSandboxId: this.#sandbox });
    this.#sandbox = "";
  }

  async remove(): Promise<void> {
    if (this.#sandbox !== "") {
      await this.stopSandbox();
      await this.#removeSandbox();
    }
    const { name, namespace } = this.request;
    const pods = this.#node.lab.client.resource(resources.pods);
    await pods.deleteIfExists(name, { namespace, gracePeriodSeconds: 0 });
    this.#node.forget(this);
  }
}
