export {
  type L2Address,
  L2Announcements,
  type L2Changes,
  type L2Device,
  type L2Entry,
} from "./announcements.ts";
export { compileL2Policy, type L2PolicyObject, type L2PolicyProblem } from "./policy.ts";
export type { L2ServiceObject } from "./service.ts";
