import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseOptions } from "@axoneme/app";
import { type LogRecord, memoryLogger, silentLogger } from "@axoneme/base";
import { KubeClient, loadKubeconfig } from "@axoneme/kube";
import { type Access, ApiServer } from "@axoneme/lab/apiserver";
import { Operator } from "../src/operator.ts";
import { type OperatorConfig, operatorOptions } from "../src/options.ts";

/** A real API server in this process, and operators on it. */
export class Cluster {
  readonly client: KubeClient;
  readonly #server: ApiServer;
  readonly #dir: string;
  #kubeconfig: string;
  readonly #running: { operator: Operator; client: KubeClient }[] = [];

  private constructor(server: ApiServer, dir: string, client: KubeClient) {
    this.#server = server;
    this.#dir = dir;
    this.#kubeconfig = join(dir, "kubeconfig");
    this.client = client;
  }

  /** @param asked told what service accounts ask for; the stored roles then decide. */
  static async start(asked?: (access: Access) => void): Promise<Cluster> {
    const dir = mkdtempSync(join(tmpdir(), "axon-operator-"));
    const logger = silentLogger;
    const server = await ApiServer.start({
      stateDir: dir,
      listen: [{ host: "127.0.0.1", port: 0 }],
      logger,
      ...(asked === undefined ? {} : { rbac: true, asked }),
    });
    const path = join(dir, "kubeconfig");
    writeFileSync(path, await server.kubeconfig());
    return new Cluster(server, dir, new KubeClient(loadKubeconfig({ path })));
  }

  /** From here on operators are this user. */
  async actAs(user: string): Promise<void> {
    this.#kubeconfig = join(this.#dir, "kubeconfig.operator");
    writeFileSync(this.#kubeconfig, await this.#server.kubeconfig(undefined, user));
  }

  /** Starts an operator with these options; intervals are off unless asked for. */
  operator(options: Partial<OperatorConfig> = {}): { operator: Operator; records: LogRecord[] } {
    const off = { identityGcIntervalS: 0, endpointGcIntervalS: 0, nodesGcIntervalS: 0, leaseDurationS: 3 };
    const config = parseOptions(operatorOptions, { ...off, ...options });
    const log = memoryLogger();
    const client = new KubeClient(loadKubeconfig({ path: this.#kubeconfig }));
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
