import { delay } from "@axoneme/base";
import type { Call, Caller, Query } from "./call.ts";
import type { ClusterConfig } from "./config.ts";
import { Discovery } from "./discovery.ts";
import { type Attempt, errorFromFailure, errorFromResponse, KubeError } from "./errors.ts";
import { ResourceClient } from "./resourceclient.ts";
import type { KubeObject, Resource } from "./resources.ts";
import { type HttpRequest, type HttpSink, Transport, type TransportOptions } from "./transport.ts";

export interface KubeClientOptions extends TransportOptions {
  /** Longest a call may take, retries included (default 30 s). Streams have none. */
  deadlineMs?: number;
  /** Largest body accepted (default 64 MiB). */
  maxBodyBytes?: number;
  /** How often a call is repeated when the server asks for it by 429, or 5xx with Retry-After (default 5). */
  maxRetries?: number;
  /** Longest Retry-After that is waited for (default 10 s); beyond it the error goes to the caller. */
  maxRetryAfterMs?: number;
}

/** A client for one API server. All resources go through {@link resource}; any path through {@link call}. */
export class KubeClient implements Caller {
  readonly config: ClusterConfig;
  readonly discovery: Discovery;
  readonly #transport: Transport;
  readonly #options: KubeClientOptions;

  constructor(config: ClusterConfig, options: KubeClientOptions = {}) {
    this.config = config;
    this.#options = options;
    this.#transport = new Transport(config, options);
    this.discovery = new Discovery(this);
  }

  /** The server's URL. */
  get server(): string {
    return this.config.server;
  }

  /** Verbs on one kind of object. */
  resource<T extends KubeObject>(resource: Resource<T>): ResourceClient<T> {
    return new ResourceClient(this, resource);
  }

  /** The server's version. */
  async version(): Promise<{ major: string; minor: string; gitVersion: string }> {
    return this.call({ path: "/version", verb: "get", object: "the version" });
  }

  /** Calls and parses a JSON answer. Throws KubeError. */
  async call<R>(call: Call): Promise<R> {
    const text = await this.callText(call);
    try {
      return JSON.parse(text) as R;
    } catch (cause) {
      const attempt = attemptOf(call, this.server);
      throw errorFromFailure(attempt, "kube.protocol", new Error("the answer is no JSON", { cause }));
    }
  }

  /** Calls and returns the answer's text (logs, /metrics, /openapi). Throws KubeError. */
  async callText(call: Call): Promise<string> {
    const attempt = attemptOf(call, this.server);
    const deadlineMs = call.deadlineMs ?? this.#options.deadlineMs ?? 30_000;
    const until = performance.now() + deadlineMs;
    const late = new KubeError(
      "kube.deadline",
      `cannot ${attempt.verb} ${attempt.object} at ${attempt.server}: no answer within ${deadlineMs} ms`,
    );
    const abort = new AbortController();
    const timer = setTimeout(() => abort.abort(late), deadlineMs);
    const onAbort = (): void => abort.abort(call.signal?.reason);
    call.signal?.addEventListener("abort", onAbort, { once: true });
    if (call.signal?.aborted) onAbort();
    try {
      return await this.#repeat(requestOf(call, abort.signal), attempt, until);
    } finally {
      clearTimeout(timer);
      call.signal?.removeEventListener("abort", onAbort);
    }
  }

  /**
   * Calls and feeds the body, as it comes, to `onData`; resolves at the end of the stream. An answer other
   * than 2xx is thrown as KubeError. No deadline: end it by `call.signal`.
   */
  async stream(call: Call, onOpen: () => void, onData: (chunk: Buffer) => void): Promise<void> {
    const attempt = attemptOf(call, this.server);
    const refusal = new BodySink(attempt, 1 << 20);
    const sink: HttpSink = {
      start(status, headers) {
        refusal.start(status, headers);
        if (refusal.ok) onOpen();
      },
      data: (chunk) => (refusal.ok ? onData(chunk) : refusal.data(chunk)),
    };
    await this.#transport.exchange({ ...requestOf(call, call.signal), stream: true }, attempt, sink);
    if (refusal.ok) return;
    if (refusal.status === 401) this.#transport.refused();
    throw refusal.error();
  }

  /** Ends all connections, watches included. */
  async close(): Promise<void> {
    await this.#transport.close();
  }

