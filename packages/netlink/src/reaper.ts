import { Deferred, delay } from "@axoneme/base";
import { isErrno } from "./errors.ts";
import type { LinkName } from "./link.ts";
import { Netlink, type NetlinkOptions } from "./netlink.ts";

/** The group that retired links are put into ("axon" in ASCII), which nobody else uses. */
const RETIRED = 0x61786f6e;

/** No link is marked: one that was has gone with its namespace or its peer. */
function unlessGone(error: unknown): void {
  if (!isErrno(error, "ENODEV")) throw error;
}

/**
 * Deletes links without waiting for each: the kernel takes 15 to 20 ms to forget a link, but not longer for a
 * hundred at once. `retire` takes a link down and marks it, which is all a pod's end needs (0.3 ms); what is marked
 * is then deleted together, on a socket of its own. Links marked by a process that died go with the next ones.
 */
export class LinkReaper {
  private readonly marker: Netlink;
  private readonly deleter: Netlink;
  private readonly gatherMs: number;
  private running: Promise<void> | undefined;
  private again = false;
  private hurry = new Deferred<void>();

  private constructor(options: NetlinkOptions, gatherMs: number) {
    this.gatherMs = gatherMs;
    this.marker = Netlink.open(options);
    this.deleter = Netlink.open(options);
  }

  /**
   * Opens its two sockets in a namespace. Throws NetlinkError.
   * @param gatherMs how long retired links are gathered before they are deleted: while it deletes, the kernel lets
   * nobody else change the network, so that a burst is done sooner with fewer deletions.
   */
  static open(options: NetlinkOptions = {}, gatherMs = 0): LinkReaper {
    return new LinkReaper(options, gatherMs);
  }

  /**
   * Takes the link out of use. Resolves when it is down and marked; it (and a veth peer) is gone some 20 ms later:
   * {@link idle} waits for that. ENODEV if there is no such link.
   */
  async retire(link: LinkName): Promise<void> {
    await this.marker.linkRetire(link, RETIRED);
    this.sweep();
  }

  /** Deletes what is marked, also by a process that died, without waiting for it. */
  sweep(): void {
    this.again = true;
    // A failure is kept for `idle`; the links stay marked, and the next deletion takes them too.
    this.running ??= this.reap();
    this.running.catch(() => undefined);
  }

  private async reap(): Promise<void> {
    try {
      while (this.again) {
        if (this.gatherMs > 0) await Promise.race([delay(this.gatherMs), this.hurry.promise]);
        this.again = false;
        await this.deleter.linkDelGroup(RETIRED).catch(unlessGone);
      }
    } finally {
      this.running = undefined;
    }
  }

  /** Deletes without further gathering. Resolves when every retired link is gone; rejects if the kernel refused. */
  async idle(): Promise<void> {
    const { hurry } = this;
    hurry.resolve();
    try {
      while (this.running !== undefined) await this.running;
    } finally {
      if (this.hurry === hurry) this.hurry = new Deferred();
    }
  }

  /** Closes the sockets; what is marked stays until another reaper deletes. Await `idle` before. */
  close(): void {
    this.marker.close();
    this.deleter.close();
  }
}
