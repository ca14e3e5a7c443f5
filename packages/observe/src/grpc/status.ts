import { AxonError } from "@axoneme/base";
import { GrpcError, grpcCode } from "@axoneme/grpc";

/** What the caller of a method is told of an error in the request; other errors are returned as they are. */
export function statusOf(error: unknown): unknown {
  const theirs = error instanceof AxonError && /^(observe\.query|flow\.|proto\.field)/.test(error.code);
  return theirs ? new GrpcError(grpcCode.invalidArgument, error.message, { cause: error }) : error;
}
