export { type Call, KubeClient, type KubeClientOptions, type Query } from "./client.ts";
export { type ClusterConfig, inCluster } from "./config.ts";
export type * from "./coretypes.ts";
export {
  anonymous,
  basicAuth,
  bearerToken,
  type CredentialSource,
  type Credentials,
  clientCertificate,
  type Material,
} from "./credentials.ts";
export { Discovery } from "./discovery.ts";
export {
  isAlreadyExists,
  isConflict,
  isGone,
  isNotFound,
  isTooManyRequests,
  isTransient,
  KubeError,
  type StatusBody,
  type StatusCause,
  type StatusDetails,
} from "./errors.ts";
export { builtinResources } from "./known.ts";
export { findConfig, type KubeconfigOptions, loadKubeconfig } from "./kubeconfig.ts";
export {
  ListWatch,
  type ListWatchHandlers,
  type ListWatchHealth,
  type ListWatchOptions,
} from "./listwatch.ts";
export {
  type ApplyOptions,
  type CallOptions,
  type List,
  type ListOptions,
  type ObjectOptions,
  type PatchOptions,
  type RemoveOptions,
  ResourceClient,
  type Selectors,
  type WriteOptions,
} from "./resourceclient.ts";
export {
  apiVersionOf,
  defineResource,
  type KubeObject,
  type Resource,
  resourceName,
  resourcePath,
} from "./resources.ts";
export { keyOf, objectKey, type StoreReader } from "./store.ts";
export type { WatchEvent, WatchOptions } from "./watch.ts";
