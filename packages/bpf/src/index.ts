export type { Batchable, Entries } from "./batch.ts";
export { AttachType, LinkType, MapFlag, MapType, ProgramType, Update } from "./constants.ts";
export { BatchError, BpfError, IncompatibleMapError } from "./errors.ts";
export { describeOpenFds, openFds } from "./fd.ts";
export { type FeatureName, feature, features, hasKernelFunction, type Tri } from "./features.ts";
export { BpfIterator, type IteratorRun } from "./iterator.ts";
export { type Attachment, type Direction, Link, queryTcx, type TcxOptions, type XdpOptions } from "./link.ts";
export { BpfMap, type MapSpec, possibleCpus } from "./map.ts";
export type {
  NativeLinkInfo as LinkInfo,
  NativeMapInfo as MapInfo,
  NativeProgramInfo as ProgramInfo,
} from "./native.ts";
export {
  BpfObject,
  LoadedObject,
  type LoadOptions,
  type ObjectConfig,
  type ObjectSpec,
  type VariableValue,
} from "./object.ts";
export { type PinOptions, requireCompatible, unpin } from "./pins.ts";
export { type LiveOptions, Program, type TestRunOptions, type TestRunResult } from "./program.ts";
export { RingBuffer, type RingBufferOptions } from "./ringbuf.ts";
export { cgroupId, findCgroup2, isBpffs, mountBpffs, unmountBpffs } from "./system.ts";
export { attachTc, TcFilter } from "./tc.ts";
export {
  parseRejection,
  type Rejection,
  VERIFIER_LIMIT,
  VerifierError,
  type VerifierStats,
} from "./verifier.ts";
