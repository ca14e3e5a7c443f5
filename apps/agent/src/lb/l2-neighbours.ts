import type { L2Entry } from "@axoneme/loadbalancer";
import { announcementFrames, type NetnsRef, sendFrames } from "@axoneme/netlink";

/** Most frames sent at once: a fail-over of many Services must not hold the agent up for long. */
const batch = 512;

/**
 * Tells the neighbours on each entry's device that the address is at its MAC address now (gratuitous ARP, unsolicited
 * neighbour advertisement). Throws NetlinkError of the first device that cannot; the others are served.
 */
export function tellNeighbours(netns: NetnsRef, entries: readonly L2Entry[]): void {
  const frames = entries.flatMap(({ address, ifindex, mac }) =>
    announcementFrames(address, mac).map((bytes) => ({ ifindex, bytes })),
  );
  let failure: unknown;
  for (let at = 0; at < frames.length; at += batch) {
    try {
      sendFrames(netns, frames.slice(at, at + batch));
    } catch (error) {
      failure ??= error;
    }
  }
  if (failure !== undefined) throw failure;
}
