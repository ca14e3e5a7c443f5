import type { Logger } from "@axoneme/base";
import type { Allocations } from "./admission/allocations.ts";
import type { Registry } from "./resources/registry.ts";
import type { Store } from "./storage/store.ts";

/** What every part of the server works on. */
export interface Cluster {
  readonly store: Store;
  readonly registry: Registry;
  readonly allocations: Allocations;
  readonly logger: Logger;
  /** Wall clock, milliseconds. */
  now(): number;
}
