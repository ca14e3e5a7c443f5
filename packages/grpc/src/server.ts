import { rmSync } from "node:fs";
import {
  createSecureServer,
  createServer,
  type Http2SecureServer,
  type Http2Server,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from "node:http2";
import type { AddressInfo, Server, Socket } from "node:net";
import { AxonError, errorText, type Logger } from "@axoneme/base";
import type { CallWatcher } from "./call-watch.ts";
import type { TlsMaterial, TlsSource } from "./certificates.ts";
import { type KeepAlive, keepAlive } from "./keepalive.ts";
import { ServerCall } from "./server-call.ts";
import { GrpcError, grpcCode } from "./status.ts";

/**
 * Serves one call: reads the request(s), writes answers, returns; the status is OK then, or that of the GrpcError it
 * throws. Anything else that is thrown is our fault (INTERNAL), and logged.
 */
export type Handler = (call: ServerCall) => Promise<void> | void;

/** Handlers by path: `/package.Service/Method`. */
export type Methods = ReadonlyMap<string, Handler>;

export interface ServerOptions {
  readonly methods: Methods;
  readonly log: Logger;
  readonly keepAlive?: KeepAlive;
  readonly watcher?: CallWatcher | undefined;
}

/** Readers that stopped answering are let go after the sum of these. */
const patient: KeepAlive = { everyMs: 20_000, withinMs: 10_000 };
/** Connections to one listener, and calls on one connection, at most. */
const limits = { connections: 1024, calls: 128 } as const;
/** MiB that a connection may hold of headers and of what is not sent yet: all its calls together. */
const maxSessionMemory = 32;
const settings = { maxConcurrentStreams: limits.calls, maxHeaderListSize: 16_384 };

/** A gRPC server on any number of addresses. */
export class RpcServer {
  readonly #methods: Methods;
  readonly #log: Logger;
  readonly #keepAlive: KeepAlive;
  readonly #watcher: CallWatcher | undefined;
  readonly #listeners = new Set<Http2Server | Http2SecureServer>();
  readonly #sessions = new Set<ServerHttp2Session>();
  readonly #connections = new Set<Socket>();
  readonly #sockets: string[] = [];
  readonly #offs: (() => void)[] = [];
  #refused = 0;

  constructor({ methods, log, keepAlive: beat = patient, watcher }: ServerOptions) {
    this.#watcher = watcher;
    this.#methods = methods;
    this.#log = log;
    this.#keepAlive = beat;
  }

  /** Connections being served. */
  get connections(): number {
    return this.#sessions.size;
  }

  /** Handshakes that failed: no certificate, or not one of ours. */
  get refused(): number {
    return this.#refused;
  }

  /**
   * Listens on a UNIX socket, made with mode 0600; what was there is replaced.
   * @throws AxonError `grpc.listen`
   */
  async listenUnix(path: string): Promise<void> {
    rmSync(path, { force: true });
    const listener = createServer({ settings, maxSessionMemory });
    const umask = process.umask(0o177);
    try {
      await this.#listen(listener, listener, { path }, path);
    } finally {
      process.umask(umask);
    }
    this.#sockets.push(path);
  }

  /**
   * Listens on `host:port` and returns the port. With certificates both sides must show theirs, and a new set is used
   * from the next connection on; with `undefined` anybody who can reach the address is served in plain text.
   * @throws AxonError `grpc.listen`; `grpc.tls` as long as the source has nothing
   */
  async listenTcp(address: string, tls: TlsSource | undefined): Promise<number> {
    const { host, port } = parseAddress(address);
    if (tls === undefined) {
      const listener = createServer({ settings, maxSessionMemory });
      await this.#listen(listener, listener, { host, port }, address);
      return portOf(listener);
    }
    if (tls.current === undefined) {
      throw new AxonError("grpc.tls", `no certificates for ${address}: ${tls.problem ?? "none came yet"}`);
    }
    const both = { requestCert: true, rejectUnauthorized: true, minVersion: "TLSv1.3" } as const;
    const listener = createSecureServer({ ...both, ...contextOf(tls.current), settings, maxSessionMemory });
    this.#offs.push(tls.changes.on((next) => listener.setSecureContext({ ...both, ...contextOf(next) })));
    listener.on("tlsClientError", (error: Error) => {
      this.#refused++;
      this.#log.debug({ err: errorText(error) }, "a TLS handshake failed");
    });
    await this.#listen(listener, listener, { host, port }, address);
    return portOf(listener);
  }

  /** Ends all calls and connections, and removes the sockets. */
  async stop(): Promise<void> {
    for (const off of this.#offs.splice(0)) off();
    const closed = [...this.#listeners].map(
      (listener) => new Promise<void>((resolve) => void listener.close(() => resolve())),
    );
    for (const session of this.#sessions) session.destroy();
    // A session that is destroyed lets the other side close the connection, which it may never do.
    for (const connection of this.#connections) connection.destroy();
    await Promise.all(closed);
    this.#listeners.clear();
    for (const path of this.#sockets.splice(0)) rmSync(path, { force: true });
  }

  async #listen(
    server: Http2Server | Http2SecureServer,
    socket: Server,
    where: { path: string } | { host: string; port: number },
    address: string,
  ): Promise<void> {
    server.on("session", (session: ServerHttp2Session) => this.#accept(session));
    server.on("stream", (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => {
      void this.#serve(stream, headers);
    });
    // Errors of one connection end that connection only.
    server.on("sessionError", (error: Error) =>
      this.#log.debug({ err: errorText(error) }, "a connection of a reader failed"),
    );
    socket.maxConnections = limits.connections;
    socket.on("connection", (connection: Socket) => {
      this.#connections.add(connection);
      connection.once("close", () => this.#connections.delete(connection));
    });
    await new Promise<void>((resolve, reject) => {
      const refuse = (cause: Error): void =>
        reject(new AxonError("grpc.listen", `cannot listen on ${address}`, { cause }));
      socket.once("error", refuse);
      socket.listen(where, () => {
        socket.off("error", refuse);
        socket.on("error", (error) => this.#log.error({ err: error, address }, "a listener failed"));
        resolve();
      });
    });
    this.#listeners.add(server);
  }

  #accept(session: ServerHttp2Session): void {
    this.#sessions.add(session);
    session.once("close", () => this.#sessions.delete(session));
    keepAlive(session, this.#keepAlive);
  }

  async #serve(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): Promise<void> {
    if (!/^application\/grpc(\+proto)?($|;)/.test(headers["content-type"] ?? "")) {
      stream.on("error", () => undefined);
      stream.respond({ ":status": 415 }, { endStream: true });
      return;
    }
    const path = headers[":path"] ?? "";
    const call = new ServerCall(stream, headers, this.#watcher?.(path));
    try {
      const handler = this.#methods.get(path);
      if (handler === undefined) throw new GrpcError(grpcCode.unimplemented, `nothing is served at ${path}`);
      await handler(call);
      call.end();
    } catch (error) {
      if (call.signal.aborted) call.end(grpcCode.cancelled);
      else if (error instanceof GrpcError) call.end(error.status, error.message);
      else {
        this.#log.error({ err: error, path }, "a call failed");
        call.end(grpcCode.internal, errorText(error));
      }
    }
  }
}

function contextOf({ cert, key, ca }: TlsMaterial): TlsMaterial {
  return { cert, key, ca };
}

function parseAddress(address: string): { host: string; port: number } {
  const at = address.lastIndexOf(":");
  const host = address.slice(0, at).replace(/^\[|\]$/g, "");
  const port = Number(address.slice(at + 1));
  if (at < 0 || !Number.isInteger(port) || port < 0 || port > 65535) {
    throw new AxonError("grpc.listen", `"${address}" is not host:port, as 127.0.0.1:4244 or [::]:4244`);
  }
  return { host, port };
}

function portOf(server: Server): number {
  return (server.address() as AddressInfo).port;
}