  /** Tries until there is an answer worth giving to the caller. */
  async #repeat(request: HttpRequest, attempt: Attempt, until: number): Promise<string> {
    const { maxRetries = 5, maxRetryAfterMs = 10_000 } = this.#options;
    for (let tries = 0; ; tries++) {
      const sink = new BodySink(attempt, this.#options.maxBodyBytes ?? 64 << 20);
      const lost = await this.#attempt(request, attempt, sink, tries);
      if (lost) continue;
      if (sink.ok) return sink.text();
      const error = sink.error();
      if (error.status === 401 && tries === 0 && this.#transport.refused()) continue;
      const waitMs = retryDelayMs(error);
      const left = until - performance.now();
      if (waitMs === undefined || tries >= maxRetries || waitMs > maxRetryAfterMs || waitMs >= left)
        throw error;
      await delay(waitMs);
    }
  }

  /**
   * One exchange. True when the connection was lost before an answer and asking again is harmless: a kept
   * connection may have been closed by the server just as we used it.
   */
  async #attempt(request: HttpRequest, attempt: Attempt, sink: BodySink, tries: number): Promise<boolean> {
    try {
      await this.#transport.exchange(request, attempt, sink);
      return false;
    } catch (error) {
      if (tries === 0 && request.method === "GET" && sink.status === 0 && wasReset(error)) return true;
      throw error;
    }
  }
}

/** Collects a bounded body. */
class BodySink implements HttpSink {
  status = 0;
  readonly #attempt: Attempt;
  readonly #maxBytes: number;
  readonly #chunks: Buffer[] = [];
  #bytes = 0;
  #retryAfter: string | undefined;

  constructor(attempt: Attempt, maxBytes: number) {
    this.#attempt = attempt;
    this.#maxBytes = maxBytes;
  }

  get ok(): boolean {
    return this.status >= 200 && this.status < 300;
  }

  start(status: number, headers: Record<string, string | string[] | undefined>): void {
    this.status = status;
    const retryAfter = headers["retry-after"];
    this.#retryAfter = typeof retryAfter === "string" ? retryAfter : undefined;
  }

  data(chunk: Buffer): void {
    this.#bytes += chunk.length;
    if (this.#bytes > this.#maxBytes) {
      const cause = new Error(`the answer exceeds ${this.#maxBytes} bytes`);
      throw errorFromFailure(this.#attempt, "kube.tooLarge", cause);
    }
    this.#chunks.push(chunk);
  }

  text(): string {
    return Buffer.concat(this.#chunks).toString("utf8");
  }

  error(): KubeError {
    return errorFromResponse(this.#attempt, this.status, this.text(), this.#retryAfter);
  }
}

/** How long the server asks us to wait before repeating; undefined when repeating is not called for. */
function retryDelayMs(error: KubeError): number | undefined {
  // A 429 was refused before it was done; so was a 5xx that names a time. Other failures are the caller's.
  if (error.status === 429) return Math.max(50, (error.retryAfterS ?? 1) * 1000);
  if (error.status >= 500 && error.retryAfterS !== undefined) return Math.max(50, error.retryAfterS * 1000);
  return undefined;
}

function wasReset(error: unknown): boolean {
  const cause = error instanceof KubeError ? (error.cause as { code?: string } | undefined) : undefined;
  return cause?.code === "UND_ERR_SOCKET" || cause?.code === "ECONNRESET" || cause?.code === "EPIPE";
}

function attemptOf(call: Call, server: string): Attempt {
  const method = call.method ?? "GET";
  return { verb: call.verb ?? method, object: call.object ?? call.path, server };
}

function requestOf(call: Call, signal: AbortSignal | undefined): HttpRequest {
  const hasBody = call.body !== undefined;
  return {
    method: call.method ?? "GET",
    path: call.path + queryString(call.query),
    body: hasBody ? JSON.stringify(call.body) : undefined,
    contentType: hasBody ? (call.contentType ?? "application/json") : undefined,
    accept: call.accept,
    signal,
  };
}

function queryString(query: Query | undefined): string {
  const params = new URLSearchParams();
  for (const [name, value] of Object.entries(query ?? {})) {
    if (value === undefined) continue;
    if (typeof value === "object") for (const item of value) params.append(name, item);
    else params.append(name, String(value));
  }
  const text = params.toString();
  return text === "" ? "" : `?${text}`;
}
