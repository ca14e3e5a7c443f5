export {
  type OpResult,
  Reconciler,
  type ReconcilerHealth,
  type ReconcilerOps,
  type ReconcilerOptions,
  type RowFailure,
  type RowStatus,
} from "./reconciler.ts";
export { type Change, type Key, Table, type TableOptions } from "./table.ts";
