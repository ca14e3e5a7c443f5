import type { Http2Session } from "node:http2";
import { GrpcError, grpcCode } from "./status.ts";

export interface KeepAlive {
  /** Milliseconds between pings. */
  readonly everyMs: number;
  /** How long the answer may take. */
  readonly withinMs: number;
}

/** Ends a connection whose other end no longer answers: a peer that hangs looks like one that has nothing to say. */
export function keepAlive(session: Http2Session, { everyMs, withinMs }: KeepAlive): void {
  let late: NodeJS.Timeout | undefined;
  const beat = setInterval(() => {
    if (session.destroyed || late !== undefined) return;
    late = setTimeout(() => {
      session.destroy(new GrpcError(grpcCode.unavailable, `no sign of life for ${everyMs + withinMs} ms`));
    }, withinMs).unref();
    session.ping(() => {
      clearTimeout(late);
      late = undefined;
    });
  }, everyMs).unref();
  session.once("close", () => {
    clearInterval(beat);
    clearTimeout(late);
  });
}
