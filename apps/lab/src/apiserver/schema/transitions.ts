import { type Cause, invalidValue } from "../errors.ts";
import { equal, isObject } from "../object.ts";
import type { Schema } from "./schema.ts";

/**
 * Fields that may not change but did. Of the rules in CEL (`x-kubernetes-validations`) only `self == oldSelf` is
 * known here; as on Kubernetes, it is asked only where both the old and the new object have the field.
 */
export function transitionCauses(value: unknown, old: unknown, schema: Schema, path = ""): Cause[] {
  if (value === undefined || old === undefined) return [];
  const causes = (schema["x-kubernetes-validations"] ?? [])
    .filter(({ rule }) => rule === "self == oldSelf" && !equal(value, old))
    .map(({ message }) => invalidValue(path, value, message));
  if (!isObject(value) || !isObject(old)) return causes;
  for (const [field, inner] of Object.entries(schema.properties ?? {})) {
    causes.push(
      ...transitionCauses(value[field], old[field], inner, path === "" ? field : `${path}.${field}`),
    );
  }
  return causes;
}
