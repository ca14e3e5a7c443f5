import { AxonError } from "@axoneme/base";
import { compileLabelSelector, type LabelPredicate, type LabelSelectorObject } from "../labelselector.ts";
import {
  type AddressRange,
  type BlockObject,
  type Family,
  familyOf,
  overlapOf,
  rangesOf,
  rangeText,
} from "./range.ts";
import { Space } from "./space.ts";

/** The parts of a CiliumLoadBalancerIPPool that matter here. */
export interface PoolObject {
  readonly metadata?: { readonly name?: string; readonly creationTimestamp?: string };
  readonly spec?: {
    readonly serviceSelector?: LabelSelectorObject;
    readonly allowFirstLastIPs?: string;
    readonly blocks?: readonly BlockObject[];
    readonly disabled?: boolean;
  };
}

/** Why a pool gives nothing out although it is not disabled. */
export interface PoolConflict {
  readonly reason: "cidr_overlap" | "invalid_block" | "invalid_selector";
  readonly message: string;
}

/** A pool, its selector and ranges compiled, and who waits for it. */
export class Pool {
  readonly name: string;
  readonly created: string;
  readonly disabled: boolean;
  readonly ranges: readonly AddressRange[];
  readonly selects: LabelPredicate;
  readonly spaces: Readonly<Record<Family, Space>>;
  /** Its addresses that are in use. */
  readonly used = new Set<bigint>();
  /** Services that would take any of its addresses, in the order they came. */
  readonly waiting: Readonly<Record<Family, Set<string>>> = { IPv4: new Set(), IPv6: new Set() };
  /** What is wrong with the pool itself. */
  readonly #problem: PoolConflict | undefined;
  /** The older pool it overlaps. */
  #overlap: PoolConflict | undefined;

  constructor({ metadata, spec }: PoolObject) {
    this.name = metadata?.name ?? "";
    this.created = metadata?.creationTimestamp ?? "";
    this.disabled = spec?.disabled === true;
    const ranges = attempt("invalid_block", () =>
      rangesOf(spec?.blocks ?? [], spec?.allowFirstLastIPs !== "No"),
    );
    const selects = attempt("invalid_selector", () => compileLabelSelector(spec?.serviceSelector));
    this.#problem = ranges.problem ?? selects.problem;
    this.ranges = ranges.value ?? [];
    this.selects = selects.value ?? (() => false);
    const spaceOf = (family: Family): Space =>
      new Space(this.ranges.filter((range) => range.family === family));
    this.spaces = { IPv4: spaceOf("IPv4"), IPv6: spaceOf("IPv6") };
  }

  get conflict(): PoolConflict | undefined {
    return this.#problem ?? this.#overlap;
  }

  /** Whether it may give new addresses out. */
  get open(): boolean {
    return !this.disabled && this.conflict === undefined;
  }

  get size(): bigint {
    return this.spaces.IPv4.size + this.spaces.IPv6.size;
  }

  contains(address: bigint): boolean {
    return this.spaces[familyOf(address)].contains(address);
  }

  /** Notes which of these older pools, all fit for use, it overlaps. */
  settle(older: readonly Pool[]): void {
    this.#overlap = undefined;
    for (const pool of older) {
      const shared = overlapOf(this.ranges, pool.ranges);
      if (shared === undefined) continue;
      const [own, other] = shared.map(rangeText);
      const message = `its range ${own} overlaps ${other} of the older pool ${pool.name}`;
      this.#overlap = { reason: "cidr_overlap", message };
      return;
    }
  }
}

function attempt<T>(reason: PoolConflict["reason"], make: () => T): { value?: T; problem?: PoolConflict } {
  try {
    return { value: make() };
  } catch (error) {
    if (!(error instanceof AxonError)) throw error;
    return { problem: { reason, message: error.message } };
  }
}

/** The oldest first; of the same second, by name. */
export function byAge(a: Pool, b: Pool): number {
  if (a.created !== b.created) return a.created < b.created ? -1 : 1;
  return a.name < b.name ? -1 : 1;
}

/** Decides between pools that overlap: the older one stays in use. `pools` in order of age. */
export function settleConflicts(pools: readonly Pool[]): void {
  const fit: Pool[] = [];
  for (const pool of pools) {
    pool.settle(fit);
    if (pool.conflict === undefined) fit.push(pool);
  }
}

/** What a pool's conditions say. */
export interface PoolState {
  readonly conflict: PoolConflict | undefined;
  readonly total: bigint;
  readonly used: bigint;
  readonly available: bigint;
}

export function poolState(pool: Pool): PoolState {
  const used = BigInt(pool.used.size);
  return { conflict: pool.conflict, total: pool.size, used, available: pool.size - used };
}
