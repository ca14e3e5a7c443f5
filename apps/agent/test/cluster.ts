import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { silentLogger, waitFor } from "@axoneme/base";
import { crdManifests, KubeClient, loadKubeconfig, resources } from "@axoneme/kube";
import { ApiServer } from "@axoneme/lab/apiserver";

/** A real API server in this process. */
export class Cluster {
  readonly client: KubeClient;
  readonly #server: ApiServer;
  readonly #dir: string;

  private constructor(server: ApiServer, dir: string) {
    this.#server = server;
    this.#dir = dir;
    this.client = this.connect();
  }

  static async start(): Promise<Cluster> {
    const dir = mkdtempSync(join(tmpdir(), "axon-agent-"));
    const logger = silentLogger;
    const server = await ApiServer.start({ stateDir: dir, listen: [{ host: "127.0.0.1", port: 0 }], logger });
    writeFileSync(join(dir, "kubeconfig"), await server.kubeconfig());
    return new Cluster(server, dir);
  }

  /** A client of its own, as another agent has; by another way to the server, and told of its exchanges. */
  connect(server?: string, onCall?: () => void): KubeClient {
    const config = loadKubeconfig({ path: join(this.#dir, "kubeconfig") });
    return new KubeClient(
      server === undefined ? config : { ...config, server },
      onCall === undefined ? {} : { onCall },
    );
  }

  /** Where the server listens on 127.0.0.1. */
  get port(): number {
    return this.#server.port();
  }

  /** As the operator does at its first start; resolves when the resources are served. */
  async installDefinitions(): Promise<void> {
    const definitions = this.client.resource(resources.customresourcedefinitions);
    for (const manifest of crdManifests) await definitions.create(manifest);
    const isServed = async () => {
      try {
        await this.client.resource(resources.ciliumendpoints).list();
        return true;
      } catch {
        return false;
      }
    };
    await waitFor(isServed, { timeoutMs: 10_000, what: "the definitions to be served" });
  }

  async close(): Promise<void> {
    await this.client.close();
    await this.#server.stop();
    rmSync(this.#dir, { recursive: true });
  }
}
