import type { PolicyChange } from "./rows.ts";

/** Writes by phase; phases of all policies go out one after the other. */
export interface Phases {
  /** Of policies for which there is no room. */
  withdrawals: PolicyChange[];
  headsWiden: PolicyChange[];
  denyPuts: PolicyChange[];
  allowPuts: PolicyChange[];
  /** Of layered policies. */
  cellPuts: PolicyChange[];
  headsTurn: PolicyChange[];
  allowDeletes: PolicyChange[];
  denyDeletes: PolicyChange[];
  /** Of layered policies. */
  cellDeletes: PolicyChange[];
  headsNarrow: PolicyChange[];
}

/** No writes yet. */
export function emptyPhases(): Phases {
  return {
    withdrawals: [],
    headsWiden: [],
    denyPuts: [],
    allowPuts: [],
    cellPuts: [],
    headsTurn: [],
    allowDeletes: [],
    denyDeletes: [],
    cellDeletes: [],
    headsNarrow: [],
  };
}
