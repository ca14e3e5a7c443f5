import { AxonError, systemClock } from "@axoneme/base";
import { RpcServer } from "@axoneme/grpc";
import { Health, Observer, Peer, ServerReflection, ServerReflectionAlpha } from "@axoneme/proto";
import { callMetrics } from "./call-metrics.ts";
import { HealthService } from "./health.ts";
import { SeenNamespaces } from "./namespaces.ts";
import { ObserverService } from "./observer-service.ts";
import type { HubbleOptions, HubbleServer, TcpOptions } from "./options.ts";
import { PeerService, peerHandlers } from "./peer-service.ts";
import { ReflectionService } from "./reflection.ts";
import { methodsOf, recorderMethods } from "./service.ts";

/** How often namespaces are gathered. */
const sweepMs = 10_000;
/** Names under which clients ask for our health: the stock CLI's, and the services'. */
const healthNames = ["hubble.server.Observer", Observer.typeName, Peer.typeName];

/** The gRPC server of a node. */
export class GrpcServer implements HubbleServer {
  readonly #server: RpcServer;
  readonly #health = new HealthService(healthNames);
  readonly #namespaces: SeenNamespaces;
  readonly #observer: ObserverService;
  #sweeper: NodeJS.Timeout | undefined;

  private constructor(options: HubbleOptions) {
    this.#namespaces = new SeenNamespaces(options.observer.store, options.resolver, systemClock);
    this.#observer = new ObserverService(options, this.#namespaces);
    const services = [Observer, Peer, Health, ServerReflection, ServerReflectionAlpha];
    const reflection = new ReflectionService(services).handlers();
    this.#server = new RpcServer({
      log: options.log,
      watcher: options.registry && callMetrics(options.registry, services),
      methods: new Map([
        ...recorderMethods,
        ...methodsOf(
          [Observer, this.#observer.handlers()],
          [Peer, peerHandlers(new PeerService(options.peers))],
          [Health, this.#health.handlers()],
          [ServerReflection, reflection],
          [ServerReflectionAlpha, reflection],
        ),
      ]),
    });
  }

  /** Listens on the socket of the options. */
  static async start(options: HubbleOptions): Promise<GrpcServer> {
    const server = new GrpcServer(options);
    try {
      await server.#server.listenUnix(options.socketPath);
      server.#sweeper = setInterval(() => void server.#namespaces.sweep(), sweepMs).unref();
      return server;
    } catch (cause) {
      await server.stop();
      throw new AxonError("observe.hubble_listen", `flows cannot be served on ${options.socketPath}`, {
        cause,
      });
    }
  }

  get streams(): number {
    return this.#observer.streams;
  }

  async listenTcp({ address, tls }: TcpOptions): Promise<number> {
    try {
      return await this.#server.listenTcp(address, tls);
    } catch (cause) {
      throw new AxonError("observe.hubble_listen", `flows cannot be served on ${address}`, { cause });
    }
  }

  async stop(): Promise<void> {
    clearInterval(this.#sweeper);
    this.#health.set(false);
    await this.#server.stop();
  }
}
