import type { CidrMatch } from "@axoneme/policy";

/** What the page asks policies by: `/api/policies`. */
export interface PolicyBook {
  /** Policies and CiliumCIDRGroups as the API has them. */
  readonly objects: readonly unknown[];
  /** Whom rules on prefixes match by address: the agents' option. */
  readonly cidrMatch: CidrMatch;
}
