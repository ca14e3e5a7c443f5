import type { Clock, Logger } from "@axoneme/base";
import type { FlowResolver, RawStore } from "@axoneme/flow";

export interface HistoryOptions {
  readonly store: RawStore;
  /** Of the living; answers also what records of layer 7 are about. */
  readonly resolver: FlowResolver;
  /** The seed of this run's UUIDs. */
  readonly seed: Uint8Array;
  /** Made with mode 0700 when it is not there; of this agent alone. */
  readonly dir: string;
  /** Bytes of all files together, at most (but for the segment that is being written). */
  readonly limitBytes: number;
  readonly log: Logger;
  readonly clock?: Clock;
  /** Bytes at which a segment is complete; default a 16th of the limit, 64 MiB at most. */
  readonly segmentBytes?: number;
}

/** What became of records, since the agent started. */
export interface HistoryFigures {
  readonly bytes: number;
  readonly segments: number;
  /** Records that can be read, of earlier runs too. */
  readonly records: number;
  /** Wall time of the oldest record, nanoseconds; undefined: there is none. */
  readonly oldestNs: bigint | undefined;
  readonly written: number;
  /** Records that the ring overwrote before they were written. */
  readonly lost: number;
  /** Segments that could not be read (another version, damaged heads), and frames that were damaged. */
  readonly unreadable: number;
  /** Bytes of frames that an agent was killed in. */
  readonly tornBytes: number;
  /** Writes that failed. */
  readonly failures: number;
  /** Why nothing is written now. */
  readonly problem: string | undefined;
}
