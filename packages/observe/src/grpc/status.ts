import { AxonError, errorText } from "@axoneme/base";
import { type StatusObject, status } from "@grpc/grpc-js";

/** What the caller of a method is told of an error: what is wrong with the request, or that we are at fault. */
export function statusOf(error: unknown): Pick<StatusObject, "code" | "details"> {
  const theirs = error instanceof AxonError && /^(observe\.query|flow\.|proto\.field)/.test(error.code);
  return { code: theirs ? status.INVALID_ARGUMENT : status.INTERNAL, details: errorText(error) };
}
