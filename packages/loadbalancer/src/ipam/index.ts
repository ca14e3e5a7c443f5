export { LoadBalancerIpam, type ServiceState } from "./allocator.ts";
export type { PoolConflict, PoolObject, PoolState } from "./pool.ts";
export { type AddressRequest, type LoadBalancedService, requestCondition, requestOf } from "./request.ts";
export type { Reason, Verdict } from "./verdict.ts";
