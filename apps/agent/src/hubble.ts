import { join } from "node:path";
import type { HealthReporter, Module } from "@axoneme/app";
import { errorText } from "@axoneme/base";
import type { TlsSource } from "@axoneme/grpc";
import { type HubbleOptions, type HubbleServer, NodePeers, serveHubble } from "@axoneme/observe";
import type { AgentConfig } from "./options.ts";

/** Where observers of other nodes listen, as long as this one does not say otherwise. */
const defaultPort = "4244";

type HubbleConfig = Pick<
  AgentConfig,
  "runDir" | "clusterName" | "hubbleSocketPath" | "hubbleListenAddress" | "hubbleDisableTls"
>;

/** The nodes of the cluster as peers of the flow API, this one among them: all listen where this one does. */
export function hubblePeers(config: HubbleConfig): NodePeers {
  const { clusterName, hubbleListenAddress, hubbleDisableTls } = config;
  const port = Number(hubbleListenAddress.split(":").at(-1) || defaultPort);
  return new NodePeers({ clusterName, port, isTls: hubbleListenAddress !== "" && !hubbleDisableTls });
}

export interface HubbleModuleOptions extends Omit<HubbleOptions, "socketPath"> {
  /** Makes the source of certificates of the TCP listener; undefined from it: plain text. Called once, when needed. */
  readonly tls: () => TlsSource | undefined;
}

/** Serves flows over gRPC. What keeps it from listening costs the node its flows on the network, not its pods. */
export class HubbleModule implements Module {
  readonly name = "hubble";
  readonly #config: HubbleConfig;
  readonly #options: HubbleModuleOptions;
  #server: HubbleServer | undefined;
  #tls: TlsSource | undefined;
  #health: HealthReporter | undefined;
  #isListening = false;

  constructor(config: HubbleConfig, options: HubbleModuleOptions) {
    this.#config = config;
    this.#options = options;
  }

  async start(health: HealthReporter): Promise<void> {
    this.#health = health;
    const socketPath = this.#config.hubbleSocketPath || join(this.#config.runDir, "hubble.sock");
    try {
      this.#server = await serveHubble({ ...this.#options, socketPath });
      health.ok(`listening on ${socketPath}`);
      await this.#startTcp(`listening on ${socketPath}`);
    } catch (error) {
      this.#degraded(error);
    }
  }

  async stop(): Promise<void> {
    this.#tls?.stop();
    await this.#server?.stop();
  }

  /** Certificates may come long after us: the listener opens with the first. */
  async #startTcp(socket: string): Promise<void> {
    const address = this.#config.hubbleListenAddress;
    if (address === "") return;
    const tls = this.#options.tls();
    this.#tls = tls;
    if (tls === undefined || tls.current !== undefined) return this.#listen(address, socket);
    this.#health?.degraded(`${socket}; not yet on ${address}: ${tls.problem ?? "no certificates yet"}`);
    tls.changes.on(() => void this.#listen(address, socket).catch((error: unknown) => this.#degraded(error)));
  }

  async #listen(address: string, socket: string): Promise<void> {
    if (this.#isListening || this.#server === undefined) return;
    this.#isListening = true;
    try {
      await this.#server.listenTcp({ address, tls: this.#tls });
    } catch (error) {
      this.#isListening = false;
      throw error;
    }
    this.#health?.ok(`${socket} and ${address}${this.#tls === undefined ? ", in plain text" : ""}`);
  }

  #degraded(error: unknown): void {
    this.#health?.degraded(errorText(error));
    this.#options.log.error({ err: error }, "flows are not served over gRPC");
  }
}
