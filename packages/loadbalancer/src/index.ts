export { type FrontendView, ServiceCompiler, type ServiceCompilerOptions } from "./compiler.ts";
export { type EndpointSliceObject, type ServiceObject, serviceNameLabel } from "./objects.ts";
export {
  type BackendRow,
  BackendState,
  type ExistingRows,
  type FrontendKey,
  type LbChange,
  Scope,
  ServiceFlag,
  type ServiceRow,
} from "./rows.ts";
