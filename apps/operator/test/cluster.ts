import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseOptions } from "@axoneme/app";
import { type LogRecord, memoryLogger, silentLogger } from "@axoneme/base";
import { KubeClient, loadKubeconfig } from "@axoneme/kube";
import { ApiServer } from "@axoneme/lab/apiserver";
import { Operator } from "../src/operator.ts";
import { type OperatorConfig, operatorOptions } from "../src/options.ts";

/** A real API server in this process, and operators on it. */
export class Cluster {
  readonly client: KubeClient;
  readonly #server: ApiServer;
  readonly #dir: string;
  readonly #running: { operator: Operator; client: KubeClient }[] = [];

  private constructor(server: ApiServer, dir: string, client: KubeClient) {
    this.#server = server;
    this.#dir = dir;
    this.client = client;
  }

  static async start(): Promise<Cluster> {
    const dir = mkdtempSync(join(tmpdir(), "axon-operator-"));
    const logger = silentLogger;
    const server = await ApiServer.start({ stateDir: dir, listen: [{ host: "127.0.0.1", port: 0 }], logger });
    const path = join(dir, "kubeconfig");
    writeFileSync(path, await server.kubeconfig());
    return new Cluster(server, dir, new KubeClient(loadKubeconfig({ path })));
  }

  /** Starts an operator with these options; intervals are off unless asked for. */
  operator(options: Partial<OperatorConfig> = {}): { operator: Operator; records: LogRecord[] } {
    const off = { identityGcIntervalS: 0, endpointGcIntervalS: 0, nodesGcIntervalS: 0, leaseDurationS: 3 };
    const config = parseOptions(operatorOptions, { ...off, ...options });
    const log = memoryLogger();
    const client = new KubeClient(loadKubeconfig({ path: join(this.#dir, "kubeconfig") }));
    const operator = new Operator(client, config, log);
    this.#running.push({ operator, client });
    operator.start();
    return { operator, records: log.records };
  }

  /** Ends all operators, in the order they were started. */
  async stopOperators(): Promise<void> {
    for (const { operator, client } of this.#running.splice(0)) {
      await operator.stop();
      await client.close();
    }
  }

  async close(): Promise<void> {
    await this.stopOperators();
    await this.client.close();
    await this.#server.stop();
    rmSync(this.#dir, { recursive: true });
  }
}
