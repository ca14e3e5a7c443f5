export type * from "./flow.ts";
