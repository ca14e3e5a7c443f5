export { type FrontendView, ServiceCompiler, type ServiceCompilerOptions } from "./compiler.ts";
export {
  type AddressRequest,
  type LoadBalancedService,
  LoadBalancerIpam,
  type PoolConflict,
  type PoolObject,
  type PoolState,
  type Reason,
  requestCondition,
  requestOf,
  type ServiceState,
  type Verdict,
} from "./ipam/index.ts";
export {
  compileLabelSelector,
  type LabelLookup,
  type LabelPredicate,
  type LabelSelectorObject,
  plainLabels,
  serviceLabels,
} from "./labelselector.ts";
export { type EndpointSliceObject, type ServiceObject, serviceNameLabel } from "./objects.ts";
export {
  Algorithm,
  BackendFlag,
  type BackendRow,
  BackendState,
  type ExistingRows,
  Forwarding,
  type FrontendKey,
  type LbChange,
  Scope,
  ServiceFlag,
  type ServiceRow,
} from "./rows.ts";
