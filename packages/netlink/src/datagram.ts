import { closeSync } from "node:fs";
import { NetlinkError, type Operation } from "./errors.ts";
import { native, type PollHandle } from "./native.ts";

/** Words that describe a message; see native/datagram.c. */
export const DATAGRAM_WORDS = 10;
/** Offsets among the words of a message. */
export const datagram = { socket: 0, port: 1, offset: 2, length: 3, address: 4, errno: 8, mark: 9 } as const;

/** A whole UDP payload fits into a slot; pages that no payload reaches are never touched. */
const SLOT = 64 * 1024;

function failed(op: string, errno: number): NetlinkError {
  const what: Operation = { op, object: "UDP sockets", kind: "socket" };
  return new NetlinkError(what, errno);
}

/**
 * Many UDP sockets, read together. `buffer` and `words` are filled anew by each `receive()`: a message's payload may be
 * changed and sent from where it lies until then.
 */
export class DatagramSet {
  readonly buffer: Uint8Array;
  readonly words: Uint32Array;
  private readonly set: number;
  private poll: PollHandle | undefined;

  /** `batch`: messages that one `receive()` returns at the most. Throws NetlinkError. */
  constructor(batch: number) {
    this.set = native().datagramSet();
    if (this.set < 0) throw failed("watch", -this.set);
    this.buffer = new Uint8Array(batch * SLOT);
    this.words = new Uint32Array(batch * DATAGRAM_WORDS);
  }

  /** Adds a bound socket; `tag` comes with all it receives. Throws NetlinkError. */
  add(fd: number, tag: number): void {
    const rc = native().datagramSetAdd(this.set, fd, tag);
    if (rc < 0) throw failed("watch", -rc);
  }

  /** Takes a socket out. It stays open. Throws NetlinkError. */
  remove(fd: number): void {
    const rc = native().datagramSetRemove(this.set, fd);
    if (rc < 0) throw failed("stop watching", -rc);
  }

  /** Calls back on every turn of the loop on which there is something to read. Throws NetlinkError. */
  watch(ready: () => void): void {
    const poll = native().pollStart(this.set, 1, ready);
    if (typeof poll === "number") throw failed("watch", -poll);
    this.poll = poll;
  }

  /** Reads what is there without waiting: how many messages are in `words` and `buffer`. Throws NetlinkError. */
  receive(): number {
    const count = native().datagramReceive(this.set, this.buffer, this.words, SLOT);
    if (count < 0) throw failed("read", -count);
    return count;
  }

  /** Ends watching. The sockets stay open: they are the caller's. */
  close(): void {
    if (this.poll !== undefined) native().pollStop(this.poll);
    closeSync(this.set);
  }
}

/**
 * Sends the first `count` messages of `words` out of `buffer`: word 0 is the descriptor of the socket. Returns how many
 * the kernel refused; their word 8 is the errno. None waits: a full socket is a refusal.
 */
export function sendDatagrams(buffer: Uint8Array, words: Uint32Array, count: number): number {
  return native().datagramSend(buffer, words, count);
}

/** Marks what a socket sends (SO_MARK). Throws NetlinkError: the process may not. */
export function setMark(fd: number, mark: number): void {
  const rc = native().socketMark(fd, mark | 0);
  if (rc < 0) throw failed("mark", -rc);
}

/** Gives a socket a receive buffer of this size, beyond the system's limit where the process may. Throws NetlinkError. */
export function setReceiveBuffer(fd: number, bytes: number): void {
  const rc = native().socketBuffer(fd, bytes);
  if (rc < 0) throw failed("size the buffer of", -rc);
}
