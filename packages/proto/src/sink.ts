/** Bytes being written, in protobuf's wire format. Grows as needed and is used again for the next message. */
export class Sink {
  #bytes = new Uint8Array(4096);
  #view = new DataView(this.#bytes.buffer);
  #at = 0;
  readonly #text = new TextEncoder();

  /** Starts over. */
  reset(): void {
    this.#at = 0;
  }

  get length(): number {
    return this.#at;
  }

  /** A copy of what was written from `start` on. */
  copy(start = 0): Uint8Array {
    return this.#bytes.slice(start, this.#at);
  }

  bytes(source: Uint8Array): void {
    this.#reserve(source.length);
    this.#bytes.set(source, this.#at);
    this.#at += source.length;
  }

  /** A whole number of 0 to 2^53. */
  varint(value: number): void {
    this.#reserve(10);
    let rest = value;
    while (rest > 0x7fffffff) {
      this.#bytes[this.#at++] = (rest % 128) | 0x80;
      rest = Math.floor(rest / 128);
    }
    while (rest > 0x7f) {
      this.#bytes[this.#at++] = (rest & 0x7f) | 0x80;
      rest >>>= 7;
    }
    this.#bytes[this.#at++] = rest;
  }

  /** Any 64-bit number; negative ones in two's complement. */
  varint64(value: bigint): void {
    this.#reserve(10);
    let rest = BigInt.asUintN(64, value);
    while (rest > 0x7fn) {
      this.#bytes[this.#at++] = Number(rest & 0x7fn) | 0x80;
      rest >>= 7n;
    }
    this.#bytes[this.#at++] = Number(rest);
  }

  float64(value: number): void {
    this.#reserve(8);
    this.#view.setFloat64(this.#at, value, true);
    this.#at += 8;
  }

  /** A length and the text in UTF-8. */
  string(text: string): void {
    const start = this.open();
    this.#reserve(text.length * 3);
    // Names and addresses are short and ASCII; a call into the runtime costs more than the loop.
    const bytes = this.#bytes;
    let at = this.#at;
    const end = text.length <= 64 ? text.length : 0;
    let i = 0;
    for (; i < end; i++) {
      const code = text.charCodeAt(i);
      if (code > 0x7f) break;
      bytes[at++] = code;
    }
    if (i < text.length) at = this.#at + this.#text.encodeInto(text, bytes.subarray(this.#at)).written;
    this.#at = at;
    this.close(start);
  }

  /** Leaves room for a length; give what it returns to close(). */
  open(): number {
    this.#reserve(1);
    return this.#at++;
  }

  /** Fills in the length of what came since open(). Most are short: only longer ones are moved to make room. */
  close(start: number): void {
    const length = this.#at - start - 1;
    if (length < 0x80) {
      this.#bytes[start] = length;
      return;
    }
    const more = length < 0x4000 ? 1 : length < 0x200000 ? 2 : length < 0x10000000 ? 3 : 4;
    this.#reserve(more);
    this.#bytes.copyWithin(start + 1 + more, start + 1, this.#at);
    const end = this.#at + more;
    this.#at = start;
    this.varint(length);
    this.#at = end;
  }

  #reserve(more: number): void {
    if (this.#at + more <= this.#bytes.length) return;
    const bytes = new Uint8Array(Math.max(this.#bytes.length * 2, this.#at + more));
    bytes.set(this.#bytes);
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer);
  }
}
