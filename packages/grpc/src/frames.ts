import { GrpcError, grpcCode } from "./status.ts";

/** Bytes before each message: a flag of compression, and the length. */
export const frameHeader = 5;

/** A message as it goes on the wire. */
export function framed(message: Uint8Array): Buffer {
  const bytes = Buffer.allocUnsafe(frameHeader + message.length);
  writeHeader(bytes, 0, message.length);
  bytes.set(message, frameHeader);
  return bytes;
}

function writeHeader(bytes: Buffer, at: number, length: number): void {
  bytes[at] = 0;
  bytes.writeUInt32BE(length, at + 1);
}

/** Gathers messages for one write. */
export class FrameBatch {
  #bytes = Buffer.allocUnsafeSlow(initialBytes);
  #at = 0;
  #messages = 0;

  /** Messages gathered. */
  get messages(): number {
    return this.#messages;
  }

  /** Bytes gathered. */
  get length(): number {
    return this.#at;
  }

  add(message: Uint8Array): void {
    const end = this.#at + frameHeader + message.length;
    if (end > this.#bytes.length) {
      const grown = Buffer.allocUnsafeSlow(Math.max(this.#bytes.length * 2, end));
      this.#bytes.copy(grown, 0, 0, this.#at);
      this.#bytes = grown;
    }
    writeHeader(this.#bytes, this.#at, message.length);
    this.#bytes.set(message, this.#at + frameHeader);
    this.#at = end;
    this.#messages++;
  }

  /** What was gathered; the batch is empty then. The memory is the caller's. */
  take(): Buffer {
    const bytes = this.#bytes.subarray(0, this.#at);
    // Given away: whoever writes it to a stream may need it until the reader has taken it.
    this.#bytes = Buffer.allocUnsafeSlow(Math.max(initialBytes, this.#at));
    this.#at = 0;
    this.#messages = 0;
    return bytes;
  }
}

const initialBytes = 16_384;

/** Splits a stream of bytes into messages. */
export class FrameReader {
  readonly #limit: number;
  /** The beginning of a message whose end has not come. */
  #rest: Uint8Array = empty;

  /** @param limit bytes of a message at most */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Whether a message has begun whose end is missing. */
  get isInside(): boolean {
    return this.#rest.length > 0;
  }

  /**
   * The messages that end in this chunk: views of it, no copies.
   * @throws GrpcError resourceExhausted for one over the limit, unimplemented for a compressed one
   */
  push(chunk: Uint8Array): Uint8Array[] {
    const bytes = this.#rest.length === 0 ? chunk : concat(this.#rest, chunk);
    const messages: Uint8Array[] = [];
    let at = 0;
    while (at + frameHeader <= bytes.length) {
      const length = this.#lengthAt(bytes, at);
      const end = at + frameHeader + length;
      if (end > bytes.length) break;
      messages.push(bytes.subarray(at + frameHeader, end));
      at = end;
    }
    this.#rest = at === bytes.length ? empty : bytes.slice(at);
    return messages;
  }

  #lengthAt(bytes: Uint8Array, at: number): number {
    if (bytes[at] !== 0) throw new GrpcError(grpcCode.unimplemented, "a message is compressed");
    const [a = 0, b = 0, c = 0, d = 0] = bytes.subarray(at + 1, at + frameHeader);
    const length = a * 0x1000000 + ((b << 16) | (c << 8) | d);
    if (length <= this.#limit) return length;
    throw new GrpcError(
      grpcCode.resourceExhausted,
      `a message of ${length} bytes is over the limit of ${this.#limit}`,
    );
  }
}

const empty = new Uint8Array(0);

function concat(first: Uint8Array, second: Uint8Array): Uint8Array {
  const all = new Uint8Array(first.length + second.length);
  all.set(first);
  all.set(second, first.length);
  return all;
}
