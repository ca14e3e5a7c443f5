import { AxonError, errorText } from "@axoneme/base";

/** One entry of `details.causes` in a Kubernetes Status. */
export interface StatusCause {
  reason?: string;
  message?: string;
  field?: string;
}

/** `details` of a Kubernetes Status (meta/v1). */
export interface StatusDetails {
  name?: string;
  group?: string;
  kind?: string;
  uid?: string;
  causes?: StatusCause[];
  retryAfterSeconds?: number;
}

/** meta/v1 Status, as the server sends it in bodies and in ERROR events of a watch. */
export interface StatusBody {
  kind?: string;
  status?: string;
  code?: number;
  reason?: string;
  message?: string;
  details?: StatusDetails;
}

/** What was being done when it failed: names for the message. */
export interface Attempt {
  /** The verb as RBAC knows it: get, list, watch, create, update, patch, delete. */
  verb: string;
  /** The object: "pods default/web", "nodes". */
  object: string;
  /** The server's URL. */
  server: string;
}

/**
 * A failed call to the API server. `status` is the HTTP status, 0 where there was no usable answer; then
 * `code` tells why: `kube.unreachable`, `kube.deadline`, `kube.aborted`, `kube.tooLarge`, `kube.protocol`. With an
 * answer, `code` is `kube.` and the Status reason in camel case (`kube.notFound`).
 */
export class KubeError extends AxonError {
  readonly status: number;
  readonly reason: string;
  readonly details: StatusDetails;
  /** Seconds the server asked to wait (header Retry-After or details.retryAfterSeconds). */
  readonly retryAfterS: number | undefined;

  constructor(
    code: string,
    message: string,
    fields: {
      status?: number;
      reason?: string;
      details?: StatusDetails;
      retryAfterS?: number | undefined;
    } = {},
    options?: { cause?: unknown },
  ) {
    super(code, message, options);
    this.status = fields.status ?? 0;
    this.reason = fields.reason ?? "";
    this.details = fields.details ?? {};
    this.retryAfterS = fields.retryAfterS;
  }

  /** The object, or the resource itself, is not there. */
  get notFound(): boolean {
    return this.status === 404;
  }
  /** `create` of what exists. */
  get alreadyExists(): boolean {
    return this.status === 409 && this.reason === "AlreadyExists";
  }
  /** The object changed meanwhile, a precondition failed, or another field manager owns a field. */
  get conflict(): boolean {
    return this.status === 409 && this.reason !== "AlreadyExists";
  }
  /** The resourceVersion or the continue token is no longer known: list again. */
  get gone(): boolean {
    return this.status === 410;
  }
  get tooManyRequests(): boolean {
    return this.status === 429;
  }
  get unauthorized(): boolean {
    return this.status === 401;
  }
  get forbidden(): boolean {
    return this.status === 403;
  }
  /** The server refused the object's content. */
  get invalid(): boolean {
    return this.status === 422 || this.status === 400;
  }
  /** No answer, or an answer that may differ when asked again. */
  get transient(): boolean {
    if (this.status === 0) return this.code !== "kube.aborted" && this.code !== "kube.tooLarge";
    return this.status === 429 || this.status >= 500;
  }
}

function is(error: unknown, test: (e: KubeError) => boolean): boolean {
  return error instanceof KubeError && test(error);
}

export const isNotFound = (error: unknown): boolean => is(error, (e) => e.notFound);
export const isAlreadyExists = (error: unknown): boolean => is(error, (e) => e.alreadyExists);
export const isConflict = (error: unknown): boolean => is(error, (e) => e.conflict);
export const isGone = (error: unknown): boolean => is(error, (e) => e.gone);
export const isTooManyRequests = (error: unknown): boolean => is(error, (e) => e.tooManyRequests);
export const isTransient = (error: unknown): boolean => is(error, (e) => e.transient);

/** Reasons of statuses whose body is no Status object (a proxy's HTML page, say). */
const defaultReasons: Record<number, string> = {
  400: "BadRequest",
  401: "Unauthorized",
  403: "Forbidden",
  404: "NotFound",
  405: "MethodNotAllowed",
  406: "NotAcceptable",
  409: "Conflict",
  410: "Gone",
  413: "RequestEntityTooLarge",
  415: "UnsupportedMediaType",
  422: "Invalid",
  429: "TooManyRequests",
  500: "InternalError",
  503: "ServiceUnavailable",
  504: "Timeout",
};

function codeOf(reason: string): string {
  return `kube.${reason.charAt(0).toLowerCase()}${reason.slice(1)}`;
}

/** Seconds of a Retry-After header: a number, or an HTTP date counted from now. */
function parseRetryAfter(header: string | undefined, nowMs = Date.now()): number | undefined {
  if (header === undefined) return undefined;
  if (/^\s*\d+\s*$/.test(header)) return Number(header);
  const at = Date.parse(header);
  return Number.isNaN(at) ? undefined : Math.max(0, Math.ceil((at - nowMs) / 1000));
}

function bodyAsStatus(body: string): StatusBody {
  try {
    const parsed: unknown = JSON.parse(body);
    if (typeof parsed === "object" && parsed !== null) return parsed as StatusBody;
  } catch {
    // Not JSON: a proxy or load balancer answered. Its text is the best message there is.
  }
  return { message: body.replace(/\s+/g, " ").trim().slice(0, 300) };
}

/** The error for an HTTP answer other than 2xx. */
export function errorFromResponse(
  attempt: Attempt,
  status: number,
  body: string,
  retryAfter: string | undefined,
): KubeError {
  return errorFromStatus(
    attempt,
    { code: status, ...bodyAsStatus(body) },
    status,
    parseRetryAfter(retryAfter),
  );
}

/** The error for a Status object, whether from a body or from an ERROR event. */
export function errorFromStatus(
  attempt: Attempt,
  body: StatusBody,
  httpStatus?: number,
  retryAfterS?: number,
): KubeError {
  const status = httpStatus ?? (typeof body.code === "number" ? body.code : 500);
  const reason = body.reason || defaultReasons[status] || "Unknown";
  const text = body.message || "no message";
  return new KubeError(
    codeOf(reason),
    `cannot ${attempt.verb} ${attempt.object} at ${attempt.server}: ${text} (${status} ${reason})`,
    {
      status,
      reason,
      details: body.details ?? {},
      retryAfterS: retryAfterS ?? body.details?.retryAfterSeconds,
    },
  );
}

/** The error for a call that got no usable answer. A KubeError passes through. */
export function errorFromFailure(attempt: Attempt, code: string, cause: unknown): KubeError {
  if (cause instanceof KubeError) return cause;
  const text = `cannot ${attempt.verb} ${attempt.object} at ${attempt.server}: ${describe(cause)}`;
  return new KubeError(code, text, {}, { cause });
}

/** Node reports several refused addresses as an AggregateError with an empty message. */
function describe(cause: unknown): string {
  if (cause instanceof AggregateError && cause.errors.length > 0) {
    return cause.errors.map((error) => errorText(error)).join("; ");
  }
  return errorText(cause) || String(cause);
}
