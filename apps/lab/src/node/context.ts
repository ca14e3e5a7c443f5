import type { Clock, Logger } from "@axoneme/base";
import type { Node, Pod, PodStatus } from "kubernetes-types/core/v1";
import type { LabPaths } from "../lab/paths.ts";
import type { CniRuntime } from "./cni.ts";
import type { FifoPool } from "./fifos.ts";
import type { PodStateStore } from "./podstate.ts";
import type { Slots } from "./slots.ts";

/** The writes and look-ups a node needs from the API. */
export interface NodeApi {
  updatePodStatus(pod: Pod, status: PodStatus): Promise<Pod | undefined>;
  /** Removes the object for good (grace period 0), this incarnation only. */
  removePod(pod: Pod): Promise<void>;
  configMap(namespace: string, name: string): Promise<Record<string, string> | undefined>;
  secret(namespace: string, name: string): Promise<Record<string, string> | undefined>;
  event(about: Pod | Node, type: "Normal" | "Warning", reason: string, message: string): void;
}

/** A directory or file of the host shown inside a container. */
export interface Bind {
  source: string;
  target: string;
  readOnly: boolean;
}

/** A process to be started inside a pod or a node. */
export interface LaunchSpec {
  netns: string;
  cgroup: string;
  /** Root file system; undefined is the host's. */
  root?: string;
  cwd?: string;
  hostname?: string;
  uid?: number;
  gid?: number;
  binds?: readonly Bind[];
  argv: readonly string[];
}

/** The namespaces of pods. */
export interface SandboxOps {
  create(path: string): Promise<void>;
  /** Removing one that does not exist is no error. */
  remove(path: string): Promise<void>;
}

/** Everything the parts of a node runner share. */
export interface NodeContext {
  readonly node: string;
  readonly paths: LabPaths;
  /** The namespace of the node itself. */
  readonly netns: string;
  readonly cgroup: string;
  readonly hostIps: readonly string[];
  /** Image name to root file system; "host" is the host's own. */
  readonly images: Readonly<Record<string, string>>;
  readonly api: NodeApi;
  readonly cni: CniRuntime;
  readonly sandbox: SandboxOps;
  readonly states: PodStateStore;
  readonly fifos: FifoPool;
  /** Bounds what a burst of pods starts at once. */
  readonly slots: Slots;
  readonly clock: Clock;
  readonly log: Logger;
  /** The command line that runs a process as `spec` says. */
  launch(spec: LaunchSpec): readonly string[];
}
