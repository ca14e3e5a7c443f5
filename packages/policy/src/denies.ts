import type { CompiledSpec, Distinct, FirstDeny } from "./compiledtypes.ts";
import type { Default } from "./judge.ts";
import type { RuleInfo } from "./ruletable.ts";

const DIRECTIONS = [0, 1] as const;

/** Nothing denies by default. */
export function noDenies(): [FirstDeny, FirstDeny] {
  const none = (): FirstDeny => ({ enforced: undefined, audited: undefined, stale: false });
  return [none(), none()];
}

/** A spec came under a distinct policy: it may be the first now. */
export function denyJoined({ firstDenies }: Distinct, { deny }: CompiledSpec): void {
  for (const direction of DIRECTIONS) {
    const info = deny[direction];
    if (info !== undefined) consider(firstDenies[direction], info);
  }
}

/** A spec left. */
export function denyLeft({ firstDenies }: Distinct, { deny }: CompiledSpec): void {
  for (const direction of DIRECTIONS) {
    const info = deny[direction];
    const first = firstDenies[direction];
    if (info !== undefined && (first.enforced === info || first.audited === info)) first.stale = true;
  }
}

/** The rules that stand for default deny in one direction; among several the first by name. */
export function firstDeny({ firstDenies, specs }: Distinct, direction: 0 | 1): Default {
  const first = firstDenies[direction];
  if (first.stale) {
    Object.assign(first, { enforced: undefined, audited: undefined, stale: false });
    for (const { deny } of specs) if (deny[direction] !== undefined) consider(first, deny[direction]);
  }
  return { enforced: first.enforced, audited: first.audited };
}

function consider(first: FirstDeny, info: RuleInfo): void {
  const kind = info.audited ? "audited" : "enforced";
  const other = first[kind];
  if (other === undefined || info.name < other.name) first[kind] = info;
}
