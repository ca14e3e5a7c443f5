import { AxonError } from "@axoneme/base";

/** Names of flow.proto's Layer4, by the number of their field. */
const protocols = ["", "TCP", "UDP", "ICMPv4", "ICMPv6", "SCTP"] as const;

/** A piece of a message: where it begins and ends; both 0 where there is none. */
export interface Piece {
  start: number;
  end: number;
}

/** Of flow.proto's Endpoint, field `process`: which program, of the same pod. It comes last. */
const processTag = 51001 * 8 + 2;

const clear = (piece: Piece): void => {
  piece.start = 0;
  piece.end = 0;
};

/**
 * Reads of a GetFlowsResponse what the map needs, straight from its bytes (field numbers of observer.proto and flow.proto):
 * one reader for all messages, no object for any of them. What it tells is of the message read last.
 */
export class FlowBytes {
  bytes: Uint8Array = new Uint8Array();
  /** Is the message a flow? */
  isFlow = false;
  /** Events that the message says were lost. */
  lost = 0;
  /** Number of flow.proto's Verdict. */
  verdict = 0;
  isReply = false;
  protocol: (typeof protocols)[number] = "";
  sourcePort = 0;
  destinationPort = 0;
  /** The Endpoint messages up to their process, and the first of the names of each side. */
  readonly source: Piece = { start: 0, end: 0 };
  readonly destination: Piece = { start: 0, end: 0 };
  readonly sourceName: Piece = { start: 0, end: 0 };
  readonly destinationName: Piece = { start: 0, end: 0 };
  readonly uuid: Piece = { start: 0, end: 0 };
  #at = 0;

  /** @throws AxonError `ui.message_invalid` */
  read(message: Uint8Array): void {
    this.#reset(message);
    while (this.#at < message.length) {
      const tag = this.#varint();
      if (tag === 10) {
        this.isFlow = true;
        this.#flow(this.#end());
      } else if (tag === 26) this.#lostEvents(this.#end());
      else this.#skip(tag & 7);
    }
  }

  /** Text of a piece. */
  text({ start, end }: Piece): string {
    return asBuffer(this.bytes).toString("utf8", start, end);
  }

  #reset(message: Uint8Array): void {
    this.bytes = message;
    this.isFlow = false;
    this.lost = 0;
    this.verdict = 0;
    this.isReply = false;
    this.protocol = "";
    this.sourcePort = 0;
    this.destinationPort = 0;
    for (const piece of [this.source, this.destination, this.sourceName, this.destinationName, this.uuid])
      clear(piece);
    this.#at = 0;
  }

  #flow(end: number): void {
    while (this.#at < end) {
      const tag = this.#varint();
      switch (tag) {
        case 2 * 8:
          this.verdict = this.#varint();
          break;
        case 6 * 8 + 2:
          this.#layer4(this.#end());
          break;
        case 8 * 8 + 2:
          this.#endpoint(this.source);
          break;
        case 9 * 8 + 2:
          this.#endpoint(this.destination);
          break;
        case 13 * 8 + 2:
          this.#first(this.sourceName);
          break;
        case 14 * 8 + 2:
          this.#first(this.destinationName);
          break;
        case 26 * 8 + 2:
          this.#boolValue(this.#end());
          break;
        case 34 * 8 + 2:
          this.#piece(this.uuid);
          break;
        default:
          this.#skip(tag & 7);
      }
    }
    this.#stop(end);
  }

  #layer4(end: number): void {
    while (this.#at < end) {
      const tag = this.#varint();
      const protocol = protocols[tag >>> 3];
      if ((tag & 7) !== 2) this.#skip(tag & 7);
      else {
        this.protocol = protocol ?? "";
        this.#ports(this.#end());
      }
    }
    this.#stop(end);
  }

  /** Of what has ports; the numbers in ICMP's messages are others. */
  #ports(end: number): void {
    const { protocol } = this;
    const hasPorts = protocol === "TCP" || protocol === "UDP" || protocol === "SCTP";
    while (this.#at < end) {
      const tag = this.#varint();
      if (hasPorts && tag === 8) this.sourcePort = this.#varint();
      else if (hasPorts && tag === 16) this.destinationPort = this.#varint();
      else this.#skip(tag & 7);
    }
    this.#stop(end);
  }

  #boolValue(end: number): void {
    this.isReply = false;
    while (this.#at < end) {
      const tag = this.#varint();
      if (tag === 8) this.isReply = this.#varint() !== 0;
      else this.#skip(tag & 7);
    }
    this.#stop(end);
  }

  #lostEvents(end: number): void {
    while (this.#at < end) {
      const tag = this.#varint();
      if (tag === 16) this.lost = this.#varint();
      else this.#skip(tag & 7);
    }
    this.#stop(end);
  }

  /** A pod's many programs are one end all the same: what names it, and no more. */
  #endpoint(piece: Piece): void {
    const end = this.#end();
    piece.start = this.#at;
    piece.end = end;
    while (this.#at < end) {
      const at = this.#at;
      const tag = this.#varint();
      if (tag === processTag) piece.end = Math.min(piece.end, at);
      this.#skip(tag & 7);
      // Written by others in another order: all of it.
      if (tag !== processTag && piece.end < end) piece.end = end;
    }
    this.#stop(end);
  }

  #piece(piece: Piece): void {
    piece.end = this.#end();
    piece.start = this.#at;
    this.#at = piece.end;
  }

  /** The first of a repeated field. */
  #first(piece: Piece): void {
    if (piece.end === 0) this.#piece(piece);
    else this.#skip(2);
  }

  /** Exact up to 2^53: what is larger is only passed over. */
  #varint(): number {
    const { bytes } = this;
    let byte = this.#byte(bytes);
    if (byte < 0x80) return byte;
    let value = byte & 0x7f;
    for (let scale = 0x80, i = 1; i < 10; i++, scale *= 0x80) {
      byte = this.#byte(bytes);
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
    throw broken();
  }

  #byte(bytes: Uint8Array): number {
    const byte = bytes[this.#at++];
    if (byte === undefined) throw broken();
    return byte;
  }

  /** Where what is announced by a length ends. */
  #end(): number {
    const end = this.#varint() + this.#at;
    if (end > this.bytes.length) throw broken();
    return end;
  }

  #skip(type: number): void {
    if (type === 0) this.#varint();
    else if (type === 2) this.#at = this.#end();
    else if (type === 5) this.#at += 4;
    else if (type === 1) this.#at += 8;
    else throw broken();
    this.#stop(Math.max(this.#at, this.bytes.length));
  }

  /** A part ends where it was said to, and within the message. */
  #stop(end: number): void {
    if (this.#at > end || end > this.bytes.length) throw broken();
  }
}

/** The same memory. */
export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
}

function broken(): AxonError {
  return new AxonError("ui.message_invalid", "a source of flows sent what is no GetFlowsResponse");
}
