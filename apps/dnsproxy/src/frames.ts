/** Cuts a TCP stream into DNS messages: each has its length, two bytes, before it (RFC 1035 4.2.2). */
export class FrameReader {
  private chunks: Uint8Array[] = [];
  private held = 0;

  /** The messages that these bytes complete. Holds less than one message and its length: 64 KiB. */
  push(bytes: Uint8Array): Uint8Array[] {
    this.chunks.push(bytes);
    this.held += bytes.length;
    const frames: Uint8Array[] = [];
    let all: Uint8Array | undefined;
    let at = 0;
    for (;;) {
      const length = this.lengthAt(at, all);
      if (length === undefined || this.held - at < length + 2) break;
      all ??= this.join();
      frames.push(all.slice(at + 2, at + 2 + length));
      at += length + 2;
    }
    if (at > 0) {
      const rest = (all ?? this.join()).slice(at);
      this.chunks = rest.length > 0 ? [rest] : [];
      this.held = rest.length;
    }
    return frames;
  }

  private lengthAt(at: number, all: Uint8Array | undefined): number | undefined {
    if (this.held - at < 2) return undefined;
    const bytes =
      all ?? (this.chunks.length > 1 && (this.chunks[0]?.length ?? 0) < 2 ? this.join() : this.chunks[0]);
    return ((bytes?.[at] ?? 0) << 8) | (bytes?.[at + 1] ?? 0);
  }

  private join(): Uint8Array {
    const [first] = this.chunks;
    if (this.chunks.length === 1 && first !== undefined) return first;
    const all = new Uint8Array(this.held);
    let at = 0;
    for (const chunk of this.chunks) {
      all.set(chunk, at);
      at += chunk.length;
    }
    this.chunks = [all];
    return all;
  }
}

/** A message with its length before it. */
export function frame(message: Uint8Array): Uint8Array {
  const framed = new Uint8Array(message.length + 2);
  framed[0] = message.length >> 8;
  framed[1] = message.length & 0xff;
  framed.set(message, 2);
  return framed;
}
