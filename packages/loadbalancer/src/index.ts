export { type FrontendView, ServiceCompiler, type ServiceCompilerOptions } from "./compiler.ts";
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
