import { AxonError } from "@axoneme/base";
import { GetFlowsResponseSchema, JsonEncoder } from "@axoneme/proto";

/** When something was seen: seconds and nanoseconds, since one number of both is not exact. */
export interface Moment {
  seconds: number;
  nanos: number;
}

/** Whether `a` comes before `b`. */
export function isEarlier(a: Moment, b: Moment): boolean {
  return a.seconds < b.seconds || (a.seconds === b.seconds && a.nanos < b.nanos);
}

const timeField = 1001;

/**
 * The `time` of a GetFlowsResponse, read from its bytes: all that a relay needs to know of a message. What is around it
 * is passed over by its lengths. Without one it is the beginning of time.
 * @throws AxonError `relay.message_invalid`
 */
export function timeOf(message: Uint8Array): Moment {
  const cursor = new Cursor(message, 0, message.length);
  while (!cursor.atEnd) {
    const tag = cursor.varint();
    if (tag === timeField * 8 + 2) return moment(cursor.nested());
    cursor.skip(tag & 7);
  }
  return { seconds: 0, nanos: 0 };
}

function moment(cursor: Cursor): Moment {
  const time: Moment = { seconds: 0, nanos: 0 };
  while (!cursor.atEnd) {
    const tag = cursor.varint();
    if (tag === 8) time.seconds = cursor.varint();
    else if (tag === 16) time.nanos = cursor.varint();
    else cursor.skip(tag & 7);
  }
  return time;
}

/** Reads protobuf's wire format. */
class Cursor {
  readonly #bytes: Uint8Array;
  #at: number;
  readonly #end: number;

  constructor(bytes: Uint8Array, at: number, end: number) {
    this.#bytes = bytes;
    this.#at = at;
    this.#end = end;
  }

  get atEnd(): boolean {
    return this.#at >= this.#end;
  }

  /** Exact up to 2^53; times, tags and lengths are far below. */
  varint(): number {
    let value = 0;
    let scale = 1;
    for (let i = 0; i < 10; i++) {
      const byte = this.#at < this.#end ? this.#bytes[this.#at++] : undefined;
      if (byte === undefined) break;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
      scale *= 128;
    }
    throw broken();
  }

  nested(): Cursor {
    const length = this.varint();
    const start = this.#at;
    this.#forward(length);
    return new Cursor(this.#bytes, start, this.#at);
  }

  skip(type: number): void {
    if (type === 0) this.varint();
    else if (type === 1) this.#forward(8);
    else if (type === 2) this.#forward(this.varint());
    else if (type === 5) this.#forward(4);
    else throw broken();
  }

  #forward(bytes: number): void {
    this.#at += bytes;
    if (this.#at > this.#end) throw broken();
  }
}

function broken(): AxonError {
  return new AxonError("relay.message_invalid", "a peer sent what is no GetFlowsResponse");
}

export type NodeState = "NODE_CONNECTED" | "NODE_UNAVAILABLE" | "NODE_GONE" | "NODE_ERROR";

const encoder = new JsonEncoder(GetFlowsResponseSchema);

/** A message that tells what became of nodes. */
export function nodeStatus(
  state: NodeState,
  names: readonly string[],
  message: string,
  about: { readonly nodeName: string; readonly nowMs: number },
): Uint8Array {
  return encoder.encode({
    node_status: { state_change: state, node_names: names, ...(message === "" ? {} : { message }) },
    node_name: about.nodeName,
    time: new Date(about.nowMs).toISOString(),
  });
}
