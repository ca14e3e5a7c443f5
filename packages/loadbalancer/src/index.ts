export { compileService, type DesiredFrontend, type DesiredService, type NodeContext } from "./compile.ts";
export { type FrontendView, LoadBalancer, type LoadBalancerOptions } from "./loadbalancer.ts";
export type {
  EndpointLike,
  EndpointPortLike,
  EndpointSliceLike,
  ServiceLike,
  ServicePortLike,
} from "./objects.ts";
export {
  type BackendRow,
  BackendState,
  type FrontendRow,
  type LbChange,
  LbMaps,
  type LbRows,
  Scope,
  ServiceFlag,
  type ServiceKey,
  type ServiceRow,
} from "./rows.ts";
