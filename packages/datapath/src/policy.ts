import {
  type PolicyHead as AbiHead,
  type PolicyKey as AbiKey,
  type PolicyRow as AbiRow,
  PolicyFlags,
} from "@axoneme/abi";
import {
  Direction,
  type PolicyChange,
  type PolicyEngine,
  type PolicyHead,
  type PolicyRow,
  type PolicyRowKey,
  type RowSource,
} from "@axoneme/policy";
import type { DatapathMaps } from "./maps.ts";

/** The maps of policies. */
export type PolicyTables = Pick<DatapathMaps, "policy" | "policyHeads">;

/**
 * Writes a commit of the policy engine in its order; neighbouring rows of one kind go in one batch.
 * @param onEndpoint writes the endpoint's row, at its place in the order.
 */
export function applyPolicyChanges(
  maps: PolicyTables,
  changes: readonly PolicyChange[],
  onEndpoint: (endpointId: number) => void,
): void {
  let rows: [AbiKey, AbiRow][] = [];
  const flush = () => {
    maps.policy.putAll(rows);
    rows = [];
  };
  for (const change of changes) {
    if (change.op === "putRow") {
      rows.push([rowKey(change.key), rowValue(change.row)]);
      continue;
    }
    flush();
    if (change.op === "deleteRow") maps.policy.delete(rowKey(change.key));
    else if (change.op === "putHead")
      maps.policyHeads.put(headKey(change.policyId, change.direction), headValue(change.head));
    else if (change.op === "deleteHead") maps.policyHeads.delete(headKey(change.policyId, change.direction));
    else onEndpoint(change.endpointId);
  }
  flush();
}

/** Takes a policy's heads away: without one a direction denies everything. */
export function lockPolicy(maps: PolicyTables, policyId: number): void {
  for (const direction of [0, 1]) maps.policyHeads.delete(headKey(policyId, direction));
}

/** Removes rows and heads the engine does not have. Returns how many. */
export function prunePolicy(maps: PolicyTables, engine: PolicyEngine): number {
  const ids = [...engine.distincts()].map(({ policyId }) => policyId);
  const live = new Set(ids.filter((id) => engine.head(id, Direction.INGRESS) !== undefined));
  const wanted = new Set([...engine.allRows()].map(({ key }) => keyText(rowKey(key))));
  let removed = 0;
  for (const [key] of maps.policyHeads.entries()) {
    if (!live.has(key >>> 1) && maps.policyHeads.delete(key)) removed++;
  }
  for (const [key] of maps.policy.entries()) {
    if (!wanted.has(keyText(key)) && maps.policy.delete(key)) removed++;
  }
  return removed;
}

/** The rows as they are in the kernel: for questions about what it would decide. */
export function kernelPolicyRows(maps: PolicyTables): RowSource {
  return {
    head: (policyId, direction) => {
      const head = maps.policyHeads.get(headKey(policyId, direction));
      return head && ({ ...head, layered: (head.flags & PolicyFlags.LAYERED) !== 0 } as PolicyHead);
    },
    row: (key) => maps.policy.get(rowKey(key)) as PolicyRow | undefined,
  };
}

function keyText({ policyId, identity, cidr, port, proto, shape }: AbiKey): string {
  return `${policyId}/${identity}/${cidr}/${port}/${proto}/${shape}`;
}

/** The first policy and rule ids above all that are in the maps: an agent that starts must not reuse them. */
export function nextPolicyIds(maps: PolicyTables): { policyId: number; ruleId: number } {
  let policyId = 0;
  let ruleId = 0;
  for (const [key, head] of maps.policyHeads.entries()) {
    policyId = Math.max(policyId, key >>> 1);
    ruleId = Math.max(ruleId, head.defaultRule);
  }
  for (const [key, row] of maps.policy.entries()) {
    policyId = Math.max(policyId, key.policyId);
    ruleId = Math.max(ruleId, row.ruleId);
  }
  return { policyId: policyId + 1, ruleId: ruleId + 1 };
}

function headKey(policyId: number, direction: number): number {
  return ((policyId << 1) | direction) >>> 0;
}

function headValue({ layered, ...head }: PolicyHead): AbiHead {
  return { ...head, flags: layered ? PolicyFlags.LAYERED : 0 };
}

function rowKey({ policyId, direction, identity, cidr, port, proto, shape }: PolicyRowKey): AbiKey {
  return { policyId, identity, cidr, port, proto, shape: shape | (direction << 7) };
}

function rowValue(row: PolicyRow): AbiRow {
  return { ...row };
}
