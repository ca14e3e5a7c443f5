import { builtinTypes } from "./builtin-types.gen.ts";
import { describe } from "./descriptions.ts";
import { atomicMaps, atomicTypes, listRules } from "./lists.ts";
import { anything, type Schema } from "./schema.ts";

/** Fields that the generated table lacks. */
const supplements: Readonly<Record<string, string>> = {
  "apiextensions.v1.JSONSchemaProps":
    "x-kubernetes-preserve-unknown-fields:b x-kubernetes-embedded-resource:b x-kubernetes-int-or-string:b " +
    "x-kubernetes-list-map-keys:[s x-kubernetes-list-type:s x-kubernetes-map-type:s x-kubernetes-validations:[*",
  // Kubernetes 1.33; a node is named as a zone is.
  "discovery.v1.EndpointHints": "forNodes:[@discovery.v1.ForZone",
};

const compiled = new Map<string, Schema>();

/** The schema of a built-in type; its fields refer to further types by `ref`. */
export function builtinSchema(name: string): Schema {
  const known = compiled.get(name);
  if (known !== undefined) return known;
  const row = builtinTypes[name];
  if (row === undefined) return anything;
  const schema = compile(name, `${row} ${supplements[name] ?? ""}`);
  compiled.set(name, schema);
  return schema;
}

/** The schema itself, or what its `ref` stands for. */
export function deref(schema: Schema): Schema {
  return schema.ref === undefined ? schema : builtinSchema(schema.ref);
}

function compile(type: string, row: string): Schema {
  const properties: Record<string, Schema> = {};
  const required: string[] = [];
  for (const word of row.split(" ")) {
    if (word === "") continue;
    const split = word.indexOf(":");
    const mandatory = word[split - 1] === "!";
    const field = word.slice(0, mandatory ? split - 1 : split);
    if (mandatory) required.push(field);
    properties[field] = fieldSchema(type, field, word.slice(split + 1));
  }
  const schema: Schema = { type: "object", description: describe(type, ""), properties };
  if (required.length > 0) schema.required = required;
  if (atomicTypes.has(type)) schema["x-kubernetes-map-type"] = "atomic";
  return schema;
}

function fieldSchema(type: string, field: string, shape: string): Schema {
  const schema = shapeSchema(shape);
  schema.description = describe(type, field);
  if (field === "creationTimestamp") schema.nullable = true;
  const rule = listRules[`${type}.${field}`];
  if (rule !== undefined) applyRule(schema, rule);
  else if (schema.type === "array") schema["x-kubernetes-list-type"] = "atomic";
  if (atomicMaps.has(`${type}.${field}`)) schema["x-kubernetes-map-type"] = "atomic";
  return schema;
}

function applyRule(schema: Schema, rule: string): void {
  for (const word of rule.split(" ")) {
    const [name, value] = word.split(":");
    if (name === "merge") {
      schema["x-kubernetes-patch-strategy"] = "merge";
      if (value !== undefined) schema["x-kubernetes-patch-merge-key"] = value;
    } else if (name !== undefined) {
      schema["x-kubernetes-list-type"] = name;
      if (value !== undefined) schema["x-kubernetes-list-map-keys"] = value.split(",");
    }
  }
}

const scalars: Readonly<Record<string, Schema>> = {
  s: { type: "string" },
  i: { type: "integer" },
  n: { type: "number" },
  b: { type: "boolean" },
  t: { type: "string", format: "date-time" },
  x: { "x-kubernetes-int-or-string": true },
  q: { "x-kubernetes-int-or-string": true, format: "quantity" },
  "*": { "x-kubernetes-preserve-unknown-fields": true },
};

function shapeSchema(shape: string): Schema {
  if (shape.startsWith("@")) return { ref: shape.slice(1) };
  if (shape.startsWith("[")) return { type: "array", items: shapeSchema(shape.slice(1)) };
  if (shape.startsWith("{")) return { type: "object", additionalProperties: shapeSchema(shape.slice(1)) };
  return { ...scalars[shape] };
}
