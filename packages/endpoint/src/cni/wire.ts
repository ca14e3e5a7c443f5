import { CniCode, CniError } from "./errors.ts";

/**
 * The wire between the plugin (apps/cni, C) and the agent, over a UNIX stream socket.
 * Request: u32 little-endian length of the rest; `KEY=VALUE\0` for each CNI variable; `\0`; the plugin's stdin.
 * Response: u32le exit code, u32le length, that many bytes for the plugin's stdout.
 */

/** A request longer than this is refused: a network configuration is a few kilobytes. */
export const maxRequestBytes = 1024 * 1024;

/** Collects the bytes of one request, however they are cut. */
export class RequestReader {
  #chunks: Buffer[] = [];
  #length = 0;

  /**
   * Adds bytes; returns the request's body once it is whole.
   * @throws CniError code 6 when the announced length is beyond `maxRequestBytes`, or more bytes came than announced.
   */
  push(chunk: Buffer): Buffer | undefined {
    this.#chunks.push(chunk);
    this.#length += chunk.length;
    if (this.#length < 4) return undefined;
    const all = this.#chunks.length === 1 ? chunk : Buffer.concat(this.#chunks, this.#length);
    this.#chunks = [all];
    const announced = all.readUInt32LE(0);
    if (announced > maxRequestBytes || this.#length > announced + 4) {
      throw new CniError(
        CniCode.decode,
        `malformed request: ${announced} bytes announced, ${this.#length - 4} received`,
      );
    }
    return this.#length === announced + 4 ? all.subarray(4) : undefined;
  }
}

/** Splits a request's body into the plugin's environment and its stdin. */
export function decodeRequest(body: Buffer): { env: Map<string, string>; stdin: string } {
  const env = new Map<string, string>();
  let at = 0;
  for (;;) {
    const end = body.indexOf(0, at);
    if (end < 0) throw new CniError(CniCode.decode, "malformed request: the environment does not end");
    if (end === at) return { env, stdin: body.toString("utf8", end + 1) };
    const pair = body.toString("utf8", at, end);
    const equals = pair.indexOf("=");
    if (equals > 0) env.set(pair.slice(0, equals), pair.slice(equals + 1));
    at = end + 1;
  }
}

/** One response, ready to be written. */
export function encodeResponse(exitCode: number, stdout: string): Buffer {
  const body = Buffer.from(stdout);
  const head = Buffer.alloc(8);
  head.writeUInt32LE(exitCode, 0);
  head.writeUInt32LE(body.length, 4);
  return Buffer.concat([head, body]);
}
