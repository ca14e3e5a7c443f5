import { readFileSync } from "node:fs";
import { request } from "node:http";
import { join } from "node:path";
import { delay, waitFor } from "@axoneme/base";
import { findCgroup2 } from "@axoneme/bpf";
import { completeSlice, KubeClient, loadKubeconfig, packSlice, resources } from "@axoneme/kube";
import { labDown, labPaths, labUp } from "../../apps/lab/src/index.ts";
import { endpoint, identity, namespaceOf, namespaces, nodeObject, type Size, slicesOf } from "./model.ts";

const nodeName = "node1";
/** Calls under way at a time. */
const parallel = 48;
/** Memory that has not changed for so long is at rest. */
const restSeconds = 5;

async function all(count: number, call: (i: number) => Promise<unknown>): Promise<void> {
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let i = next++; i < count; i = next++) await call(i);
  };
  await Promise.all(Array.from({ length: parallel }, worker));
}

/** One real agent in a lab whose other nodes and pods are objects of the API only. */
export class ScaleCluster {
  readonly client: KubeClient;
  readonly #name: string;
  readonly #paths: ReturnType<typeof labPaths>;

  private constructor(name: string) {
    this.#name = name;
    this.#paths = labPaths(name, { run: "/run/axon", cgroup2: findCgroup2(), bpffs: "/sys/fs/bpf" });
    this.client = new KubeClient(loadKubeconfig({ path: this.#paths.kubeconfig }), { connections: parallel });
  }

  /** @param slices whether endpoints come in CiliumEndpointSlices. */
  static async up(root: string, name: string, slices: boolean): Promise<ScaleCluster> {
    await labDown({ name });
    // Nobody collects what no Pod and no Node stands behind.
    const options = ["endpointGcIntervalS", "nodesGcIntervalS", "identityGcIntervalS"].flatMap((each) => [
      "--set",
      `${each}=0`,
    ]);
    const operator = [
      process.execPath,
      join(root, "dist/operator.mjs"),
      "--config",
      "{{config}}",
      "--kubeconfig",
      "{{kubeconfig}}",
    ];
    await labUp({
      name,
      nodes: 1,
      timeoutMs: 100_000,
      agentConfig: { enableCiliumEndpointSlice: slices },
      operatorCommand: [...operator, ...options, "--set", "enableCiliumEndpointSlice=false"],
      relayCommand: null,
    });
    return new ScaleCluster(name);
  }

  /** @param slices write what an operator would write of the endpoints, and not the endpoints. */
  async fill(size: Size, slices: boolean): Promise<void> {
    const named = (name: string) => ({ metadata: { name } });
    await all(namespaces, (i) => this.client.resource(resources.namespaces).create(named(namespaceOf(i))));
    await all(size.identities, (i) => this.client.resource(resources.ciliumidentities).create(identity(i)));
    await all(size.nodes, (i) => this.client.resource(resources.ciliumnodes).create(nodeObject(i)));
    if (!slices)
      await all(size.pods, (i) => this.client.resource(resources.ciliumendpoints).create(endpoint(i, size)));
    else {
      const objects = slicesOf(size);
      const resource = this.client.resource(resources.ciliumendpointslices);
      await all(objects.length, async (i) => {
        const object = objects[i];
        // Without the label of the operator, which would remove its own.
        if (object) await resource.create({ ...object, metadata: { name: object.metadata?.name ?? "" } });
      });
      await resource.create({ metadata: { name: completeSlice }, ...packSlice([]) });
    }
  }

  async #ask(path: string): Promise<string> {
    return new Promise((resolve, reject) => {
      const call = request(
        { socketPath: join(this.#paths.nodeDir(nodeName), "agent.sock"), path },
        (answer) => {
          let text = "";
          answer.setEncoding("utf8").on("data", (chunk: string) => {
            text += chunk;
          });
          answer.on("end", () => resolve(text));
        },
      );
      call.on("error", reject).end();
    });
  }

  get #pid(): number {
    return Number(readFileSync(join(this.#paths.nodeDir(nodeName), "agent.pid"), "utf8"));
  }

  /** Ends the agent as a crash would; milliseconds until another is ready, which has listed everything. */
  async restart(): Promise<number> {
    const before = this.#pid;
    const begin = performance.now();
    process.kill(before, "SIGKILL");
    await waitFor(() => this.#pid !== before, { timeoutMs: 60_000, what: "another agent" });
    await waitFor(async () => (await this.#ask("/v1/status").catch(() => "")).includes("pods in "), {
      timeoutMs: 120_000,
      everyMs: 50,
      what: "the agent to be ready",
    }).catch(() => undefined);
    return performance.now() - begin;
  }

  /** Resident memory of the agent in MB, once it has stopped changing. */
  async memory(): Promise<number> {
    const read = () =>
      Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${this.#pid}/status`, "utf8"))?.[1]) / 1024;
    let before = read();
    for (let still = 0, round = 0; round < 60 && still < restSeconds; round++) {
      await delay(1000);
      const now = read();
      still = Math.abs(now - before) < 0.25 ? still + 1 : 0;
      before = now;
    }
    return before;
  }

  async down(): Promise<void> {
    await this.client.close();
    await labDown({ name: this.#name });
  }
}
