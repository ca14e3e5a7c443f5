import type { Logger } from "@axoneme/base";
import { RpcServer, type TlsSource } from "@axoneme/grpc";
import { Health, Observer, ServerReflection, ServerReflectionAlpha } from "@axoneme/proto";
import type { Registry } from "prom-client";
import { callMetrics } from "../grpc/call-metrics.ts";
import { HealthService } from "../grpc/health.ts";
import type { PeerSource } from "../grpc/options.ts";
import { ReflectionService } from "../grpc/reflection.ts";
import { methodsOf, recorderMethods } from "../grpc/service.ts";
import { type MergeTimes, mergeTimes } from "./flows.ts";
import { RelayFigures } from "./metrics.ts";
import { PeerPool } from "./pool.ts";
import { RelayService } from "./service.ts";

export interface RelayOptions {
  readonly peers: PeerSource;
  /** Certificates by which nodes know the relay; undefined: nodes are spoken to in plain text. */
  readonly clientTls: TlsSource | undefined;
  readonly version: string;
  readonly nodeName: string;
  readonly log: Logger;
  /** How long what is merged waits for what; only what differs from the usual. */
  readonly times?: Partial<MergeTimes>;
  /** Where grpc_server_* count calls. */
  readonly registry?: Registry | undefined;
}

/** How a relay fares. */
export interface RelayHealth {
  readonly connected: readonly string[];
  /** By name, why. */
  readonly unavailable: ReadonlyMap<string, string>;
}

const healthNames = ["hubble.server.Observer", Observer.typeName];

/** A relay: the flows of all nodes at one address. */
export class Relay {
  readonly figures = new RelayFigures();
  readonly #pool: PeerPool;
  readonly #server: RpcServer;
  readonly #health = new HealthService(healthNames);
  readonly #off: () => void;

  constructor({ peers, clientTls, version, nodeName, log, times, registry }: RelayOptions) {
    this.#pool = new PeerPool(peers, { tls: clientTls });
    const { figures } = this;
    const service = new RelayService({
      pool: this.#pool,
      version,
      nodeName,
      figures,
      times: { ...mergeTimes, ...times },
    });
    const services = [Observer, Health, ServerReflection, ServerReflectionAlpha];
    const reflection = new ReflectionService(services).handlers();
    this.#server = new RpcServer({
      log,
      watcher: registry && callMetrics(registry, services),
      methods: new Map([
        ...recorderMethods,
        ...methodsOf(
          [Observer, service.handlers()],
          [Health, this.#health.handlers()],
          [ServerReflection, reflection],
          [ServerReflectionAlpha, reflection],
        ),
      ]),
    });
    this.#tellHealth();
    this.#off = this.#pool.changes.on(({ type, link }) => {
      log.info(
        { node: link.peer.name, ...(link.problem === "" ? {} : { why: link.problem }) },
        `node ${type}`,
      );
      this.#tellHealth();
    });
  }

  /** Listens on a UNIX socket of mode 0600. */
  listenUnix(path: string): Promise<void> {
    return this.#server.listenUnix(path);
  }

  /** Listens on `host:port`; undefined certificates: in plain text. */
  listenTcp(address: string, tls: TlsSource | undefined): Promise<number> {
    return this.#server.listenTcp(address, tls);
  }

  get health(): RelayHealth {
    return {
      connected: this.#pool.connected().map(({ peer }) => peer.name),
      unavailable: new Map(this.#pool.unavailable().map(({ peer, problem }) => [peer.name, problem])),
    };
  }

  async stop(): Promise<void> {
    this.#off();
    this.#health.set(false);
    await this.#server.stop();
    this.#pool.stop();
  }

  /** A relay that reaches no node at all has nothing to serve. */
  #tellHealth(): void {
    this.#health.set(this.#pool.connected().length > 0);
  }
}
