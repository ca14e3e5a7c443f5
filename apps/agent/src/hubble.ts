import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { HealthReporter, Module } from "@axoneme/app";
import { AxonError, Emitter, errorText } from "@axoneme/base";
import {
  type HubbleOptions,
  type HubblePeer,
  type HubbleServer,
  type MutualTls,
  type PeerChange,
  type PeerSource,
  serveHubble,
} from "@axoneme/observe";
import type { AgentConfig } from "./options.ts";
import type { CiliumNodeObject } from "./state/objects.ts";

/** Where observers of other nodes listen, as long as this one does not say otherwise. */
const defaultPort = "4244";

type HubbleConfig = Pick<
  AgentConfig,
  | "runDir"
  | "clusterName"
  | "hubbleSocketPath"
  | "hubbleListenAddress"
  | "hubbleTlsCert"
  | "hubbleTlsKey"
  | "hubbleTlsClientCa"
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
    const { clusterName, hubbleListenAddress } = this.#config;
    const port = hubbleListenAddress.split(":").at(-1) || defaultPort;
    const dashed = (name: string): string => name.replaceAll(".", "-");
    return {
      name: clusterName === "default" ? node : `${clusterName}/${node}`,
      address: ip.includes(":") ? `[${ip}]:${port}` : `${ip}:${port}`,
      ...(hubbleListenAddress === ""
        ? {}
        : { serverName: `${dashed(node)}.${dashed(clusterName)}.hubble-grpc.cilium.io` }),
    };
  }
}

/** Serves flows over gRPC. What keeps it from listening costs the node its flows on the network, not its pods. */
export class HubbleModule implements Module {
  readonly name = "hubble";
  readonly #config: HubbleConfig;
  readonly #options: Omit<HubbleOptions, "socketPath" | "tcp">;
  #server: HubbleServer | undefined;

  constructor(config: HubbleConfig, options: Omit<HubbleOptions, "socketPath" | "tcp">) {
    this.#config = config;
    this.#options = options;
  }

  async start(health: HealthReporter): Promise<void> {
    const socketPath = this.#config.hubbleSocketPath || join(this.#config.runDir, "hubble.sock");
    const address = this.#config.hubbleListenAddress;
    try {
      const tcp = address === "" ? {} : { tcp: { address, tls: readTls(this.#config) } };
      this.#server = await serveHubble({ ...this.#options, socketPath, ...tcp });
      health.ok(`listening on ${socketPath}${address === "" ? "" : ` and ${address}`}`);
    } catch (error) {
      health.degraded(errorText(error));
      this.#options.log.error({ err: error }, "flows are not served over gRPC");
    }
  }

  async stop(): Promise<void> {
    await this.#server?.stop();
  }
}

/** @throws AxonError `config.invalid` naming the option that is missing or cannot be read */
function readTls(config: HubbleConfig): MutualTls {
  const read = (option: "hubbleTlsCert" | "hubbleTlsKey" | "hubbleTlsClientCa"): Buffer => {
    const path = config[option];
    try {
      return readFileSync(path);
    } catch (cause) {
      throw new AxonError(
        "config.invalid",
        `hubbleListenAddress needs certificates on both sides: ${option} "${path}" cannot be read`,
        { cause },
      );
    }
  };
  return { cert: read("hubbleTlsCert"), key: read("hubbleTlsKey"), clientCa: read("hubbleTlsClientCa") };
}
