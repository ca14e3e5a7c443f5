import type { ServerWritableStream } from "@grpc/grpc-js";

export type ByteStream<Request> = ServerWritableStream<Request, Buffer>;

/** Aborts when the reader has gone: cancelled, disconnected, or dead by keep-alive. */
export function goneSignal(call: { on(event: "cancelled", listener: () => void): unknown }): AbortController {
  const gone = new AbortController();
  call.on("cancelled", () => gone.abort());
  return gone;
}

/** Resolves when the stream takes more, or nobody reads it any more. */
export function drained(call: ByteStream<unknown>, gone: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      call.off("drain", done);
      gone.removeEventListener("abort", done);
      resolve();
    };
    call.on("drain", done);
    gone.addEventListener("abort", done);
    if (gone.aborted || !call.writableNeedDrain) done();
  });
}
