import { AxonError } from "@axoneme/base";

/** Status codes of gRPC (those that are used here). */
export const grpcCode = {
  ok: 0,
  cancelled: 1,
  unknown: 2,
  invalidArgument: 3,
  deadlineExceeded: 4,
  notFound: 5,
  permissionDenied: 7,
  resourceExhausted: 8,
  unimplemented: 12,
  internal: 13,
  unavailable: 14,
} as const;

/** A status other than OK: what a server answers, and what a client gets to know. Its code is `grpc.status`. */
export class GrpcError extends AxonError {
  /** Of `grpcCode`. */
  readonly status: number;

  constructor(status: number, message: string, options?: { cause?: unknown }) {
    super("grpc.status", message, options);
    this.status = status;
  }
}

/** Text as the `grpc-message` trailer carries it: percent-encoded UTF-8. */
export function encodeStatusMessage(text: string): string {
  let out = "";
  for (const byte of new TextEncoder().encode(text.slice(0, longest))) {
    const plain = byte >= 0x20 && byte <= 0x7e && byte !== 0x25;
    out += plain ? String.fromCharCode(byte) : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  }
  return out;
}

/** Trailers are bounded by what peers accept as headers. */
const longest = 2048;

/** The reverse; what is not well encoded is shown as it came. */
export function decodeStatusMessage(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

const perUnit: Record<string, number> = { H: 3_600_000, M: 60_000, S: 1000, m: 1, u: 0.001, n: 0.000_001 };

/** Milliseconds of a `grpc-timeout` header; undefined when there is none or it is malformed. */
export function parseTimeout(text: string | undefined): number | undefined {
  const match = /^(\d{1,8})([HMSmun])$/.exec(text ?? "");
  return match === null ? undefined : Number(match[1]) * (perUnit[match[2] ?? ""] ?? 1);
}
