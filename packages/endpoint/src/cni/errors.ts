import { AxonError } from "@axoneme/base";

/** Error codes of the CNI specification, section "Error". */
export const CniCode = {
  incompatibleVersion: 1,
  unsupportedField: 2,
  unknownContainer: 3,
  invalidEnvironment: 4,
  io: 5,
  decode: 6,
  invalidConfig: 7,
  tryAgainLater: 11,
  notAvailable: 50,
  limitedConnectivity: 51,
  /** Ours: the pod's network is not what CHECK expects. */
  checkFailed: 101,
  /** Ours: no free address on this node. */
  noAddress: 102,
  /** Ours: the kernel refused a step. */
  kernel: 103,
} as const;

export type CniCode = (typeof CniCode)[keyof typeof CniCode];

/** A failure in the plugin's own terms: printed to the runtime as the specification's error object. */
export class CniError extends AxonError {
  readonly cniCode: CniCode;
  readonly details: string;

  constructor(cniCode: CniCode, message: string, details = "", options?: { cause?: unknown }) {
    super("cni.error", message, options);
    this.cniCode = cniCode;
    this.details = details;
  }

  /** The error object as printed on stdout. */
  toResult(cniVersion: string): Record<string, unknown> {
    return {
      cniVersion,
      code: this.cniCode,
      msg: this.message,
      ...(this.details ? { details: this.details } : {}),
    };
  }
}
