/** What every part of the server works on; declared next to the kinds, whose strategies take it. */
export type { Cluster } from "./resources/resource.ts";
