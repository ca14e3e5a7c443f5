import { createHash } from "node:crypto";
import { join } from "node:path";
import { AxonError } from "@axoneme/base";

/** Where everything of one lab lies. All paths follow from the lab's name, so that `down` needs no state. */
export interface LabPaths {
  readonly lab: string;
  /** /run/axon/<lab> */
  readonly state: string;
  readonly lock: string;
  /** What `up` was asked for; the supervisor starts from it. */
  readonly config: string;
  /** What the supervisor has reached so far. */
  readonly status: string;
  readonly supervisorLog: string;
  readonly supervisorPid: string;
  /** Kubeconfig of the user (127.0.0.1). */
  readonly kubeconfig: string;
  /** Kubeconfig of nodes and their agents (the bridge address). */
  readonly nodeKubeconfig: string;
  readonly apiserver: string;
  /** Where the relay serves the flows of all nodes. */
  readonly relaySocket: string;
  readonly netnsDir: string;
  netns(name: string): string;
  nodeDir(node: string): string;
  readonly pods: string;
  /** <cgroup2>/axon-<lab> */
  readonly cgroup: string;
  nodeCgroup(node: string): string;
  /** /sys/fs/bpf/axon-<lab>-<node> */
  bpffs(node: string): string;
  /** Prefix of links that stand for a moment in the root namespace. */
  readonly linkPrefix: string;
}

/** Roots of a machine; tests and unusual hosts change them. */
export interface HostRoots {
  run: string;
  cgroup2: string;
  bpffs: string;
}

export const bpffsRoot = "/sys/fs/bpf";
export const runRoot = "/run/axon";

/** Lab and node names go into paths, link names and cgroups. */
export function checkName(what: "lab" | "node", name: string): string {
  if (/^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$/.test(name)) return name;
  throw new AxonError(
    "lab.name",
    `the ${what} name ${JSON.stringify(name)} is not usable: take 1 to 32 of a-z, 0-9 and "-", no dash at the ends`,
  );
}

/** The paths of a lab. */
export function labPaths(lab: string, roots: HostRoots): LabPaths {
  checkName("lab", lab);
  const state = join(roots.run, lab);
  const cgroup = join(roots.cgroup2, `axon-${lab}`);
  return {
    lab,
    state,
    // Beside the state directory, which `down` removes while it holds the lock.
    lock: join(roots.run, `.${lab}.lock`),
    config: join(state, "lab.json"),
    status: join(state, "status.json"),
    supervisorLog: join(state, "supervisor.log"),
    supervisorPid: join(state, "supervisor.pid"),
    kubeconfig: join(state, "kubeconfig"),
    nodeKubeconfig: join(state, "kubeconfig.node"),
    apiserver: join(state, "apiserver"),
    relaySocket: join(state, "relay.sock"),
    netnsDir: join(state, "netns"),
    netns: (name) => join(state, "netns", name),
    nodeDir: (node) => join(state, "nodes", node),
    pods: join(state, "pods"),
    cgroup,
    nodeCgroup: (node) => join(cgroup, node),
    bpffs: (node) => join(roots.bpffs, `axon-${lab}-${node}`),
    linkPrefix: `ax${createHash("sha256").update(lab).digest("hex").slice(0, 5)}`,
  };
}
