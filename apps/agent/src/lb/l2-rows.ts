import type { DatapathMaps } from "@axoneme/datapath";
import type { L2Address } from "@axoneme/loadbalancer";
import type { L2Port } from "./l2.ts";
import type { SolicitedGroups } from "./l2-groups.ts";
import { tellNeighbours } from "./l2-neighbours.ts";

/** Carries announcements into the map that the datapath answers from, and onto the devices of this network namespace. */
export function l2Port(map: DatapathMaps["l2"], groups: SolicitedGroups): L2Port {
  return {
    announce: (entries) => {
      groups.join(entries);
      for (const { address, ifindex, mac } of entries) {
        const key = { addr: address, ifindex };
        // The count of answers goes on when a device has another MAC address.
        map.put(key, { mac, answered: map.get(key)?.answered ?? 0n });
      }
    },
    withdraw: (entries) => {
      map.deleteAll(entries.map(({ address, ifindex }) => ({ addr: address, ifindex })));
      groups.leave(entries);
    },
    tell: (entries) => tellNeighbours(undefined, entries),
  };
}

/** What an earlier agent left announced. */
export function announcedBefore(map: DatapathMaps["l2"]): L2Address[] {
  return map.entries().map(([{ addr, ifindex }]) => ({ address: addr.slice(), ifindex }));
}
