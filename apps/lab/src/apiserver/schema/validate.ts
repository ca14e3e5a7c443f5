import { type Cause, duplicate, invalidValue, required, unsupportedValue } from "../errors.ts";
import { arrayOf, equal, isObject, type JsonObject } from "../object.ts";
import { deref } from "./builtin.ts";
import { formatError } from "./formats.ts";
import type { Schema } from "./schema.ts";
import { fieldSchema } from "./shape.ts";

/** How many violations one answer lists. */
const most = 50;

/** Every way `value` breaks the schema, with the field's path (`spec.ports[0].port`). */
export function validateSchema(value: unknown, schema: Schema, path = ""): Cause[] {
  const causes: Cause[] = [];
  check(value, schema, path, causes);
  return causes.slice(0, most);
}

function matches(value: unknown, schema: Schema): boolean {
  return validateSchema(value, schema).length === 0;
}

function check(value: unknown, given: Schema, path: string, causes: Cause[]): void {
  const schema = deref(given);
  if (causes.length >= most) return;
  if (value === null) {
    if (schema.nullable !== true && given.nullable !== true && schema.type !== undefined) {
      causes.push(typeError(path, "null", schema.type));
    }
    return;
  }
  if (!checkType(value, schema, path, causes)) return;
  if (schema.enum !== undefined && !schema.enum.some((allowed) => equal(allowed, value))) {
    causes.push(unsupportedValue(path, value, schema.enum));
  }
  if (typeof value === "string") checkString(value, schema, path, causes);
  else if (typeof value === "number") checkNumber(value, schema, path, causes);
  else if (Array.isArray(value)) checkArray(value, schema, path, causes);
  else if (isObject(value)) checkObject(value, schema, path, causes);
  checkCombinations(value, schema, path, causes);
}

function jsonType(value: unknown): string {
  if (Array.isArray(value)) return "array";
  if (typeof value === "number") return Number.isInteger(value) ? "integer" : "number";
  return typeof value;
}

function typeError(path: string, got: string, wanted: string): Cause {
  return {
    reason: "FieldValueTypeInvalid",
    message: `Invalid value: "${got}": ${path} in body must be of type ${wanted}: "${got}"`,
    field: path === "" ? "<nil>" : path,
  };
}

function checkType(value: unknown, schema: Schema, path: string, causes: Cause[]): boolean {
  const got = jsonType(value);
  if (schema["x-kubernetes-int-or-string"] === true) {
    if (got === "integer" || got === "string" || (got === "number" && schema.format === "quantity"))
      return true;
    causes.push(typeError(path, got, "integer,string"));
    return false;
  }
  if (schema.type === undefined || schema.type === got || (schema.type === "number" && got === "integer"))
    return true;
  causes.push(typeError(path, got, schema.type));
  return false;
}

const patterns = new Map<string, RegExp | undefined>();

/** The pattern as a JavaScript expression; undefined where the syntax (RE2) has no equal here. */
function compilePattern(pattern: string): RegExp | undefined {
  if (patterns.has(pattern)) return patterns.get(pattern);
  let compiled: RegExp | undefined;
  for (const attempt of [pattern, pattern.replace(/^\(\?([ims]+)\)/, "")]) {
    try {
      const flags = attempt === pattern ? "" : (/^\(\?([ims]+)\)/.exec(pattern)?.[1] ?? "");
      compiled ??= new RegExp(attempt, flags);
    } catch {
      compiled = undefined;
    }
  }
  patterns.set(pattern, compiled);
  return compiled;
}

function checkString(value: string, schema: Schema, path: string, causes: Cause[]): void {
  const bad = (why: string) => causes.push(invalidValue(path, value, `${path} in body ${why}`));
  // Lengths count characters, not UTF-16 units; the cheap test first.
  const length = schema.maxLength === undefined && schema.minLength === undefined ? 0 : [...value].length;
  if (schema.maxLength !== undefined && length > schema.maxLength) {
    causes.push({
      reason: "FieldValueTooLong",
      message: `Too long: may not be more than ${schema.maxLength} bytes`,
      field: path,
    });
  }
  if (schema.minLength !== undefined && length < schema.minLength) {
    bad(`should be at least ${schema.minLength} chars long`);
  }
  if (schema.pattern !== undefined && compilePattern(schema.pattern)?.test(value) === false) {
    bad(`should match '${schema.pattern}'`);
  }
  const why = schema.format === undefined ? undefined : formatError(schema.format, value);
  if (why !== undefined) bad(`must be of type ${schema.format}: ${JSON.stringify(value)}${why}`);
}

