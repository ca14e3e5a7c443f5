import type { LbChange } from "./rows.ts";

type Put<Op extends LbChange["op"]> = Extract<LbChange, { op: Op }>;

/**
 * Writes of one commit, handed out in the order in which no reader ever sees half a Service: what a row names
 * is there before the row, the row flips by one write, and what it named before goes afterwards.
 */
export class ChangeSet {
  readonly #stages: Record<LbChange["op"], LbChange[]> = {
    "put-backend": [],
    "put-slots": [],
    "put-range": [],
    "put-skip": [],
    "put-service": [],
    "delete-service": [],
    "delete-range": [],
    "delete-skip": [],
    "delete-backend": [],
  };

  add(change: LbChange): void {
    this.#stages[change.op].push(change);
  }

  /** All writes. A row that sends clients on to another scope comes after that scope's row, and goes before it. */
  ordered(): LbChange[] {
    const scope = (change: LbChange): number => (change as Put<"put-service" | "delete-service">).key.scope;
    const puts = this.#stages["put-service"];
    const deletes = this.#stages["delete-service"];
    if (puts.length > 1) puts.sort((a, b) => scope(b) - scope(a));
    if (deletes.length > 1) deletes.sort((a, b) => scope(a) - scope(b));
    const stages = Object.values(this.#stages).filter((stage) => stage.length > 0);
    return stages.length === 1 ? (stages[0] ?? []) : stages.flat();
  }
}
