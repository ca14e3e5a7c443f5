import { mkdirSync, rmdirSync } from "node:fs";
import { join } from "node:path";
import { waitFor } from "@axoneme/base";
import { findCgroup2 } from "@axoneme/bpf";
import { KubeClient, loadKubeconfig } from "@axoneme/kube";
import { labPaths } from "../../apps/lab/src/index.ts";
import { BenchLab } from "../pods/lab.ts";
import { createServices } from "./cluster.ts";
import { countRows } from "./maps.ts";
import { backendsEach } from "./model.ts";

const node = "node1";

/** A lab with a client, as many servers as a Service has backends, and a number of Services. */
export class OurNode {
  readonly lab: BenchLab;
  readonly client: KubeClient;
  readonly clientNs: string;
  readonly servers: readonly { readonly netns: string; readonly ipv4: string }[];
  /** Processes in it are translated at connect(); those outside as their packets leave. */
  readonly cgroup: string;
  /** Where the agent's maps are pinned. */
  readonly bpffs: string;
  #services = 0;

  private constructor(
    lab: BenchLab,
    client: KubeClient,
    clientNs: string,
    servers: readonly { readonly netns: string; readonly ipv4: string }[],
  ) {
    this.lab = lab;
    this.client = client;
    this.clientNs = clientNs;
    this.servers = servers;
    const paths = labPaths(lab.name, { run: "/run/axon", cgroup2: findCgroup2(), bpffs: "/sys/fs/bpf" });
    this.bpffs = paths.bpffs(node);
    this.cgroup = join(paths.nodeCgroup(node), "bench");
    mkdirSync(this.cgroup, { recursive: true });
  }

  static async up(root: string, name: string): Promise<OurNode> {
    const lab = await BenchLab.up(root, name, ["--nodes", "1"]);
    try {
      const names = Array.from({ length: backendsEach }, (_, i) => `server${i}`);
      await lab.pods(["client", ...names].map((pod) => ({ name: pod, node })));
      const [client, ...servers] = await Promise.all(["client", ...names].map((pod) => lab.pod(pod)));
      if (client === undefined) throw new Error("the lab has no client");
      const kubeconfig = loadKubeconfig({ path: `/run/axon/${name}/kubeconfig` });
      return new OurNode(lab, new KubeClient(kubeconfig, { connections: 32 }), client.netns, servers);
    } catch (error) {
      await lab.down();
      throw error;
    }
  }

  /** Brings the cluster to `count` Services and waits until the agent has them; milliseconds until then. */
  async load(count: number): Promise<number> {
    const begin = performance.now();
    const servers = this.servers.map(({ ipv4 }) => ipv4);
    await createServices(this.client, this.#services, count, servers);
    this.#services = count;
    await this.settled();
    return performance.now() - begin;
  }

  /** Until the agent has written as many Services as there are. */
  async settled(): Promise<void> {
    await waitFor(() => countRows(this.bpffs, "ax_services") >= this.#services, {
      timeoutMs: 120_000,
      everyMs: 200,
      what: `${this.#services} Services in the maps`,
    });
  }

  async close(): Promise<void> {
    await this.client.close();
    await this.lab.down();
    try {
      rmdirSync(this.cgroup);
    } catch {
      // The lab's own clean-up was quicker.
    }
  }
}
