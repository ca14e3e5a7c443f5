import { AxonError } from "@axoneme/base";
import type { HttpRequest } from "./transport.ts";

/** Query parameters; absent values are left out, lists repeat the parameter. */
export type Query = Readonly<Record<string, string | number | boolean | readonly string[] | undefined>>;

/** One call, on any path. */
export interface Call {
  method?: HttpRequest["method"];
  /** Path without query, "/api/v1/pods". */
  path: string;
  query?: Query;
  /** Sent as JSON. */
  body?: unknown;
  contentType?: string;
  accept?: string;
  signal?: AbortSignal | undefined;
  deadlineMs?: number | undefined;
  /** Names for error messages; default: the method and the path. */
  verb?: string;
  object?: string;
}

/** What {@link KubeClient} offers to the parts that build on it. */
export interface Caller {
  readonly server: string;
  call<R>(call: Call): Promise<R>;
  callText(call: Call): Promise<string>;
  stream(call: Call, onOpen: () => void, onData: (chunk: Buffer) => void): Promise<void>;
}

export interface CallOptions {
  signal?: AbortSignal | undefined;
  deadlineMs?: number | undefined;
}

/** Which objects of a collection. */
export interface Selectors {
  /** All namespaces when absent. */
  namespace?: string | undefined;
  labelSelector?: string | undefined;
  fieldSelector?: string | undefined;
}

/** Refuses a call that lacks something, before it is sent. */
export function misuse(message: string): AxonError {
  return new AxonError("kube.misuse", message);
}
