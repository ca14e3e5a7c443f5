import { type Cause, invalidValue, required, unsupportedValue } from "../errors.ts";
import { at, isObject, type JsonObject } from "../object.ts";

const types = ["array", "boolean", "integer", "number", "object", "string"];

/** Whether a CRD's schema is structural: every field has a type, combinations add no structure. */
export function structuralCauses(schema: JsonObject, where: string): Cause[] {
  if (schema["type"] !== "object") {
    return [required(`${where}.type`, 'must be "object" at the root')];
  }
  return nodeCauses(schema, where);
}

function nodeCauses(schema: unknown, where: string): Cause[] {
  if (!isObject(schema)) return [invalidValue(where, schema, "must be a schema object")];
  const causes: Cause[] = [];
  const loose =
    schema["x-kubernetes-int-or-string"] === true || schema["x-kubernetes-preserve-unknown-fields"] === true;
  if (schema["type"] === undefined && !loose)
    causes.push(required(`${where}.type`, "must not be empty for specified object fields"));
  if (schema["type"] !== undefined && !types.includes(String(schema["type"]))) {
    causes.push(unsupportedValue(`${where}.type`, schema["type"], types));
  }
  if (schema["$ref"] !== undefined) {
    causes.push({
      reason: "FieldValueForbidden",
      message: "Forbidden: $ref is not supported",
      field: `${where}.$ref`,
    });
  }
  if (schema["properties"] !== undefined && isObject(schema["additionalProperties"])) {
    causes.push({
      reason: "FieldValueForbidden",
      message: "Forbidden: additionalProperties and properties are mutually exclusive",
      field: `${where}.additionalProperties`,
    });
  }
  if (schema["type"] === "array" && schema["items"] === undefined)
    causes.push(required(`${where}.items`, "must be specified"));
  const keys = schema["x-kubernetes-list-map-keys"];
  if (schema["x-kubernetes-list-type"] === "map" && (!Array.isArray(keys) || keys.length === 0)) {
    causes.push(
      required(`${where}.x-kubernetes-list-map-keys`, "must not be empty if x-kubernetes-list-type is map"),
    );
  }
  const properties = schema["properties"];
  for (const [field, inner] of Object.entries(isObject(properties) ? properties : {})) {
    if (where.endsWith("openAPIV3Schema") && field === "metadata" && at(inner, "type") === undefined)
      continue;
    causes.push(...nodeCauses(inner, `${where}.properties[${field}]`));
  }
  if (schema["items"] !== undefined) causes.push(...nodeCauses(schema["items"], `${where}.items`));
  if (isObject(schema["additionalProperties"])) {
    causes.push(...nodeCauses(schema["additionalProperties"], `${where}.additionalProperties`));
  }
  return causes;
}
