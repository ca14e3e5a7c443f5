import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  type IncomingHttpHeaders,
} from "node:http2";
import { createConnection, type Socket } from "node:net";
import { type ConnectionOptions, checkServerIdentity, connect as connectTls } from "node:tls";
import { AxonError, errorText } from "@axoneme/base";
import { FrameReader, framed } from "./frames.ts";
import { type KeepAlive, keepAlive } from "./keepalive.ts";
import { decodeStatusMessage, GrpcError, grpcCode } from "./status.ts";

/** Where a server is. */
export type Target = { readonly path: string } | { readonly host: string; readonly port: number };

/** How a client knows its server, and shows who it is. PEM; names are checked unless told otherwise. */
export interface ClientTls {
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
  /** Name that must be in the server's certificate; default the host. */
  readonly serverName?: string;
  /** Takes any certificate: for people who look at a server by hand. */
  readonly allowInsecure?: boolean;
}

export interface ClientOptions {
  readonly target: Target;
  readonly tls?: ClientTls;
  /** Milliseconds in which the connection must stand (default 5000). */
  readonly connectMs?: number;
  readonly keepAlive?: KeepAlive;
  /** Bytes of an answer at most (default 16 MiB). */
  readonly messageLimit?: number;
  /** Bytes that a stream may hold of what is not read yet (default 256 KiB): its memory here. */
  readonly windowBytes?: number;
}

/** An answer and what came with it. */
export interface Answer {
  readonly message: Uint8Array;
  readonly metadata: IncomingHttpHeaders;
}

const brisk: KeepAlive = { everyMs: 5000, withinMs: 5000 };

/**
 * `unix:///run/x.sock`, `unix:/run/x.sock`, `/run/x.sock`; `host:port`, `tls://host:port`, `dns:///host:port`,
 * `[::1]:4245`.
 * @throws AxonError `grpc.target`
 */
export function parseTarget(text: string, defaultPort = 4245): Target & { readonly isTls: boolean } {
  const unix = /^unix:(?:\/\/)?(\/.+)$/.exec(text)?.[1] ?? (text.startsWith("/") ? text : undefined);
  if (unix !== undefined) return { path: unix, isTls: false };
  const isTls = text.startsWith("tls://");
  const plain = text.replace(/^(tls:\/\/|dns:(\/\/[^/]*\/)?|tcp:\/\/)/, "");
  const match = /^(?:\[([^\]]+)\]|([^:[\]/\s]+))(?::(\d{1,5}))?$/.exec(plain);
  const port = Number(match?.[3] ?? defaultPort);
  const host = match?.[1] ?? match?.[2];
  if (host === undefined || port < 1 || port > 65535) {
    throw new AxonError(
      "grpc.target",
      `"${text}" is no server: take host:port, tls://host:port or unix:///path/of/socket`,
    );
  }
  return { host, port, isTls };
}

/** One connection to a gRPC server. It is not opened again when it breaks: who holds it makes another. */
export class Connection {
  readonly #session: ClientHttp2Session;
  readonly #limit: number;
  /** Resolves when the connection is no more, with the reason if there was one. Never rejects. */
  readonly closed: Promise<Error | undefined>;
  #isClosed = false;

  private constructor(session: ClientHttp2Session, limit: number) {
    this.#session = session;
    this.#limit = limit;
    let reason: Error | undefined;
    session.on("error", (error) => {
      reason = error;
    });
    this.closed = new Promise((resolve) => {
      session.once("close", () => {
        this.#isClosed = true;
        resolve(reason);
      });
    });
    session.once("goaway", () => session.close());
  }

