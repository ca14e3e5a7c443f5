import { closeSync, existsSync, fsyncSync, ftruncateSync, openSync, readFileSync, writeSync } from "node:fs";
import { crc32 } from "node:zlib";

const headerBytes = 8;

/** A record on disk: u32le payload length, u32le CRC-32 of the payload, payload. */
export function frame(payload: Buffer): Buffer {
  const out = Buffer.allocUnsafe(headerBytes + payload.length);
  out.writeUInt32LE(payload.length, 0);
  out.writeUInt32LE(crc32(payload), 4);
  payload.copy(out, headerBytes);
  return out;
}

/**
 * The payloads of a file of frames and the length of its sound part. Reading stops at the first frame that is
 * cut short or whose checksum differs: what follows is the torn tail of a write that was never acknowledged.
 */
export function readFrames(data: Buffer): { payloads: Buffer[]; soundBytes: number } {
  const payloads: Buffer[] = [];
  let offset = 0;
  while (offset + headerBytes <= data.length) {
    const length = data.readUInt32LE(offset);
    const end = offset + headerBytes + length;
    if (end > data.length) break;
    const payload = data.subarray(offset + headerBytes, end);
    if (crc32(payload) !== data.readUInt32LE(offset + 4)) break;
    payloads.push(payload);
    offset = end;
  }
  return { payloads, soundBytes: offset };
}

/** An append-only file of frames. A record is in the kernel's hands when `append` returns: it survives kill -9. */
export class Journal {
  readonly path: string;
  readonly #fd: number;
  readonly #fsync: boolean;
  #bytes: number;

  private constructor(path: string, fd: number, bytes: number, fsync: boolean) {
    this.path = path;
    this.#fd = fd;
    this.#bytes = bytes;
    this.#fsync = fsync;
  }

  /** Opens or makes the file, cuts a torn tail off, and returns what was recorded. */
  static open(path: string, fsync: boolean): { journal: Journal; payloads: Buffer[] } {
    const data = existsSync(path) ? readFileSync(path) : Buffer.alloc(0);
    const { payloads, soundBytes } = readFrames(data);
    const fd = openSync(path, "a", 0o600);
    if (soundBytes < data.length) ftruncateSync(fd, soundBytes);
    return { journal: new Journal(path, fd, soundBytes, fsync), payloads };
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Throws when the disk refuses; the file is then cut back to its last whole record. */
  append(payload: Buffer): void {
    const data = frame(payload);
    let written = 0;
    try {
      while (written < data.length) written += writeSync(this.#fd, data, written);
      if (this.#fsync) fsyncSync(this.#fd);
    } catch (error) {
      ftruncateSync(this.#fd, this.#bytes);
      throw error;
    }
    this.#bytes += data.length;
  }

  close(): void {
    closeSync(this.#fd);
  }
}
