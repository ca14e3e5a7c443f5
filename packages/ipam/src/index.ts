export type { PoolUsage } from "./addresspool.ts";
export { type ClusterCidr, ClusterPool } from "./clusterpool.ts";
export {
  type Allocation,
  NodePool,
  type NodePoolOptions,
  type NodePoolSnapshot,
  type ReconcileReport,
} from "./nodepool.ts";
