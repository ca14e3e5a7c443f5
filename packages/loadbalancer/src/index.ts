export { type CompilerStats, ServiceCompiler, type ServiceCompilerOptions } from "./compiler.ts";
export type { Explanation, FrontendQuery } from "./explain.ts";
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
  compileL2Policy,
  type L2Address,
  L2Announcements,
  type L2Changes,
  type L2Device,
  type L2Entry,
  type L2PolicyObject,
  type L2PolicyProblem,
  type L2ServiceObject,
} from "./l2/index.ts";
export {
  compileLabelSelector,
  type LabelLookup,
  type LabelPredicate,
  type LabelSelectorObject,
  plainLabels,
  serviceLabels,
} from "./labelselector.ts";
export { maglevSizes } from "./maglev.ts";
export {
  type EndpointSliceObject,
  type HostPort,
  type LocalPod,
  type LocalRedirectPolicyObject,
  type ServiceObject,
  serviceNameLabel,
} from "./objects.ts";
export type { Owner, OwnerKind, Problem } from "./problems.ts";
export {
  Algorithm,
  BackendFlag,
  type BackendRow,
  BackendState,
  choicesOf,
  type ExistingRows,
  Forwarding,
  type FrontendKey,
  type LbChange,
  Scope,
  ServiceFlag,
  type ServiceRow,
  type SlotBackend,
  type SlotSource,
  slotEntries,
  slotsTaken,
} from "./rows.ts";
export {
  defaultSettings,
  type FrontendKind,
  frontendKinds,
  type LoadBalancerSettings,
} from "./settings.ts";
export { type TrimmedSlice, trimService, trimSlice } from "./trim.ts";
export type { BackendView, FrontendView, HealthCheckView, MaglevView } from "./views.ts";
