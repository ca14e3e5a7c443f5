import { once } from "node:events";
import { mkdirSync } from "node:fs";
import { createServer, type Server } from "node:https";
import type { Socket } from "node:net";
import { join } from "node:path";
import { AxonError, type Logger, silentLogger } from "@axoneme/base";
import { Allocations } from "./admission/allocations.ts";
import { bootstrap, restore } from "./bootstrap.ts";
import { Cleaner } from "./cleaner.ts";
import type { Cluster } from "./cluster.ts";
import { builtinResources } from "./resources/builtin.ts";
import { Registry } from "./resources/registry.ts";
import { Router } from "./routes/router.ts";
import { Authority, type KeyPair } from "./security/certificates.ts";
import { kubeconfigText } from "./security/kubeconfig.ts";
import { type Access, Rbac } from "./security/rbac.ts";
import { serviceAccountGroups, Tokens, type User } from "./security/users.ts";
import { lockState } from "./storage/lock.ts";
import { Persistence } from "./storage/persistence.ts";
import { Store } from "./storage/store.ts";

/** Where the server listens: an address of this namespace, or a descriptor of a socket that listens already. */
export type Listen = { host: string; port: number } | { fd: number };

export interface ApiServerOptions {
  /** Journal, snapshots, certificates, tokens. Made when absent. */
  stateDir: string;
  /** The first one is what `url` names. Default: a free port of 127.0.0.1. */
  listen?: readonly Listen[];
  /** Names and addresses clients use besides the usual ones; the server's certificate is made for them. */
  sans?: readonly string[];
  /** Ranges of service addresses, the preferred family first. Default 10.96.0.0/16. */
  serviceCidrs?: readonly string[];
  /** Where pods and nodes reach the server: the endpoints of the `kubernetes` service. Default: the first listen address. */
  advertise?: readonly { address: string; port: number }[];
  logger?: Logger;
  /** Let the RBAC objects that are stored decide who may do what; default: whoever is known may do everything. */
  rbac?: boolean;
  /** Told what those ask for who may not do everything, with {@link rbac}. */
  asked?: (access: Access) => void;
  /** Flush every write to the disk: survives power loss too. Default false. */
  fsync?: boolean;
  /** Journal size that triggers a snapshot. Default 32 MiB. */
  compactBytes?: number;
  /** Changes kept per kind for watches that resume. Default 8192. */
  historySize?: number;
}

/** The names a server certificate always carries. */
const usualSans = [
  "127.0.0.1",
  "::1",
  "localhost",
  "kubernetes",
  "kubernetes.default",
  "kubernetes.default.svc",
  "kubernetes.default.svc.cluster.local",
];

/** The groups of users that a kubeconfig is made for. */
function groupsOf(user: string): string[] {
  if (user.startsWith("system:node:")) return ["system:nodes"];
  const [, account] = /^system:serviceaccount:([^:]+):/.exec(user) ?? [];
  if (account !== undefined) return serviceAccountGroups(account);
  return user.startsWith("system:") ? [] : ["system:masters"];
}

/** A Kubernetes API server in this process. */
export class ApiServer {
  /** `https://host:port` of the first listen address. */
  readonly url: string;
  /** The certificate authority, PEM: what clients trust. */
  readonly ca: string;
  readonly #authority: Authority;
  readonly #tokens: Tokens;
  readonly #store: Store;
  readonly #cleaner: Cleaner;
  readonly #servers: Server[];
  readonly #sockets: Set<Socket>;
  readonly #unlock: () => void | Promise<void>;

  private constructor(parts: {
    url: string;
    authority: Authority;
    tokens: Tokens;
    store: Store;
    cleaner: Cleaner;
    servers: Server[];
    sockets: Set<Socket>;
    unlock: () => void | Promise<void>;
  }) {
    this.url = parts.url;
    this.ca = parts.authority.ca.certificate;
    this.#authority = parts.authority;
    this.#tokens = parts.tokens;
    this.#store = parts.store;
    this.#cleaner = parts.cleaner;
    this.#servers = parts.servers;
    this.#sockets = parts.sockets;
    this.#unlock = parts.unlock;
  }

  /** Recovers the state and serves it. Throws when an address or the directory is taken, or the state is damaged. */
  static async start(options: ApiServerOptions): Promise<ApiServer> {
    mkdirSync(options.stateDir, { recursive: true, mode: 0o700 });
    const undo: (() => void | Promise<void>)[] = [lockState(options.stateDir)];
    try {
      return await ApiServer.#start(options, undo);
    } catch (error) {
      for (const each of undo.reverse()) await each();
      throw error;
    }
  }

