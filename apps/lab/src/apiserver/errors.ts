import { AxonError } from "@axoneme/base";
import type { JsonObject } from "./object.ts";

/** One entry of `details.causes` of a Status. */
export interface Cause {
  reason: string;
  message: string;
  field?: string;
}

/** What an error is about: fills `details` of the Status. */
interface Subject {
  group?: string;
  kind?: string;
  name?: string;
  uid?: string;
}

export interface Details extends Subject {
  causes?: Cause[];
  retryAfterSeconds?: number;
}

/** An error that a client receives as a `Status` object with an HTTP code and a machine-readable reason. */
export class ApiError extends AxonError {
  readonly status: number;
  readonly reason: string;
  readonly details: Details | undefined;

  constructor(status: number, reason: string, message: string, details?: Details, cause?: unknown) {
    super(`apiserver.${reason}`, message, cause === undefined ? undefined : { cause });
    this.status = status;
    this.reason = reason;
    this.details = details;
  }

  /** The Status object, as meta/v1 defines it. */
  toStatus(): JsonObject {
    return {
      kind: "Status",
      apiVersion: "v1",
      metadata: {},
      status: "Failure",
      message: this.message,
      reason: this.reason,
      ...(this.details === undefined ? {} : { details: this.details }),
      code: this.status,
    };
  }
}

/** How messages name a resource: `pods`, or `deployments.apps`. */
function qualified(group: string, resource: string): string {
  return group === "" ? resource : `${resource}.${group}`;
}

export function badRequest(message: string): ApiError {
  return new ApiError(400, "BadRequest", message);
}

export function unauthorized(): ApiError {
  return new ApiError(401, "Unauthorized", "Unauthorized");
}

export function notFound(group: string, resource: string, name: string): ApiError {
  return new ApiError(404, "NotFound", `${qualified(group, resource)} "${name}" not found`, {
    name,
    group,
    kind: resource,
  });
}

/** The path or resource type itself is unknown. */
export function noSuchResource(): ApiError {
  return new ApiError(404, "NotFound", "the server could not find the requested resource", {
    causes: [{ reason: "UnexpectedServerResponse", message: "404 page not found" }],
  });
}

export function alreadyExists(group: string, resource: string, name: string): ApiError {
  return new ApiError(409, "AlreadyExists", `${qualified(group, resource)} "${name}" already exists`, {
    name,
    group,
    kind: resource,
  });
}

export function conflict(group: string, resource: string, name: string, why: string): ApiError {
  return new ApiError(
    409,
    "Conflict",
    `Operation cannot be fulfilled on ${qualified(group, resource)} "${name}": ${why}`,
    { name, group, kind: resource },
  );
}

export const staleObject =
  "the object has been modified; please apply your changes to the latest version and try again";

export function forbidden(
  group: string,
  resource: string,
  name: string,
  why: string,
  causes?: Cause[],
): ApiError {
  return new ApiError(403, "Forbidden", `${qualified(group, resource)} "${name}" is forbidden: ${why}`, {
    name,
    group,
    kind: resource,
    ...(causes === undefined ? {} : { causes }),
  });
}

/** 422: the object is understood but breaks a rule. The message lists every cause as Kubernetes does. */
export function invalid(group: string, kind: string, name: string, causes: Cause[]): ApiError {
  const shown = causes.map((cause) =>
    cause.field === undefined ? cause.message : `${cause.field}: ${cause.message}`,
  );
  const text = shown.length === 1 ? shown[0] : `[${shown.join(", ")}]`;
  return new ApiError(422, "Invalid", `${qualified(group, kind)} "${name}" is invalid: ${text}`, {
    name,
    group,
    kind,
    causes,
  });
}

export function gone(message: string): ApiError {
  return new ApiError(410, "Expired", message);
}

export function methodNotAllowed(): ApiError {
  return new ApiError(
    405,
    "MethodNotAllowed",
    "the server does not allow this method on the requested resource",
  );
}

export function unsupportedMediaType(got: string, accepted: readonly string[]): ApiError {
  return new ApiError(
    415,
    "UnsupportedMediaType",
    `the body of the request was in an unknown format - got ${got || "no content type"}; accepted media types include: ${accepted.join(", ")}`,
  );
}

export function notAcceptable(accepted: readonly string[]): ApiError {
  return new ApiError(
    406,
    "NotAcceptable",
    `only the following media types are accepted: ${accepted.join(", ")}`,
  );
}

export function internal(error: unknown): ApiError {
  const text = error instanceof Error ? error.message : String(error);
  return new ApiError(500, "InternalError", `Internal error occurred: ${text}`, undefined, error);
}

/** The cause Kubernetes reports for a value that is not allowed. */
export function invalidValue(field: string, value: unknown, why: string): Cause {
  return { reason: "FieldValueInvalid", message: `Invalid value: ${show(value)}: ${why}`, field };
}

export function required(field: string, why = ""): Cause {
  return {
    reason: "FieldValueRequired",
    message: why === "" ? "Required value" : `Required value: ${why}`,
    field,
  };
}

export function unsupportedValue(field: string, value: unknown, supported: readonly unknown[]): Cause {
  return {
    reason: "FieldValueNotSupported",
    message: `Unsupported value: ${show(value)}: supported values: ${supported.map(show).join(", ")}`,
    field,
  };
}

export function duplicate(field: string, value: unknown): Cause {
  return { reason: "FieldValueDuplicate", message: `Duplicate value: ${show(value)}`, field };
}

export function forbiddenField(field: string, why: string): Cause {
  return { reason: "FieldValueForbidden", message: `Forbidden: ${why}`, field };
}

function show(value: unknown): string {
  return typeof value === "object" && value !== null && !Array.isArray(value) && Object.keys(value).length > 8
    ? "object"
    : (JSON.stringify(value) ?? "null");
}
