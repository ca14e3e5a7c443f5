export { CniCode, CniError } from "./cni/errors.ts";
export {
  type Attachment,
  type Bandwidth,
  type CniCommand,
  type CniRequest,
  type CniResult,
  type PodRef,
  parseRequest,
  supportedVersions,
} from "./cni/request.ts";
export { decodeRequest, encodeResponse, maxRequestBytes, RequestReader } from "./cni/wire.ts";
export { hostIfnamePrefix, type LinkNames, linkNames } from "./names.ts";
export { type Gateways, PodNetwork } from "./network.ts";
export { attachmentKey, type EndpointRecord, parseRecord } from "./record.ts";
export { EndpointStore } from "./store.ts";
