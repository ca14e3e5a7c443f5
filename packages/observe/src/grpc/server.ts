import { rmSync } from "node:fs";
import { AxonError, systemClock } from "@axoneme/base";
import { Health, Observer, Peer, ServerReflection, ServerReflectionAlpha } from "@axoneme/proto";
import { Server, ServerCredentials } from "@grpc/grpc-js";
import { HealthService } from "./health.ts";
import { SeenNamespaces } from "./namespaces.ts";
import { ObserverService } from "./observer-service.ts";
import type { HubbleOptions, HubbleServer, MutualTls } from "./options.ts";
import { PeerService, peerHandlers } from "./peer-service.ts";
import { ReflectionService } from "./reflection.ts";
import { definitionOf } from "./service.ts";

/** Readers that stopped answering are let go after the sum of these. */
const keepAlive = { "grpc.keepalive_time_ms": 20_000, "grpc.keepalive_timeout_ms": 10_000 };
/** How often namespaces are gathered. */
const sweepMs = 10_000;
/** Names under which clients ask for our health: the stock CLI's, and the services'. */
const healthNames = ["hubble.server.Observer", Observer.typeName, Peer.typeName];

/** The gRPC server of a node. */
export class GrpcServer implements HubbleServer {
  readonly #options: HubbleOptions;
  readonly #server = new Server(keepAlive);
  readonly #health = new HealthService(healthNames);
  readonly #namespaces: SeenNamespaces;
  readonly #observer: ObserverService;
  #sweeper: NodeJS.Timeout | undefined;
  #port: number | undefined;

  private constructor(options: HubbleOptions) {
    this.#options = options;
    this.#namespaces = new SeenNamespaces(options.observer.store, options.resolver, systemClock);
    this.#observer = new ObserverService(options, this.#namespaces);
    const reflection = new ReflectionService([
      Observer,
      Peer,
      Health,
      ServerReflection,
      ServerReflectionAlpha,
    ]);
    const server = this.#server;
    server.addService(definitionOf(Observer), this.#observer.handlers());
    server.addService(definitionOf(Peer), peerHandlers(new PeerService(options.peers)));
    server.addService(definitionOf(Health), this.#health.handlers());
    server.addService(definitionOf(ServerReflection), reflection.handlers());
    server.addService(definitionOf(ServerReflectionAlpha), reflection.handlers());
  }

  /** Listens on all addresses of the options, or on none. */
  static async start(options: HubbleOptions): Promise<GrpcServer> {
    const server = new GrpcServer(options);
    try {
      await server.#listen();
    } catch (error) {
      await server.stop();
      throw error;
    }
    return server;
  }

  get port(): number | undefined {
    return this.#port;
  }

  get streams(): number {
    return this.#observer.streams;
  }

  async stop(): Promise<void> {
    clearInterval(this.#sweeper);
    this.#health.stop();
    this.#observer.stop();
    this.#server.forceShutdown();
    rmSync(this.#options.socketPath, { force: true });
  }

  async #listen(): Promise<void> {
    const { socketPath, tcp } = this.#options;
    rmSync(socketPath, { force: true });
    const umask = process.umask(0o177);
    try {
      await this.#bind(`unix:${socketPath}`, ServerCredentials.createInsecure());
    } finally {
      process.umask(umask);
    }
    if (tcp !== undefined) this.#port = await this.#bind(tcp.address, credentialsOf(tcp.tls));
    this.#sweeper = setInterval(() => void this.#namespaces.sweep(), sweepMs).unref();
  }

  #bind(address: string, credentials: ServerCredentials): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#server.bindAsync(address, credentials, (cause, port) => {
        if (cause === null) return resolve(port);
        const message = `flows cannot be served on ${address}: ${cause.message}`;
        reject(new AxonError("observe.hubble_listen", message, { cause }));
      });
    });
  }
}

function credentialsOf({ cert, key, clientCa }: MutualTls): ServerCredentials {
  try {
    return ServerCredentials.createSsl(clientCa, [{ cert_chain: cert, private_key: key }], true);
  } catch (cause) {
    throw new AxonError("observe.hubble_tls", `TLS certificates for flows are refused: ${String(cause)}`, {
      cause,
    });
  }
}
