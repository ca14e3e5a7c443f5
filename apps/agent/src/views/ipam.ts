import type { NodePools } from "@axoneme/ipam";
import type { IpamPoolView } from "@axoneme/observe";

/** The node's pools for /v1/ipam. */
export function ipamViews(pools: Pick<NodePools, "usage">): IpamPoolView[] {
  return pools.usage().map(({ pool, family, cidrs, capacity, used, cooling }) => ({
    pool,
    family,
    cidrs,
    capacity: String(capacity),
    used,
    resting: cooling,
  }));
}
