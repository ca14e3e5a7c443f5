import { join } from "node:path";
import type { HealthReporter, Lifecycle, Module } from "@axoneme/app";
import { errorText, type Logger } from "@axoneme/base";
import type { FlowResolver } from "@axoneme/flow";
import type { TlsSource } from "@axoneme/grpc";
import type { KubeClient } from "@axoneme/kube";
import {
  type FlowMetrics,
  type HubbleOptions,
  type HubbleServer,
  NodePeers,
  type Observer,
  serveHubble,
} from "@axoneme/observe";
import type { Registry } from "prom-client";
import type { EventSources } from "./agent-events.ts";
import { hubbleTls } from "./hubble-tls.ts";
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

/** Of what an agent is made, what the flow API needs. */
export interface HubbleParts {
  readonly observer: Observer;
  readonly resolver: FlowResolver;
  readonly version: string;
  readonly metrics: Pick<FlowMetrics, "countLoss">;
  readonly log: Logger;
  readonly nodeName: string;
  readonly client: KubeClient;
  readonly peers: NodePeers;
  readonly events: EventSources;
  readonly registry: Registry;
}

/** Adds the flow API to an agent. */
export function addHubble(lifecycle: Lifecycle, config: AgentConfig, parts: HubbleParts): void {
  const { observer, resolver, version, metrics, log, nodeName, client, peers, events, registry } = parts;
  events.started();
  const agentEvents = events.events;
  agentEvents.readerLost.on((count) => metrics.countLoss("hubble_ring_buffer", count));
  const tls = (): TlsSource | undefined => hubbleTls(config, nodeName, client, log);
  const { clusterName } = config;
  lifecycle.add(
    new HubbleModule(config, {
      ...{ observer, resolver, clusterName, version, peers, agentEvents, tls, log, registry },
    }),
  );
}
