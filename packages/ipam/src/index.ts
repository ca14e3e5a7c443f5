export type { PoolUsage } from "./addresspool.ts";
export { type ClusterCidr, ClusterPool } from "./clusterpool.ts";
export {
  type FixedAsk,
  type FixedPool,
  freeClaim,
  giveBackFixed,
  isOf,
  sameHolder,
  takeFixed,
} from "./fixed.ts";
export type { Binding, Claim, FixedStore, Holder, PodName, Stored } from "./fixedstore.ts";
export {
  type Allocation,
  NodePool,
  type NodePoolOptions,
  type NodePoolSnapshot,
  type ReconcileReport,
} from "./nodepool.ts";
export { defaultPool, NodePools, type PoolChoice, type PoolDemand } from "./nodepools.ts";
