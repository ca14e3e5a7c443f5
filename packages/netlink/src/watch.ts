import { closeSync } from "node:fs";
import { constants } from "node:os";
import { type Address, decodeAddress, RTM_DELADDR, RTM_NEWADDR } from "./address.ts";
import { NetlinkError } from "./errors.ts";
import { decodeLink, type Link, RTM_DELLINK, RTM_NEWLINK } from "./link.ts";
import { native, type PollHandle } from "./native.ts";
import { decodeNeighbour, type Neighbour, RTM_DELNEIGH, RTM_NEWNEIGH } from "./neighbour.ts";
import { decodeRoute, isClonedRoute, type Route, RTM_DELROUTE, RTM_NEWROUTE } from "./route.ts";
import { decodeRule, RTM_DELRULE, RTM_NEWRULE, type Rule } from "./rule.ts";
import { type Message, parseMessages } from "./wire.ts";

/** What to watch. */
export interface WatchFilter {
  readonly links?: boolean;
  readonly addrs?: boolean;
  readonly routes?: boolean;
  readonly rules?: boolean;
  readonly neighs?: boolean;
  /** What the kernel may hold for a reader that is busy, in bytes; default 8 MiB. Beyond it: `resync`. */
  readonly receiveBuffer?: number;
}

/** `set` is sent for what is new and for what changed, alike; the kernel does not tell them apart. */
export type WatchAction = "set" | "delete";

/** A change, or `resync`: changes were lost, list again. */
export type WatchEvent =
  | { readonly type: "link"; readonly action: WatchAction; readonly link: Link }
  | { readonly type: "addr"; readonly action: WatchAction; readonly addr: Address }
  | { readonly type: "route"; readonly action: WatchAction; readonly route: Route }
  | { readonly type: "rule"; readonly action: WatchAction; readonly rule: Rule }
  | { readonly type: "neigh"; readonly action: WatchAction; readonly neigh: Neighbour }
  | { readonly type: "resync" };

/** RTNLGRP_* (linux/rtnetlink.h). */
type Watched = Exclude<keyof WatchFilter, "receiveBuffer">;
const groups: Record<Watched, readonly number[]> = {
  links: [1],
  neighs: [3],
  addrs: [5, 9],
  routes: [7, 11],
  rules: [8, 19],
};

/** The multicast groups of a filter. */
export function watchGroups(filter: WatchFilter): Uint8Array {
  const wanted = (Object.keys(groups) as Watched[]).filter((name) => filter[name] === true);
  return Uint8Array.from(wanted.flatMap((name) => groups[name]));
}

/** The event a message tells; undefined for what is of no interest. Throws NetlinkError (EBADMSG). */
export function decodeEvent(message: Message): WatchEvent | undefined {
  const action = (message.type & 3) === 0 ? "set" : "delete";
  switch (message.type) {
    case RTM_NEWLINK:
    case RTM_DELLINK:
      // Bridge ports are told a second time as family AF_BRIDGE; a deletion there only leaves the bridge.
      return message.body[0] === 0 ? { type: "link", action, link: decodeLink(message.body) } : undefined;
    case RTM_NEWADDR:
    case RTM_DELADDR:
      return { type: "addr", action, addr: decodeAddress(message.body) };
    case RTM_NEWROUTE:
    case RTM_DELROUTE: {
      const route = isClonedRoute(message.body) ? undefined : decodeRoute(message.body);
      return route && { type: "route", action, route };
    }
    case RTM_NEWRULE:
    case RTM_DELRULE: {
      const rule = decodeRule(message.body);
      return rule && { type: "rule", action, rule };
    }
    case RTM_NEWNEIGH:
    case RTM_DELNEIGH: {
      const neigh = decodeNeighbour(message.body);
      return neigh && { type: "neigh", action, neigh };
    }
    default:
      return undefined;
  }
}

/** Events held for a reader that does not keep up; beyond it they are dropped and `resync` is told. */
const MAX_HELD = 16_384;
/** Datagrams read in one turn of the loop. */
const MAX_READS = 64;

/**
 * Changes of a namespace as they happen: `for await (const event of netlink.watch({ links: true }))`. One reader.
 * Open until `close`; keeps the process alive until then unless `unref` was called. Subscribe first, list after:
 * then nothing is missed.
 */
export class Watch implements AsyncIterable<WatchEvent> {
  private readonly fd: number;
  private readonly poll: PollHandle;
  private readonly buffer = new Uint8Array(64 * 1024);
  private held: WatchEvent[] = [];
  private waiting: ((result: IteratorResult<WatchEvent>) => void) | undefined;
  private closed = false;

  /** Takes the ownership of `fd`, a subscribed rtnetlink socket. */
  constructor(fd: number) {
    this.fd = fd;
    const poll = native().pollStart(fd, 1, () => this.read());
    if (typeof poll === "number") {
      closeSync(fd);
      throw new NetlinkError({ op: "watch", object: "the namespace", kind: "socket" }, -poll);
    }
    this.poll = poll;
  }

  /** Lets the process end although the watch is open. */
  unref(): this {
    native().pollRef(this.poll, false);
    return this;
  }

  /** Ends the iteration and closes the socket. */
  close(): void {
    if (this.closed) return;
    this.closed = true;
    native().pollStop(this.poll);
    closeSync(this.fd);
    this.held = [];
    this.waiting?.({ done: true, value: undefined });
    this.waiting = undefined;
  }

  [Symbol.asyncIterator](): AsyncIterator<WatchEvent> {
    return {
      next: () => this.next(),
      return: () => {
        this.close();
        return Promise.resolve({ done: true, value: undefined });
      },
    };
  }

  private next(): Promise<IteratorResult<WatchEvent>> {
    const event = this.held.shift();
    if (event !== undefined) return Promise.resolve({ done: false, value: event });
    if (this.closed) return Promise.resolve({ done: true, value: undefined });
    return new Promise((resolve) => {
      this.waiting = resolve;
    });
  }

  private push(event: WatchEvent): void {
    const waiting = this.waiting;
    if (waiting !== undefined) {
      this.waiting = undefined;
      waiting({ done: false, value: event });
      return;
    }
    if (this.held.length >= MAX_HELD) this.held = [{ type: "resync" }];
    if (event.type !== "resync" || this.held.at(-1)?.type !== "resync") this.held.push(event);
  }

  private read(): void {
    for (let i = 0; i < MAX_READS && !this.closed; i++) {
      const length = native().rtnlReceive(this.fd, this.buffer);
      if (length === -constants.errno.EAGAIN) return;
      if (length < 0) {
        // ENOBUFS: the kernel dropped messages. Whatever else failed, a list puts it right.
        this.push({ type: "resync" });
        if (length !== -constants.errno.ENOBUFS) return;
        continue;
      }
      this.decode(length);
    }
  }

  private decode(length: number): void {
    try {
      for (const message of parseMessages(this.buffer.subarray(0, length))) {
        const event = decodeEvent(message);
        if (event !== undefined) this.push(event);
      }
    } catch (error) {
      if (!(error instanceof NetlinkError)) throw error;
      this.push({ type: "resync" });
    }
  }
}
