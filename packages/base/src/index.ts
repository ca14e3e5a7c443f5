export { type Backoff, type BackoffOptions, backoff } from "./backoff.ts";
export { bytesEqual, formatMac, fromHex, parseMac, toHex } from "./bytes.ts";
export { type Clock, FakeClock, systemClock, type Timer } from "./clock.ts";
export { Deferred, delay, type WaitForOptions, waitFor, withDeadline } from "./deferred.ts";
export { Emitter } from "./emitter.ts";
export { AxonError, errorText } from "./errors.ts";
export { MinHeap } from "./heap.ts";
export {
  formatIp,
  type Ip,
  ipAdd,
  ipCompare,
  ipEqual,
  ipFromBigInt,
  ipKey,
  ipToBigInt,
  isV4,
  parseIp,
  tryParseIp,
} from "./ip.ts";
export { KeyedQueue } from "./keyedqueue.ts";
export {
  childLogger,
  type LogFn,
  type Logger,
  type LogRecord,
  memoryLogger,
  silentLogger,
} from "./logger.ts";
export { Lpm } from "./lpm.ts";
export {
  commonBits,
  formatPrefix,
  hostPrefix,
  isV4Prefix,
  maskIp,
  type Prefix,
  parseInterfaceAddress,
  parsePrefix,
  parsePrefixOrIp,
  prefixContains,
  prefixCovers,
  prefixEqual,
  prefixHalves,
  prefixKey,
  prefixOverlaps,
  prefixRange,
  prefixSubtract,
} from "./prefix.ts";
