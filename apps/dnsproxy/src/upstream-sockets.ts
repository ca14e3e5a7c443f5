import { closeSync } from "node:fs";
import { type DatagramSet, listenIn, setReceiveBuffer } from "@axoneme/netlink";
import { randomBelow } from "./random.ts";

/** Sockets of upstream queries have tags from here on; below are those that pods' queries come to. */
export const FIRST_UPSTREAM_TAG = 256;

/** A replaced socket still gets answers for this long, milliseconds. */
const RETIRED_MS = 10_000;
/** Replaced in every second, of all sockets of a family. */
const REPLACED_SHARE = 1 / 32;
const RECEIVE_BUFFER = 256 * 1024;

interface Upstream {
  readonly fd: number;
  readonly tag: number;
}

/**
 * UDP sockets on ports that the kernel has chosen at random. Each query leaves from one chosen at random, and the
 * sockets are replaced all the time: who wants to forge an answer has to guess the port beside the id.
 */
export class UpstreamSockets {
  private readonly set: DatagramSet;
  private readonly host: string;
  private readonly size: number;
  private readonly sockets: Upstream[] = [];
  private retired: (Upstream & { until: number })[] = [];
  private readonly nextTag: () => number;
  private next = 0;

  /** `host`: "0.0.0.0" or "::". Throws NetlinkError. */
  constructor(set: DatagramSet, host: string, size: number, nextTag: () => number) {
    this.set = set;
    this.host = host;
    this.size = size;
    this.nextTag = nextTag;
    for (let i = 0; i < size; i++) this.sockets.push(this.open());
  }

  /** One of the sockets. */
  choose(): Upstream {
    const chosen = this.sockets[randomBelow(this.size)];
    if (chosen === undefined) throw new RangeError("no upstream socket");
    return chosen;
  }

  /** Once a second. Throws NetlinkError. */
  tick(now: number): void {
    for (let i = Math.ceil(this.size * REPLACED_SHARE); i > 0; i--) {
      const old = this.sockets[this.next];
      if (old !== undefined) this.retired.push({ ...old, until: now + RETIRED_MS });
      this.sockets[this.next] = this.open();
      this.next = (this.next + 1) % this.size;
    }
    const over = this.retired.filter(({ until }) => until <= now);
    if (over.length > 0) this.retired = this.retired.filter(({ until }) => until > now);
    for (const { fd } of over) closeSync(fd);
  }

  close(): void {
    for (const { fd } of [...this.sockets, ...this.retired]) closeSync(fd);
  }

  private open(): Upstream {
    const fd = listenIn(undefined, { host: this.host, port: 0, protocol: "udp" });
    const tag = this.nextTag();
    setReceiveBuffer(fd, RECEIVE_BUFFER);
    this.set.add(fd, tag);
    return { fd, tag };
  }
}
