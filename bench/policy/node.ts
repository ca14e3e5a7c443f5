import { readFileSync } from "node:fs";
import { join } from "node:path";
import { delay, waitFor } from "@axoneme/base";
import { findCgroup2 } from "@axoneme/bpf";
import { type DatapathMaps, openMaps } from "@axoneme/datapath";
import { builtinResources, KubeClient, loadKubeconfig, type NetworkPolicy, resources } from "@axoneme/kube";
import { labPaths } from "../../apps/lab/src/index.ts";
import { BenchLab } from "../pods/lab.ts";
import { mapMemory } from "../services/maps.ts";
import { identityObject, namespaces, type Place } from "./model.ts";

const nodeName = "node1";
/** Calls under way at a time. */
const parallel = 32;
/** Memory that has not changed for so long is at rest. */
const restSeconds = 4;

async function all<T>(items: readonly T[], call: (item: T) => Promise<unknown>): Promise<void> {
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let item = items[next++]; item !== undefined; item = items[next++]) await call(item);
  };
  await Promise.all(Array.from({ length: parallel }, worker));
}

/** A lab of one node whose agent has policies, identities and pods; its maps can be read. */
export class PolicyNode {
  readonly client: KubeClient;
  readonly maps: DatapathMaps;
  readonly #lab: BenchLab;
  readonly #paths: ReturnType<typeof labPaths>;
  readonly #closeMaps: () => void;

  private constructor(lab: BenchLab) {
    this.#lab = lab;
    this.#paths = labPaths(lab.name, { run: "/run/axon", cgroup2: findCgroup2(), bpffs: "/sys/fs/bpf" });
    this.client = new KubeClient(loadKubeconfig({ path: this.#paths.kubeconfig }), { connections: parallel });
    const { maps, close } = openMaps(join(this.#paths.bpffs(nodeName), "maps"));
    this.maps = maps;
    this.#closeMaps = close;
  }

  /** Brings up the lab and makes the namespaces of the model. */
  static async up(root: string, name: string): Promise<PolicyNode> {
    const lab = await BenchLab.up(root, name, ["--nodes", "1"]);
    try {
      const node = new PolicyNode(lab);
      const names = Array.from({ length: namespaces }, (_, i) => `bench-${i}`);
      await all(names, (name) => node.client.resource(resources.namespaces).create({ metadata: { name } }));
      return node;
    } catch (error) {
      await lab.down();
      throw error;
    }
  }

  /** Creates NetworkPolicies. */
  async createPolicies(objects: readonly NetworkPolicy[]): Promise<void> {
    const policies = this.client.resource(builtinResources.networkpolicies);
    await all(objects, (object) => policies.create(object));
  }

  /** Creates identities by number. */
  async createIdentities(count: number, of: (i: number) => { id: number; place: Place }): Promise<void> {
    const numbers = Array.from({ length: count }, (_, i) => of(i));
    await all(numbers, ({ id, place }) =>
      this.client.resource(resources.ciliumidentities).create(identityObject(id, place)),
    );
  }

  /** Runs pods on the node and waits until all pods of the namespace are ready. */
  async createPods(pods: readonly { name: string; place: Place }[]): Promise<void> {
    const api = this.client.resource(resources.pods);
    await all(pods, ({ name, place: { namespace, app } }) =>
      api.create({
        apiVersion: "v1",
        kind: "Pod",
        metadata: { name, namespace, labels: { app } },
        spec: {
          nodeName,
          containers: [{ name: "c", image: "host", command: ["sleep", "infinity"] }],
        },
      }),
    );
    await waitFor(async () => (await api.list()).items.every(({ status }) => status?.phase === "Running"), {
      timeoutMs: 120_000,
      everyMs: 500,
      what: `${pods.length} pods to run`,
    });
  }

  /** Where a pod's network is, and its IPv4 address. */
  async podEnd({ name, place }: { name: string; place: Place }): Promise<{ netns: string; ipv4: string }> {
    const { namespace } = place;
    const { metadata, status } = await this.client.resource(resources.pods).get(name, { namespace });
    return { netns: join(this.#paths.netnsDir, `pod-${metadata?.uid}`), ipv4: status?.podIP ?? "" };
  }

  /** Kernel memory of the policy maps, in bytes. */
  policyMemory(): number {
    const memory = mapMemory(this.#paths.bpffs(nodeName));
    return (memory.get("ax_policy") ?? 0) + (memory.get("ax_policy_heads") ?? 0);
  }

  get #agentPid(): number {
    return Number(readFileSync(join(this.#paths.nodeDir(nodeName), "agent.pid"), "utf8"));
  }

  /** Kills the agent; the lab starts another. Milliseconds from its start until it takes pods, and its CPU time. */
  async restartAgent(): Promise<{ ms: number; cpuMs: number }> {
    const log = join(this.#paths.nodeDir(nodeName), "agent.log");
    const before = this.#agentPid;
    const from = readFileSync(log, "utf8").length;
    process.kill(before, "SIGKILL");
    const ready = () =>
      /"ms":(\d+)[^\n]*ready to add pods|ready to add pods[^\n]*"?ms"?[=:](\d+)/.exec(
        readFileSync(log, "utf8").slice(from),
      );
    await waitFor(() => ready() !== null && this.#agentPid !== before, {
      timeoutMs: 120_000,
      everyMs: 50,
      what: `the agent to be ready again (${log})`,
    });
    const stat = readFileSync(`/proc/${this.#agentPid}/stat`, "utf8");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    const match = ready();
    return {
      ms: Number(match?.[1] ?? match?.[2]),
      cpuMs: (Number(fields[11]) + Number(fields[12])) * 10,
    };
  }

  /** Resident megabytes of the agent, once they have come to rest. */
  async agentMemory(): Promise<number> {
    const read = () => {
      const status = readFileSync(`/proc/${this.#agentPid}/status`, "utf8");
      return Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1]) / 1024;
    };
    let before = read();
    for (let round = 0, still = 0; round < 30 && still < restSeconds; round++) {
      await delay(1000);
      const now = read();
      still = Math.abs(now - before) < 0.25 ? still + 1 : 0;
      before = now;
    }
    return before;
  }

  async close(): Promise<void> {
    this.#closeMaps();
    await this.client.close();
    await this.#lab.down();
  }
}
