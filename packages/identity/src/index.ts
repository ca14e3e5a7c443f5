export {
  answersFor,
  type ClassPort,
  classLabels,
  classScope,
  isClassIdentity,
  isPortLabel,
  portKey,
  RelevantKeys,
  readPortKey,
  withPorts,
} from "./classes.ts";
export {
  type Identity,
  IdentityCache,
  type IdentityCacheOptions,
  type IdentityChange,
  type IdentityObject,
  identityObject,
  parseIdentityObject,
} from "./identitycache.ts";
export {
  Ipcache,
  type IpcacheChange,
  type IpcacheEntry,
  type IpcacheSource,
  ipcacheSources,
} from "./ipcache.ts";
export { defaultLabelFilter, type LabelFilter, labelFilter } from "./labelfilter.ts";
export {
  identityKey,
  type LabelSource,
  type Labels,
  labelKeys,
  labelLines,
  labelSources,
  parseLabelLine,
  parseLabelLines,
  splitKey,
} from "./labels.ts";
export { LocalIdentities } from "./localidentities.ts";
export { NodeIdentities } from "./nodeidentities.ts";
export { type PodClaim, PodClasses, type Renumbered } from "./podclasses.ts";
export { type NamespaceLike, type PodLike, podLabels } from "./podlabels.ts";
export {
  cidrLabels,
  cidrText,
  clusterScope,
  identityName,
  isLocalIdentity,
  isNodeIdentity,
  localScope,
  nodeScope,
  reserved,
  reservedByName,
  reservedIdentities,
  reservedLabels,
  reservedNames,
  worldOf,
} from "./reserved.ts";
