import { join } from "node:path";
import type { HealthReporter, Module } from "@axoneme/app";
import { Emitter, errorText } from "@axoneme/base";
import type { TlsSource } from "@axoneme/grpc";
import {
  type HubbleOptions,
  type HubblePeer,
  type HubbleServer,
  type PeerChange,
  type PeerSource,
  serveHubble,
} from "@axoneme/observe";
import { nodeServerName } from "@axoneme/pki";
import type { AgentConfig } from "./options.ts";
import type { CiliumNodeObject } from "./state/objects.ts";

/** Where observers of other nodes listen, as long as this one does not say otherwise. */
const defaultPort = "4244";

type HubbleConfig = Pick<
  AgentConfig,
  "runDir" | "clusterName" | "hubbleSocketPath" | "hubbleListenAddress" | "hubbleDisableTls"
>;

/** The nodes of the cluster as peers of the flow API, this one among them. */
export class HubblePeers implements PeerSource {
  readonly changes = new Emitter<PeerChange>();
  readonly #config: HubbleConfig;
  readonly #peers = new Map<string, HubblePeer>();

  constructor(config: HubbleConfig) {
    this.#config = config;
  }

  list(): readonly HubblePeer[] {
    return [...this.#peers.values()];
  }

  /** Takes in a CiliumNode that came or changed. One without an address is not a peer yet. */
  upsert(node: CiliumNodeObject): void {
    const name = node.metadata?.name ?? "";
    const ip = node.spec?.addresses?.find(({ type }) => type === "InternalIP")?.ip;
    if (ip === undefined) {
      this.remove(name);
      return;
    }
    const peer = this.#peerOf(name, ip);
    const before = this.#peers.get(name);
    this.#peers.set(name, peer);
    if (before?.address === peer.address) return;
    this.changes.emit({ type: before === undefined ? "PEER_ADDED" : "PEER_UPDATED", peer });
  }

  remove(name: string): void {
    const peer = this.#peers.get(name);
    if (peer === undefined) return;
    this.#peers.delete(name);
    this.changes.emit({ type: "PEER_DELETED", peer });
  }

  #peerOf(node: string, ip: string): HubblePeer {
    const { clusterName, hubbleListenAddress, hubbleDisableTls } = this.#config;
    const port = hubbleListenAddress.split(":").at(-1) || defaultPort;
    return {
      name: clusterName === "default" ? node : `${clusterName}/${node}`,
      address: ip.includes(":") ? `[${ip}]:${port}` : `${ip}:${port}`,
      ...(hubbleListenAddress === "" || hubbleDisableTls
        ? {}
        : { serverName: nodeServerName(node, clusterName) }),
    };
  }
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
