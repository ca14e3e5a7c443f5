import type { IncomingHttpHeaders, OutgoingHttpHeaders, ServerHttp2Stream } from "node:http2";
import type { CallWatch } from "./call-watch.ts";
import { type FrameBatch, FrameReader, framed } from "./frames.ts";
import { encodeStatusMessage, GrpcError, grpcCode, parseTimeout } from "./status.ts";

/** Bytes of a request at most: filters are small. */
const requestLimit = 1 << 20;

/** One call of a method, on the server. */
export class ServerCall {
  /** Aborts when the caller has gone, its deadline has passed, or the server ends. */
  readonly signal: AbortSignal;
  readonly #stream: ServerHttp2Stream;
  readonly #gone = new AbortController();
  readonly #deadline: NodeJS.Timeout | undefined;
  #watch: CallWatch | undefined;
  #metadata: OutgoingHttpHeaders = {};
  #late = false;

  constructor(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, watch?: CallWatch) {
    this.#stream = stream;
    this.#watch = watch;
    this.signal = this.#gone.signal;
    const ms = parseTimeout(headers["grpc-timeout"] as string | undefined);
    this.#deadline =
      ms === undefined ? undefined : setTimeout(() => this.#expire(), Math.min(ms, 2 ** 31 - 1));
    this.#deadline?.unref();
    stream.on("close", () => {
      clearTimeout(this.#deadline);
      this.#gone.abort();
    });
    // A reader that goes in the middle is no error of ours.
    stream.on("error", () => undefined);
  }

  /** Sent with the first answer, or with the status. */
  setMetadata(metadata: Readonly<Record<string, string>>): void {
    this.#metadata = metadata;
  }

  /** The caller learns that it is served, before there is anything to say. */
  begin(): void {
    if (this.#stream.headersSent || this.#stream.destroyed) return;
    const headers = { ":status": 200, "content-type": "application/grpc", ...this.#metadata };
    this.#stream.respond(headers, { waitForTrailers: true });
  }

  /** The only message of a request. Rejects when there is none, or more. */
  async request(): Promise<Uint8Array> {
    let only: Uint8Array | undefined;
    for await (const message of this.requests()) {
      if (only !== undefined) throw new GrpcError(grpcCode.invalidArgument, "more than one request");
      only = message;
    }
    if (only === undefined) throw new GrpcError(grpcCode.invalidArgument, "no request came");
    return only;
  }

  /** All messages of a request, as they come. */
  async *requests(): AsyncGenerator<Uint8Array, void> {
    const reader = new FrameReader(requestLimit);
    for await (const chunk of this.#stream as AsyncIterable<Buffer>) {
      const messages = reader.push(chunk);
      this.#watch?.received(messages.length);
      yield* messages;
    }
    if (reader.isInside) throw new GrpcError(grpcCode.invalidArgument, "the request broke off");
  }

  /** Sends one message; resolves when more may follow. */
  write(message: Uint8Array): Promise<void> {
    return this.#write(framed(message), 1);
  }

  /** Sends what a batch has gathered, and empties it; resolves when more may follow, or nobody reads. */
  writeBatch(batch: FrameBatch): Promise<void> {
    const { messages } = batch;
    return this.#write(batch.take(), messages);
  }

  #write(frames: Uint8Array, messages: number): Promise<void> {
    this.begin();
    this.#watch?.sent(messages);
    if (this.#stream.destroyed || this.#stream.write(frames)) return Promise.resolve();
    return this.#drained();
  }

  /** Ends the call with a status. */
  end(status: number = grpcCode.ok, message = ""): void {
    clearTimeout(this.#deadline);
    const told = this.#late ? grpcCode.deadlineExceeded : status;
    // A handler that saw the caller go returns as if all were said.
    const isCancelled = told === grpcCode.ok && this.signal.aborted;
    this.#watch?.ended(isCancelled ? grpcCode.cancelled : told);
    this.#watch = undefined;
    if (this.#stream.destroyed || this.#stream.closed) return;
    const trailers: OutgoingHttpHeaders = { "grpc-status": String(told) };
    if (message !== "") trailers["grpc-message"] = encodeStatusMessage(message);
    if (!this.#stream.headersSent) {
      const headers = { ":status": 200, "content-type": "application/grpc", ...this.#metadata };
      this.#stream.respond({ ...headers, ...trailers }, { endStream: true });
      return;
    }
    this.#stream.once("wantTrailers", () => this.#stream.sendTrailers(trailers));
    this.#stream.end();
  }

  #expire(): void {
    this.#late = true;
    this.#gone.abort();
    this.end(grpcCode.deadlineExceeded, "the caller's deadline has passed");
  }

  #drained(): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        this.#stream.off("drain", done);
        this.signal.removeEventListener("abort", done);
        resolve();
      };
      this.#stream.on("drain", done);
      this.signal.addEventListener("abort", done);
      if (this.signal.aborted || !this.#stream.writableNeedDrain) done();
    });
  }
}
