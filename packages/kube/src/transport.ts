import { createSecureContext, type SecureContext } from "node:tls";
import type { Dispatcher } from "undici";
import buildConnector from "undici/lib/core/connect.js";
import Pool from "undici/lib/dispatcher/pool.js";
import type { ClusterConfig } from "./config.ts";
import { type Credentials, materialText } from "./credentials.ts";
import { type Attempt, errorFromFailure, KubeError } from "./errors.ts";

/** One HTTP exchange. */
export interface HttpRequest {
  method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  /** Path below the server URL, with a leading slash and the encoded query. */
  path: string;
  body?: string | undefined;
  contentType?: string | undefined;
  accept?: string | undefined;
  signal?: AbortSignal | undefined;
  /** A stream of any length gets a connection of its own; other exchanges share a few. */
  stream?: boolean;
}

/** Receives an answer. What it throws ends the exchange with that error. */
export interface HttpSink {
  start(status: number, headers: Record<string, string | string[] | undefined>): void;
  data(chunk: Buffer): void;
}

/** One exchange that ended. */
export interface CallReport {
  readonly host: string;
  readonly method: HttpRequest["method"];
  /** Below the server URL, with the query. */
  readonly path: string;
  /** 0: there was no answer. */
  readonly status: number;
  readonly seconds: number;
  readonly stream: boolean;
}

export interface TransportOptions {
  /** Told of every exchange. Must not throw. */
  onCall?: (report: CallReport) => void;
  /** Connections shared by exchanges other than streams (default 8). */
  connections?: number;
  /** Time to connect, TLS included (default 10 s). */
  connectTimeoutMs?: number;
  userAgent?: string;
}

interface Pools {
  /** Of which certificate these connections are. */
  identity: string;
  calls: Pool;
  streams: Pool;
}

/** Connections to one API server: HTTP/1.1 with the configured trust and the current credentials. */
export class Transport {
  readonly #config: ClusterConfig;
  readonly #options: TransportOptions;
  readonly #origin: string;
  readonly #prefix: string;
  #pools: Pools | undefined;
  readonly #retired = new Set<Pools>();
  #closed = false;

  constructor(config: ClusterConfig, options: TransportOptions = {}) {
    const url = new URL(config.server);
    this.#config = config;
    this.#options = options;
    this.#origin = url.origin;
    this.#prefix = url.pathname.replace(/\/+$/, "");
  }