function checkNumber(value: number, schema: Schema, path: string, causes: Cause[]): void {
  const bad = (why: string) => causes.push(invalidValue(path, value, `${path} in body should be ${why}`));
  const { minimum, maximum, multipleOf } = schema;
  if (minimum !== undefined && (schema.exclusiveMinimum === true ? value <= minimum : value < minimum)) {
    bad(`greater than ${schema.exclusiveMinimum === true ? "" : "or equal to "}${minimum}`);
  }
  if (maximum !== undefined && (schema.exclusiveMaximum === true ? value >= maximum : value > maximum)) {
    bad(`less than ${schema.exclusiveMaximum === true ? "" : "or equal to "}${maximum}`);
  }
  if (multipleOf !== undefined && !Number.isInteger(value / multipleOf)) bad(`a multiple of ${multipleOf}`);
  if (schema.format === "int32" && (value > 0x7fffffff || value < -0x80000000)) bad("a 32-bit integer");
}

function checkArray(value: unknown[], schema: Schema, path: string, causes: Cause[]): void {
  if (schema.maxItems !== undefined && value.length > schema.maxItems) {
    causes.push({
      reason: "FieldValueTooMany",
      message: `Too many: ${value.length}: must have at most ${schema.maxItems} items`,
      field: path,
    });
  }
  if (schema.minItems !== undefined && value.length < schema.minItems) {
    causes.push(invalidValue(path, value, `${path} in body should have at least ${schema.minItems} items`));
  }
  checkUnique(value, schema, path, causes);
  if (schema.items === undefined) return;
  for (const [i, item] of value.entries()) check(item, schema.items, `${path}[${i}]`, causes);
}

function checkUnique(value: unknown[], schema: Schema, path: string, causes: Cause[]): void {
  const listType = schema["x-kubernetes-list-type"];
  const keys = schema["x-kubernetes-list-map-keys"];
  if (listType !== "set" && listType !== "map" && schema.uniqueItems !== true) return;
  const seen = new Set<string>();
  for (const [i, item] of value.entries()) {
    const identity = listType === "map" ? keyOf(item, keys ?? [], schema.items) : item;
    const text = JSON.stringify(identity);
    if (seen.has(text)) causes.push(duplicate(`${path}[${i}]`, identity));
    seen.add(text);
  }
}

function keyOf(item: unknown, keys: readonly string[], items: Schema | undefined): JsonObject {
  const key: JsonObject = {};
  const declared = items === undefined ? {} : (deref(items).properties ?? {});
  for (const name of keys) key[name] = isObject(item) ? (item[name] ?? declared[name]?.default) : undefined;
  return key;
}

function checkObject(value: JsonObject, schema: Schema, path: string, causes: Cause[]): void {
  const join = (field: string) => (path === "" ? field : `${path}.${field}`);
  for (const field of schema.required ?? []) {
    if (value[field] === undefined) causes.push(required(join(field)));
  }
  const count = Object.keys(value).length;
  if (schema.maxProperties !== undefined && count > schema.maxProperties) {
    causes.push({
      reason: "FieldValueTooMany",
      message: `Too many: ${count}: must have at most ${schema.maxProperties} items`,
      field: path,
    });
  }
  if (schema.minProperties !== undefined && count < schema.minProperties) {
    causes.push(
      invalidValue(path, value, `${path} in body should have at least ${schema.minProperties} properties`),
    );
  }
  for (const field of Object.keys(value)) {
    const inner = fieldSchema(schema, field);
    if (inner !== undefined && value[field] !== undefined) check(value[field], inner, join(field), causes);
  }
}

function checkCombinations(value: unknown, schema: Schema, path: string, causes: Cause[]): void {
  const bad = (why: string) =>
    causes.push(invalidValue(path, value, `${path === "" ? "<nil>" : path} ${why}`));
  for (const each of schema.allOf ?? []) check(value, each, path, causes);
  if (schema.anyOf !== undefined && !schema.anyOf.some((each) => matches(value, each))) {
    // With one failing branch that names fields, its words help more than "none matched".
    const details =
      schema.anyOf.length === 1
        ? arrayOf(schema.anyOf).flatMap((s) => validateSchema(value, s as Schema, path))
        : [];
    if (details.length > 0) causes.push(...details);
    else bad("must validate at least one schema (anyOf)");
  }
  if (schema.oneOf !== undefined) {
    const count = schema.oneOf.filter((each) => matches(value, each)).length;
    if (count !== 1)
      bad(`must validate one and only one schema (oneOf). Found ${count === 0 ? "none" : count} valid`);
  }
  if (schema.not !== undefined && matches(value, schema.not)) bad("must not validate the schema (not)");
}
