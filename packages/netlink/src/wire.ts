import { malformed } from "./errors.ts";

/**
 * Bytes of netlink: messages (struct nlmsghdr) made of a fixed part and attributes (struct nlattr), all in host
 * byte order, aligned to four (linux/netlink.h). Every machine the datapath runs on is little-endian.
 */
export const HEADER = 16;
const ATTRIBUTE_HEADER = 4;
/** NLA_TYPE_MASK: the two upper bits are flags. */
const TYPE_MASK = 0x3fff;

const align = (length: number): number => (length + 3) & ~3;

/** Writes one message. Grows as needed; `finish` sets the length and gives the bytes. */
export class MessageWriter {
  private bytes = new Uint8Array(256);
  private view = new DataView(this.bytes.buffer);
  private length = HEADER;

  constructor(type: number, flags: number) {
    this.view.setUint16(4, type, true);
    this.view.setUint16(6, flags, true);
  }

  private reserve(count: number): number {
    const at = this.length;
    this.length += align(count);
    if (this.length > this.bytes.length) {
      const grown = new Uint8Array(Math.max(this.length, this.bytes.length * 2));
      grown.set(this.bytes);
      this.bytes = grown;
      this.view = new DataView(grown.buffer);
    }
    return at;
  }

  /** A zeroed fixed part of `length` bytes, filled through the view given to `fill`. */
  fixed(length: number, fill: (view: DataView) => void): this {
    const at = this.reserve(length);
    fill(new DataView(this.bytes.buffer, at, length));
    return this;
  }

  private attribute(type: number, length: number): number {
    const at = this.reserve(ATTRIBUTE_HEADER + length);
    this.view.setUint16(at, ATTRIBUTE_HEADER + length, true);
    this.view.setUint16(at + 2, type, true);
    return at + ATTRIBUTE_HEADER;
  }

  raw(type: number, value: Uint8Array): this {
    const at = this.attribute(type, value.length);
    this.bytes.set(value, at);
    return this;
  }

  flag(type: number): this {
    this.attribute(type, 0);
    return this;
  }

  u8(type: number, value: number): this {
    const at = this.attribute(type, 1);
    this.view.setUint8(at, value);
    return this;
  }

  /** Big-endian, as ports are. */
  be16(type: number, value: number): this {
    const at = this.attribute(type, 2);
    this.view.setUint16(at, value, false);
    return this;
  }

  u32(type: number, value: number): this {
    const at = this.attribute(type, 4);
    this.view.setUint32(at, value, true);
    return this;
  }

  /** NUL-terminated text. */
  text(type: number, value: string): this {
    return this.raw(type, Buffer.from(`${value}\0`, "utf8"));
  }

  /** An attribute whose content is what `fill` writes. */
  nest(type: number, fill: () => void): this {
    const at = this.reserve(ATTRIBUTE_HEADER);
    fill();
    this.view.setUint16(at, this.length - at, true);
    this.view.setUint16(at + 2, type, true);
    return this;
  }

  finish(): Uint8Array {
    this.view.setUint32(0, this.length, true);
    return this.bytes.subarray(0, this.length);
  }
}

/** One received message; `body` is what follows the header. */
export interface Message {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  readonly body: Uint8Array;
}

/** Splits received bytes into messages. Throws NetlinkError (EBADMSG) where a length lies. */
export function parseMessages(bytes: Uint8Array): Message[] {
  const view = viewOf(bytes);
  const messages: Message[] = [];
  for (let at = 0; at + HEADER <= bytes.length; ) {
    const length = view.getUint32(at, true);
    if (length < HEADER || length > bytes.length - at) throw malformed("length of a message");
    messages.push({
      type: view.getUint16(at + 4, true),
      flags: view.getUint16(at + 6, true),
      sequence: view.getUint32(at + 8, true),
      body: bytes.subarray(at + HEADER, at + length),
    });
    at += align(length);
  }
  return messages;
}

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}

/** The first `length` bytes of a body as a view. Throws EBADMSG if it is shorter. */
export function fixedPart(body: Uint8Array, length: number, what: string): DataView {
  if (body.length < length) throw malformed(what);
  return new DataView(body.buffer, body.byteOffset, length);
}

/** Attributes by type; of a repeated type the last counts. Readers answer undefined for what is absent. */
export class Attributes {
  private readonly values = new Map<number, Uint8Array>();

  /** Reads the attributes in `bytes` from `start`. Throws EBADMSG where a length lies. */
  constructor(bytes: Uint8Array, start = 0) {
    const view = viewOf(bytes);
    for (let at = align(start); at + ATTRIBUTE_HEADER <= bytes.length; ) {
      const length = view.getUint16(at, true);
      if (length < ATTRIBUTE_HEADER || length > bytes.length - at) throw malformed("length of an attribute");
      this.values.set(
        view.getUint16(at + 2, true) & TYPE_MASK,
        bytes.subarray(at + ATTRIBUTE_HEADER, at + length),
      );
      at += align(length);
    }
  }

  has(type: number): boolean {
    return this.values.has(type);
  }

  raw(type: number): Uint8Array | undefined {
    return this.values.get(type);
  }

  /** A copy, for values that outlive the receive buffer. */
  bytes(type: number): Uint8Array | undefined {
    const value = this.values.get(type);
    return value === undefined ? undefined : Uint8Array.from(value);
  }

  private number(type: number, length: number, read: (view: DataView) => number): number | undefined {
    const value = this.values.get(type);
    if (value === undefined) return undefined;
    if (value.length < length) throw malformed(`attribute ${type}`);
    return read(viewOf(value));
  }

  u8(type: number): number | undefined {
    return this.number(type, 1, (view) => view.getUint8(0));
  }

  be16(type: number): number | undefined {
    return this.number(type, 2, (view) => view.getUint16(0, false));
  }

  u32(type: number): number | undefined {
    return this.number(type, 4, (view) => view.getUint32(0, true));
  }

  /** Text up to its NUL. */
  text(type: number): string | undefined {
    const value = this.values.get(type);
    if (value === undefined) return undefined;
    const end = value.indexOf(0);
    return Buffer.from(end < 0 ? value : value.subarray(0, end)).toString("utf8");
  }

  nested(type: number): Attributes | undefined {
    const value = this.values.get(type);
    return value === undefined ? undefined : new Attributes(value);
  }
}