  /**
   * Runs one exchange. Resolves at the end of a complete answer, whatever its status.
   * @throws KubeError with status 0 when there was none, or what the sink or the credentials threw.
   */
  async exchange(request: HttpRequest, attempt: Attempt, sink: HttpSink): Promise<void> {
    const credentials = await this.#config.credentials.current();
    if (this.#closed) throw errorFromFailure(attempt, "kube.closed", new Error("the client is closed"));
    const pools = this.#poolsFor(credentials);
    const pool = request.stream ? pools.streams : pools.calls;
    const options = this.#dispatchOptions(request, credentials);
    const { onCall } = this.#options;
    if (!onCall) {
      await dispatch(pool, options, request.signal, attempt, sink);
      return;
    }
    const begin = performance.now();
    let status = 0;
    const noting: HttpSink = {
      start(code, headers) {
        status = code;
        sink.start(code, headers);
      },
      data: (chunk) => sink.data(chunk),
    };
    try {
      await dispatch(pool, options, request.signal, attempt, noting);
    } finally {
      const { method, path, stream = false } = request;
      const took = (performance.now() - begin) / 1000;
      onCall({ host: new URL(this.#origin).host, method, path, status, seconds: took, stream });
    }
  }

  /** Tells the credentials that they were refused; true when trying again may help. */
  refused(): boolean {
    return this.#config.credentials.refused();
  }

  /** Ends every connection; exchanges under way fail. */
  async close(): Promise<void> {
    this.#closed = true;
    const all = [...this.#retired, ...(this.#pools ? [this.#pools] : [])];
    await Promise.all(all.flatMap(({ calls, streams }) => [calls.destroy(), streams.destroy()]));
  }

  #dispatchOptions(request: HttpRequest, credentials: Credentials): Dispatcher.DispatchOptions {
    const headers: Record<string, string | string[]> = {
      accept: request.accept ?? "application/json",
      "user-agent": this.#options.userAgent ?? "axoneme",
      ...this.#config.headers,
    };
    if (request.contentType !== undefined) headers["content-type"] = request.contentType;
    if (credentials.authorization !== undefined) headers["authorization"] = credentials.authorization;
    return {
      method: request.method,
      path: this.#prefix + request.path,
      headers,
      body: request.body ?? null,
      // Without this a DELETE with a body ends its connection, and the next call has to greet the server anew.
      reset: false,
      // Deadlines and the watchdog are the caller's: one clock for the whole exchange.
      headersTimeout: 0,
      bodyTimeout: 0,
    };
  }

  #poolsFor(credentials: Credentials): Pools {
    const ca = this.#config.ca === undefined ? undefined : materialText(this.#config.ca);
    const identity = `${ca ?? ""}\n${credentials.certificate ?? ""}\n${credentials.key ?? ""}`;
    if (this.#pools?.identity === identity) return this.#pools;
    if (this.#pools !== undefined) this.#retire(this.#pools);
    // One for both pools: watches then resume the TLS sessions of the lists before them.
    const connect = buildConnector({
      keepAlive: true,
      keepAliveInitialDelay: 15_000,
      timeout: this.#options.connectTimeoutMs ?? 10_000,
      rejectUnauthorized: this.#config.insecure !== true,
      ...trustOf(ca, credentials),
      ...(this.#config.tlsServerName === undefined ? {} : { servername: this.#config.tlsServerName }),
    });
    const shared = { connect, pipelining: 1, keepAliveTimeout: 30_000 };
    this.#pools = {
      identity,
      calls: new Pool(this.#origin, { ...shared, connections: this.#options.connections ?? 8 }),
      streams: new Pool(this.#origin, shared),
    };
    return this.#pools;
  }

  /** Rotated certificates: exchanges under way finish on the old connections. */
  #retire(pools: Pools): void {
    this.#retired.add(pools);
    const forget = (): void => void this.#retired.delete(pools);
    Promise.all([pools.calls.close(), pools.streams.close()]).then(forget, forget);
  }
}

interface Trust {
  ca?: string;
  cert?: string;
  key?: string;
}

/**
 * What a connection trusts and shows, read once for all of them: reading a key takes milliseconds, and a copy for
 * each of a dozen watches takes memory. What cannot be read is left to fail with the connection it is for.
 */
function trustOf(
  ca: string | undefined,
  { certificate, key }: Credentials,
): Trust & { secureContext?: SecureContext } {
  const trust: Trust = {
    ...(ca === undefined ? {} : { ca }),
    ...(certificate === undefined ? {} : { cert: certificate }),
    ...(key === undefined ? {} : { key }),
  };
  try {
    return { secureContext: createSecureContext(trust) };
  } catch {
    return trust;
  }
}

/** Puts one request on a pool and feeds the answer to the sink; settles exactly once. */
function dispatch(
  pool: Pool,
  options: Dispatcher.DispatchOptions,
  signal: AbortSignal | undefined,
  attempt: Attempt,
  sink: HttpSink,
): Promise<void> {
  return new Promise((resolve, reject) => {
    let controller: Dispatcher.DispatchController | undefined;
    let failure: Error | undefined;
    const fail = (error: Error): void => {
      if (failure !== undefined) return;
      failure = error;
      signal?.removeEventListener("abort", onAbort);
      controller?.abort(error);
      reject(error);
    };
    const onAbort = (): void => fail(abortError(attempt, signal));
    const guard = (step: () => void): void => {
      if (failure !== undefined) return;
      try {
        step();
      } catch (error) {
        fail(error instanceof Error ? error : new Error(String(error)));
      }
    };
    if (signal?.aborted) return onAbort();
    signal?.addEventListener("abort", onAbort, { once: true });
    pool.dispatch(options, {
      onRequestStart(started) {
        controller = started;
        if (failure !== undefined) started.abort(failure);
      },
      onResponseStart(_controller, status, headers) {
        if (status >= 200) guard(() => sink.start(status, headers));
      },
      onResponseData(_controller, chunk) {
        guard(() => sink.data(chunk));
      },
      onResponseEnd() {
        signal?.removeEventListener("abort", onAbort);
        resolve();
      },
      onResponseError(_controller, error) {
        fail(errorFromFailure(attempt, "kube.unreachable", error));
      },
    });
  });
}

/** An abort reason that is a KubeError (a deadline, the watchdog) says more than "aborted". */
function abortError(attempt: Attempt, signal: AbortSignal | undefined): KubeError {
  const reason: unknown = signal?.reason;
  return reason instanceof KubeError
    ? reason
    : errorFromFailure(attempt, "kube.aborted", new Error("aborted"));
}