  static async #start(options: ApiServerOptions, undo: (() => void | Promise<void>)[]): Promise<ApiServer> {
    const authority = await Authority.open(join(options.stateDir, "pki"));
    const tokens = new Tokens(options.stateDir);
    const cluster = openCluster(options);
    undo.push(() => cluster.store.close());
    const pair = await authority.server(sansOf(options, cluster));
    const rbac = options.rbac === true ? new Rbac(cluster, options.asked) : undefined;
    const router = new Router(cluster, tokens, rbac);
    const sockets = new Set<Socket>();
    const servers: Server[] = [];
    undo.push(() => {
      for (const server of servers) server.close();
    });
    for (const listen of options.listen ?? [{ host: "127.0.0.1", port: 0 }]) {
      const server = makeServer(authority.ca.certificate, pair, router, sockets, cluster.logger);
      await listening(server, listen);
      servers.push(server);
    }
    const first = addressOf(servers[0]);
    bootstrap(cluster, options.advertise ?? [{ address: first.host, port: first.port }]);
    const url = `https://${first.host.includes(":") ? `[${first.host}]` : first.host}:${first.port}`;
    const unlock = undo[0] ?? (() => undefined);
    const cleaner = new Cleaner(cluster);
    return new ApiServer({ url, authority, tokens, store: cluster.store, cleaner, servers, sockets, unlock });
  }

  /** The port of the n-th listen address. */
  port(index = 0): number {
    return addressOf(this.#servers[index]).port;
  }

  /**
   * A kubeconfig with a client certificate of `user` (`admin`, `system:node:<name>` or a service account) for a server address
   * (`172.30.0.1:6443` or a whole URL); default: this server's own URL.
   */
  async kubeconfig(forAddress?: string, user = "admin"): Promise<string> {
    const server =
      forAddress === undefined ? this.url : forAddress.includes("://") ? forAddress : `https://${forAddress}`;
    const client = await this.#authority.client(user, groupsOf(user));
    return kubeconfigText({ server, ca: this.ca, user, client, name: "axoneme-lab" });
  }

  /** A bearer token that stands for the user; the same one each time. */
  token(user: User): string {
    return this.#tokens.of(user);
  }

  /** Folds the journal into a snapshot now. */
  compact(): Promise<void> {
    return this.#store.compact();
  }

  /** Ends watches, closes connections and files. */
  async stop(): Promise<void> {
    this.#cleaner.stop();
    const closed = this.#servers.map((server) => once(server, "close"));
    for (const server of this.#servers) server.close();
    for (const socket of this.#sockets) socket.destroy();
    await Promise.all(closed);
    await this.#store.close();
    await this.#unlock();
  }
}

/** The state of the directory, in memory. */
function openCluster(options: ApiServerOptions): Cluster {
  const logger = options.logger ?? silentLogger;
  const { persistence, recovered } = Persistence.open(join(options.stateDir, "data"), options);
  const store = new Store({
    persistence,
    recovered,
    historySize: options.historySize ?? 8192,
    compactionFailed: (error) =>
      logger.error({ error }, "the API server cannot write a snapshot of its state"),
  });
  const cluster: Cluster = {
    store,
    registry: new Registry(builtinResources()),
    allocations: new Allocations(options.serviceCidrs ?? ["10.96.0.0/16"]),
    logger,
    now: () => Date.now(),
  };
  restore(cluster);
  return cluster;
}

function sansOf(options: ApiServerOptions, cluster: Cluster): string[] {
  const own = cluster.allocations.apiServerAddress;
  return [
    ...new Set([...usualSans, ...(own === "" ? [] : [own]), ...(options.sans ?? []), ...hostsOf(options)]),
  ];
}

function makeServer(ca: string, pair: KeyPair, router: Router, sockets: Set<Socket>, logger: Logger): Server {
  const server = createServer({
    ca,
    cert: pair.certificate,
    key: pair.key,
    requestCert: true,
    // Who has no certificate may have a token; the router decides.
    rejectUnauthorized: false,
    keepAlive: true,
    noDelay: true,
  });
  server.keepAliveTimeout = 120_000;
  server.on("request", (request, response) => void router.handle(request, response));
  server.on("upgrade", (request, socket, head) => router.upgrade(request, socket as Socket, head));
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  });
  server.on("tlsClientError", (error) => logger.debug({ error }, "a client failed the TLS handshake"));
  return server;
}

function hostsOf(options: ApiServerOptions): string[] {
  const hosts = (options.listen ?? []).flatMap((listen) => ("host" in listen ? [listen.host] : []));
  return [...hosts, ...(options.advertise ?? []).map((each) => each.address)].filter(
    (host) => host !== "0.0.0.0" && host !== "::",
  );
}

async function listening(server: Server, listen: Listen): Promise<void> {
  const ready = once(server, "listening");
  server.listen(listen);
  try {
    await ready;
  } catch (error) {
    const where = "fd" in listen ? `descriptor ${listen.fd}` : `${listen.host}:${listen.port}`;
    throw new AxonError("apiserver.listen", `the API server cannot listen on ${where}`, { cause: error });
  }
}

function addressOf(server: Server | undefined): { host: string; port: number } {
  const address = server?.address();
  if (typeof address !== "object" || address === null) return { host: "127.0.0.1", port: 0 };
  const any = address.address === "::" || address.address === "0.0.0.0";
  return { host: any ? "127.0.0.1" : address.address, port: address.port };
}
