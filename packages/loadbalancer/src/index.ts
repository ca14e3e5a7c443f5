export { type FrontendView, ServiceCompiler } from "./compiler.ts";
export { type EndpointSliceObject, type ServiceObject, serviceNameLabel } from "./objects.ts";
export {
  type BackendRow,
  type ExistingRows,
  type FrontendKey,
  type LbChange,
  ServiceFlag,
  type ServiceRow,
} from "./rows.ts";