  /**
   * Opens a connection and waits until the server speaks HTTP/2 on it.
   * @throws GrpcError unavailable
   */
  static async open(options: ClientOptions, signal?: AbortSignal): Promise<Connection> {
    const { connectMs = 5000, messageLimit = 16 << 20, windowBytes = 256 << 10 } = options;
    const socket = openSocket(options);
    const session = connect(options.tls === undefined ? "http://localhost" : "https://localhost", {
      createConnection: () => socket,
      settings: { initialWindowSize: windowBytes, enablePush: false },
      maxSessionMemory: 256,
    });
    // Node takes bytes off the connection at once, and holds back by stream: the connection must not be the narrower.
    session.once("connect", () => session.setLocalWindowSize(windowBytes * 16));
    const connection = new Connection(session, messageLimit);
    try {
      await ready(session, socket, connectMs, signal);
    } catch (error) {
      session.destroy();
      socket.destroy();
      throw new GrpcError(grpcCode.unavailable, `cannot connect to ${targetText(options.target)}`, {
        cause: error,
      });
    }
    keepAlive(session, options.keepAlive ?? brisk);
    return connection;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  close(): void {
    this.#session.destroy();
  }

  /**
   * Calls a method that answers once.
   * @throws GrpcError the server's status; unavailable when the connection breaks; deadlineExceeded
   */
  async unary(
    path: string,
    request: Uint8Array,
    options: { timeoutMs: number; signal?: AbortSignal },
  ): Promise<Answer> {
    const timeout = AbortSignal.timeout(options.timeoutMs);
    const signal = options.signal === undefined ? timeout : AbortSignal.any([options.signal, timeout]);
    let message: Uint8Array | undefined;
    let metadata: IncomingHttpHeaders = {};
    try {
      const seen = (headers: IncomingHttpHeaders): void => {
        metadata = headers;
      };
      for await (const messages of this.stream(path, request, signal, seen)) message ??= messages[0]?.slice();
    } catch (error) {
      if (!timeout.aborted) throw error;
      throw new GrpcError(grpcCode.deadlineExceeded, `${path}: no answer within ${options.timeoutMs} ms`);
    }
    if (message === undefined) throw new GrpcError(grpcCode.internal, `${path}: the answer is empty`);
    return { message, metadata };
  }

  /**
   * Calls a method that answers many times: yields messages as they come, those of one read together, valid until the
   * next is asked for or kept as they are (they share memory with each other). Ends when the server ends with OK.
   * What is not taken stays on the other side, but for a window of bytes.
   * @throws GrpcError as unary; cancelled when the signal aborts
   */
  async *stream(
    path: string,
    request: Uint8Array,
    signal: AbortSignal,
    onMetadata?: (headers: IncomingHttpHeaders) => void,
  ): AsyncGenerator<Uint8Array[], void> {
    if (signal.aborted) throw new GrpcError(grpcCode.cancelled, `${path}: cancelled`);
    if (this.#isClosed || this.#session.closed)
      throw new GrpcError(grpcCode.unavailable, "the connection is closed");
    const stream = this.#session.request({
      ":method": "POST",
      ":path": path,
      "content-type": "application/grpc",
      te: "trailers",
    });
    const outcome = new Outcome(stream, path);
    const abort = (): void => stream.close(8);
    signal.addEventListener("abort", abort, { once: true });
    if (onMetadata !== undefined) stream.once("response", onMetadata);
    stream.end(framed(request));
    const reader = new FrameReader(this.#limit);
    try {
      for await (const chunk of stream as AsyncIterable<Buffer>) {
        const messages = reader.push(chunk);
        if (messages.length > 0) yield messages;
      }
      outcome.check(signal);
      if (reader.isInside) throw new GrpcError(grpcCode.unavailable, `${path}: the answer broke off`);
    } catch (error) {
      throw outcome.error(error, signal);
    } finally {
      signal.removeEventListener("abort", abort);
      if (!stream.closed) stream.close(8);
    }
  }
}

/** What becomes of a call: the status of its trailers, or of the connection. */
class Outcome {
  readonly #path: string;
  #headers: IncomingHttpHeaders = {};

  constructor(stream: ClientHttp2Stream, path: string) {
    this.#path = path;
    const note = (headers: IncomingHttpHeaders): void => {
      this.#headers = { ...this.#headers, ...headers };
    };
    stream.on("response", note);
    stream.on("trailers", note);
    // The iteration throws it; one that comes when nobody iterates is of no interest.
    stream.on("error", () => undefined);
  }

  check(signal: AbortSignal): void {
    const http = Number(this.#headers[":status"] ?? 0);
    const status = this.#headers["grpc-status"];
    if (status === "0") return;
    if (signal.aborted) throw new GrpcError(grpcCode.cancelled, `${this.#path}: cancelled`);
    if (status !== undefined) {
      const message = decodeStatusMessage(String(this.#headers["grpc-message"] ?? ""));
      throw new GrpcError(
        Number(status),
        message === "" ? `${this.#path}: status ${String(status)}` : message,
      );
    }
    const why = http === 0 || http === 200 ? "the connection broke" : `it is no gRPC server (HTTP ${http})`;
    throw new GrpcError(grpcCode.unavailable, `${this.#path}: ${why}`);
  }

  error(error: unknown, signal: AbortSignal): GrpcError {
    if (error instanceof GrpcError) return error;
    if (signal.aborted) return new GrpcError(grpcCode.cancelled, `${this.#path}: cancelled`);
    try {
      this.check(signal);
    } catch (status) {
      if (status instanceof GrpcError && this.#headers["grpc-status"] !== undefined) return status;
    }
    return new GrpcError(grpcCode.unavailable, `${this.#path}: the connection broke (${errorText(error)})`, {
      cause: error,
    });
  }
}

function openSocket({ target, tls }: ClientOptions): Socket {
  if (tls === undefined) return createConnection(target);
  const { serverName, allowInsecure = false, ca, cert, key } = tls;
  const host = "host" in target ? target.host : "localhost";
  return connectTls({
    ...target,
    ALPNProtocols: ["h2"],
    minVersion: "TLSv1.2",
    servername: serverName ?? (/^[\d.]+$|:/.test(host) ? "" : host),
    ...(serverName === undefined ? {} : { checkServerIdentity: checkName(serverName) }),
    rejectUnauthorized: !allowInsecure,
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
  });
}

/** The name is what was announced, whatever address it was reached at. */
function checkName(name: string): NonNullable<ConnectionOptions["checkServerIdentity"]> {
  return (_host, cert) => checkServerIdentity(name, cert);
}

function ready(session: ClientHttp2Session, socket: Socket, ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => finish(new AxonError("grpc.connect", `no answer within ${ms} ms`)), ms);
    const abort = (): void => finish(new AxonError("grpc.connect", "given up"));
    const fail = (error: Error): void => finish(error);
    const gone = (): void => finish(new AxonError("grpc.connect", "the other side closed the connection"));
    const done = (): void => finish(undefined);
    function finish(error: Error | undefined): void {
      clearTimeout(late);
      signal?.removeEventListener("abort", abort);
      session.off("remoteSettings", done).off("error", fail).off("close", gone);
      socket.off("error", fail);
      if (error === undefined) resolve();
      else reject(error);
    }
    signal?.addEventListener("abort", abort, { once: true });
    session.once("remoteSettings", done).once("error", fail).once("close", gone);
    socket.once("error", fail);
    if (signal?.aborted === true) abort();
  });
}

function targetText(target: Target): string {
  return "path" in target ? target.path : `${target.host}:${target.port}`;
}
