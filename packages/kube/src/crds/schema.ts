/**
 * A structural OpenAPI v3 schema (apiextensions.k8s.io/v1) that also knows the TypeScript type it describes.
 * Built by the functions below, so that schema and type cannot part.
 */
export interface Schema<T = unknown> {
  description?: string;
  type?: "object" | "array" | "string" | "integer" | "number" | "boolean";
  format?: string;
  properties?: Record<string, Schema>;
  additionalProperties?: Schema;
  required?: string[];
  items?: Schema;
  enum?: readonly string[];
  default?: unknown;
  pattern?: string;
  minimum?: number;
  maximum?: number;
  minLength?: number;
  maxLength?: number;
  minItems?: number;
  maxItems?: number;
  oneOf?: Schema[];
  anyOf?: Schema[];
  not?: Schema;
  "x-kubernetes-int-or-string"?: boolean;
  "x-kubernetes-preserve-unknown-fields"?: boolean;
  "x-kubernetes-list-type"?: "atomic" | "set" | "map";
  "x-kubernetes-list-map-keys"?: string[];
  "x-kubernetes-map-type"?: "atomic" | "granular";
  /** Rules in CEL; `oldSelf` makes one of transition, checked when the object is updated. */
  "x-kubernetes-validations"?: readonly { rule: string; message: string }[];
  /** Carries the type only; never set. */
  readonly shape?: T;
}

/** The type a schema describes. */
export type Infer<S> = S extends Schema<infer T> ? T : never;

type Properties = Record<string, Schema>;
type Shape<P extends Properties, R extends keyof P> = {
  [K in R]: Infer<P[K]>;
} & { [K in Exclude<keyof P, R>]?: Infer<P[K]> };
type Flat<T> = { [K in keyof T]: T[K] };

type Limits = Omit<Schema, "type" | "shape" | "properties" | "items" | "required">;

/** An object with these fields; those not required are optional. Unknown fields are pruned by the server. */
export function object<P extends Properties, R extends keyof P & string = never>(
  properties: P,
  required: readonly R[] = [],
  limits: Limits = {},
): Schema<Flat<Shape<P, R>>> {
  return {
    type: "object",
    properties,
    ...(required.length > 0 ? { required: [...required] } : {}),
    ...limits,
  };
}

/** A map from any key to values of one schema. */
export function mapOf<T>(value: Schema<T>): Schema<Record<string, T>> {
  return { type: "object", additionalProperties: value };
}

export function array<T>(items: Schema<T>, limits: Limits = {}): Schema<T[]> {
  return { type: "array", items, ...limits };
}

export function string(limits: Limits = {}): Schema<string> {
  return { type: "string", ...limits };
}

/** One of some words. */
export function oneWordOf<const W extends readonly string[]>(
  words: W,
  limits: Limits = {},
): Schema<W[number]> {
  return { type: "string", enum: words, ...limits };
}

export function boolean(limits: Limits = {}): Schema<boolean> {
  return { type: "boolean", ...limits };
}

export function integer(limits: Limits = {}): Schema<number> {
  return { type: "integer", ...limits };
}

/** 64-bit integers that JSON carries as numbers; we use none beyond 2^53. */
export function int64(limits: Limits = {}): Schema<number> {
  return integer({ format: "int64", ...limits });
}

/** A number or a string. */
export function intOrString(limits: Limits = {}): Schema<number | string> {
  // The alternatives may not be typed by "type" in a structural schema except in exactly this form.
  return { anyOf: [{ type: "integer" }, { type: "string" }], "x-kubernetes-int-or-string": true, ...limits };
}

/** An object kept as it comes. */
export function anyObject(): Schema<Record<string, unknown>> {
  return { type: "object", "x-kubernetes-preserve-unknown-fields": true };
}

/** The schema with a description, as `kubectl explain` shows it. */
export function doc<T>(description: string, schema: Schema<T>): Schema<T> {
  return { ...schema, description };
}

/** Exactly one of these fields is given: for `limits` of an object. */
export function exactlyOneOf(...fields: string[]): Pick<Schema, "oneOf"> {
  return { oneOf: fields.map(given) };
}

/** At least one of these fields is given. */
export function atLeastOneOf(...fields: string[]): Pick<Schema, "anyOf"> {
  return { anyOf: fields.map(given) };
}

/** Two fields that exclude each other. */
export function forbidTogether(one: string, other: string): Pick<Schema, "not"> {
  return { not: { properties: { [one]: {}, [other]: {} }, required: [one, other] } };
}

/** A field that keeps its first value. */
export function immutable(field: string): Pick<Schema, "x-kubernetes-validations"> {
  return { "x-kubernetes-validations": [{ rule: "self == oldSelf", message: `${field} is immutable` }] };
}

function given(field: string): Schema {
  return { properties: { [field]: {} }, required: [field] };
}
