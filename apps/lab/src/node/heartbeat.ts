import { cpus, release, totalmem } from "node:os";
import type { Node, NodeCondition, NodeStatus } from "kubernetes-types/core/v1";
import { kubeletAnnotation } from "../apiserver/index.ts";
import { withCondition } from "../controllers/objects.ts";

/** What a node says of itself. */
export interface NodeFacts {
  name: string;
  ips: readonly string[];
  kubeletSocket: string;
  /** Undefined when the network is ready, else why not. */
  networkProblem: string | undefined;
  images: readonly string[];
  now: number;
}

/** The node object as it is registered. */
export function nodeObject(facts: NodeFacts): Node {
  return {
    apiVersion: "v1",
    kind: "Node",
    metadata: {
      name: facts.name,
      labels: {
        "kubernetes.io/hostname": facts.name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": architecture(),
        "beta.kubernetes.io/os": "linux",
        "beta.kubernetes.io/arch": architecture(),
      },
      annotations: { [kubeletAnnotation]: `unix:${facts.kubeletSocket}` },
    },
  };
}

function architecture(): string {
  return process.arch === "x64" ? "amd64" : process.arch;
}

/** The status of a node; `stored` keeps times of transition. */
export function nodeStatus(facts: NodeFacts, stored: NodeStatus | undefined): NodeStatus {
  const capacity = {
    cpu: String(cpus().length),
    memory: `${Math.floor(totalmem() / 1024)}Ki`,
    pods: "2000",
    "ephemeral-storage": "100Gi",
  };
  const images = ["host", ...facts.images].map((image) => ({ names: [image], sizeBytes: 0 }));
  return {
    addresses: [
      ...facts.ips.map((address) => ({ type: "InternalIP", address })),
      { type: "Hostname", address: facts.name },
    ],
    capacity,
    allocatable: capacity,
    conditions: [...conditionsOf(facts, stored)],
    nodeInfo: {
      architecture: architecture(),
      bootID: "",
      containerRuntimeVersion: "axon-lab://0.1.0",
      kernelVersion: release(),
      kubeProxyVersion: "",
      kubeletVersion: "v1.32.0-axon-lab",
      machineID: facts.name,
      operatingSystem: "linux",
      osImage: "axoneme lab",
      systemUUID: facts.name,
    },
    daemonEndpoints: { kubeletEndpoint: { Port: 10250 } },
    images,
  };
}

function conditionsOf(facts: NodeFacts, stored: NodeStatus | undefined): readonly NodeCondition[] {
  const problem = facts.networkProblem;
  const healthy = (type: string, reason: string, message: string): NodeCondition => ({
    type,
    status: "False",
    reason,
    message,
  });
  const ready: NodeCondition =
    problem === undefined
      ? { type: "Ready", status: "True", reason: "KubeletReady", message: "kubelet is posting ready status" }
      : {
          type: "Ready",
          status: "False",
          reason: "KubeletNotReady",
          message: `container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:${problem}`,
        };
  const wanted = [
    healthy("MemoryPressure", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    healthy("DiskPressure", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    healthy("PIDPressure", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    ready,
  ];
  const merged = wanted.reduce<readonly NodeCondition[]>(
    (all, next) => withCondition(all, next, facts.now),
    stored?.conditions ?? [],
  );
  // Of what the node itself says the heartbeat time is now; others' conditions stay untouched.
  const own = new Set(wanted.map(({ type }) => type));
  const lastHeartbeatTime = new Date(facts.now).toISOString().replace(/\.\d{3}Z$/, "Z");
  return merged.map((entry) => (own.has(entry.type) ? { ...entry, lastHeartbeatTime } : entry));
}
