import { closeSync } from "node:fs";
import { constants } from "node:os";
import { Deferred } from "@axoneme/base";
import { malformed, NetlinkError, type Operation } from "./errors.ts";
import { native } from "./native.ts";
import { Attributes, HEADER, type Message, parseMessages, viewOf } from "./wire.ts";

/** Flags of nlmsghdr (linux/netlink.h). */
export const NLM = {
  REQUEST: 0x01,
  MULTI: 0x02,
  ACK: 0x04,
  DUMP_INTR: 0x10,
  DUMP: 0x300,
  REPLACE: 0x100,
  EXCL: 0x200,
  CREATE: 0x400,
  CAPPED: 0x100,
  ACK_TLVS: 0x200,
} as const;
const NLMSG_ERROR = 2;
const NLMSG_DONE = 3;
const NLMSGERR_ATTR_MSG = 1;

/** Limits of one send: every ack takes about 1 kB of the receive buffer, the whole must fit the send buffer. */
const MAX_REQUESTS = 256;
const MAX_BYTES = 64 * 1024;
const MAX_DUMP_TRIES = 16;

interface Request {
  readonly message: Uint8Array;
  readonly dump: boolean;
  readonly what: Operation;
  readonly answer: Deferred<Message[]>;
  replies: Message[];
  interrupted: boolean;
  tries: number;
}

/**
 * Sends requests over one rtnetlink socket and matches what comes back by sequence number. What is asked for in
 * one turn of the loop, or while an exchange is under way, leaves in one send; a dump travels alone. Order is kept.
 */
export class Transactor {
  private readonly fd: number;
  private queue: Request[] = [];
  private sequence = 1;
  private busy = false;
  private closed = false;

  constructor(fd: number) {
    this.fd = fd;
  }

  /** Queues a complete message (its sequence number is set here) and resolves with the replies before the ack. */
  request(message: Uint8Array, what: Operation, dump = false): Promise<Message[]> {
    if (this.closed) return Promise.reject(new NetlinkError(what, constants.errno.ECANCELED));
    const answer = new Deferred<Message[]>();
    this.queue.push({ message, dump, what, answer, replies: [], interrupted: false, tries: 0 });
    if (!this.busy) {
      this.busy = true;
      queueMicrotask(() => void this.pump());
    }
    return answer.promise;
  }

  /** Refuses new requests, fails the queued ones and closes the socket once the exchange under way has ended. */
  close(): void {
    if (this.closed) return;
    this.closed = true;
    for (const request of this.queue)
      request.answer.reject(new NetlinkError(request.what, constants.errno.ECANCELED));
    this.queue = [];
    if (!this.busy) closeSync(this.fd);
  }

  private async pump(): Promise<void> {
    while (this.queue.length > 0) await this.exchange(this.take());
    this.busy = false;
    if (this.closed) closeSync(this.fd);
  }

  private take(): Request[] {
    let count = 0;
    let bytes = 0;
    for (const request of this.queue) {
      if (request.dump && count > 0) break;
      if (count === MAX_REQUESTS || (count > 0 && bytes + request.message.length > MAX_BYTES)) break;
      bytes += request.message.length;
      count++;
      if (request.dump) break;
    }
    return this.queue.splice(0, count);
  }

  private async exchange(requests: Request[]): Promise<void> {
    const first = this.sequence;
    // Sequence numbers wrap at 2^32; a transaction never spans the wrap.
    this.sequence = first + requests.length > 0xffff0000 ? 1 : first + requests.length;
    const parts = requests.map((request, i) => {
      viewOf(request.message).setUint32(8, first + i, true);
      return request.message;
    });
    const bytes = parts.length === 1 && parts[0] !== undefined ? parts[0] : Buffer.concat(parts);
    try {
      const [rc, answers] = await native().rtnlTransact(this.fd, bytes, first, requests.length);
      const open = deliver(parseMessages(answers), requests, first);
      this.settle(open, rc);
    } catch (error) {
      for (const request of requests) request.answer.reject(error);
    }
  }

  /** What is left without an ending: interrupted dumps are asked again, the rest fails. */
  private settle(open: Request[], rc: number): void {
    const again: Request[] = [];
    for (const request of open) {
      if (request.interrupted && !this.closed && ++request.tries < MAX_DUMP_TRIES) {
        request.interrupted = false;
        request.replies = [];
        again.push(request);
        continue;
      }
      const errno = request.interrupted ? constants.errno.EINTR : -rc;
      request.answer.reject(new NetlinkError(request.what, errno === 0 ? constants.errno.EBADMSG : errno));
    }
    this.queue = [...again, ...this.queue];
  }
}

/** Hands messages to their requests; returns the requests that got no ending, and interrupted dumps. */
function deliver(messages: Message[], requests: Request[], first: number): Request[] {
  const open = new Set(requests);
  for (const message of messages) {
    const request = requests[message.sequence - first];
    if (request === undefined || !open.has(request)) continue;
    if (request.dump && (message.flags & NLM.DUMP_INTR) !== 0) request.interrupted = true;
    if (message.type !== NLMSG_ERROR && message.type !== NLMSG_DONE) {
      request.replies.push(message);
      continue;
    }
    if (request.interrupted) continue;
    open.delete(request);
    finish(request, message);
  }
  return [...open];
}

function finish(request: Request, message: Message): void {
  const errno = endErrno(message);
  if (errno === 0) request.answer.resolve(request.replies);
  else request.answer.reject(new NetlinkError(request.what, errno, extendedText(message)));
}

/** The positive errno in an NLMSG_ERROR or NLMSG_DONE, 0 for success. */
export function endErrno(message: Message): number {
  if (message.body.length < 4) {
    if (message.type === NLMSG_DONE) return 0;
    throw malformed("nlmsgerr");
  }
  const value = viewOf(message.body).getInt32(0, true);
  return value < 0 ? -value : 0;
}

/** The kernel's own words (extended ack), which follow the error number and the request's header. */
export function extendedText(message: Message): string | undefined {
  if ((message.flags & NLM.ACK_TLVS) === 0) return undefined;
  let start = 4;
  if (message.type === NLMSG_ERROR) {
    const echoed = message.body.length >= 8 ? viewOf(message.body).getUint32(4, true) : 0;
    start += (message.flags & NLM.CAPPED) !== 0 ? HEADER : echoed;
  }
  if (start > message.body.length) return undefined;
  return new Attributes(message.body, start).text(NLMSGERR_ATTR_MSG);
}
