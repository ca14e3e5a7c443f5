export { type DebugEvent, debugCount, toDebugEvents } from "./debug.ts";
export { directionOf } from "./direction.ts";
export {
  dropReasonName,
  dropReasonNames,
  dropReasonNumber,
  dropReasonText,
} from "./drop-reason.ts";
export { endpointOf } from "./endpoint.ts";
export { matchTypeOf, toFlows } from "./expand.ts";
export {
  compileFilter,
  type ExpressionCompiler,
  type FilterEngines,
  type FlowMatcher,
} from "./filter/compile.ts";
export { compileSelector } from "./filter/selector.ts";
export type * from "./flow.ts";
export { icmpText } from "./icmp.ts";
export {
  encodeLayer7,
  Layer7Details,
  type Layer7Event,
  type Layer7Side,
  layer7ProtocolOf,
} from "./layer7.ts";
export {
  eventFlag,
  eventType,
  ipProtocol,
  matchTypeText,
  protocolName,
  reservedIdentityName,
  sockPointNumber,
  sockPointText,
  tcpFlagBits,
  tracePointNumber,
  tracePointText,
  tracePointTexts,
  traceReasonName,
  traceReasonReply,
  traceReasonUnknown,
} from "./names.ts";
export { isRedirect, type Outcome, type Part, partsOf } from "./parts.ts";
export {
  flowCells,
  flowColumns,
  formatCompact,
  formatDict,
  type Paint,
  type PrintOptions,
  policyNames,
  processText,
  type TimeFormat,
  timeFormats,
  timeText,
  typeText,
  verdictText,
} from "./print.ts";
export { at, type RawEvent, type RecordRef, readEvent, recordSize } from "./record.ts";
export {
  compileRedaction,
  type Redaction,
  type RedactionOptions,
} from "./redact.ts";
export {
  emptyResolver,
  type FlowResolver,
  type IdentityInfo,
  type PeerInfo,
  type RuleInfo,
} from "./resolver.ts";
export { RawStore, type RawStoreOptions } from "./store.ts";
export { tcpFlagsText } from "./summary.ts";
export { formatTimestamp, parseTimestamp } from "./time.ts";
export { FlowIds } from "./uuid.ts";
