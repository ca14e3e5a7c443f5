import { arrayOf, at, isObject, type KubeObject, objectOf, stringOf } from "../object.ts";
import { anything, type Schema } from "../schema/schema.ts";
import type { Kinds, PrinterColumn, ResourceType, ResourceVersion, ScalePaths } from "./resource.ts";

/** Why the names of a definition cannot be accepted; undefined when they can. */
export function crdConflict(crd: KubeObject, registry: Kinds): string | undefined {
  const group = stringOf(at(crd, "spec", "group"));
  const names = objectOf(at(crd, "spec", "names"));
  for (const type of registry.all()) {
    if (type.group !== group) continue;
    const same = type.plural === names["plural"];
    if (same && type.builtin) return `${JSON.stringify(names["plural"])} is already in use`;
    if (!same && type.kind === names["kind"]) return `${JSON.stringify(names["kind"])} is already in use`;
  }
  return undefined;
}

function version(definition: unknown): ResourceVersion {
  const schema = at(definition, "schema", "openAPIV3Schema");
  const subresources = objectOf(at(definition, "subresources"));
  const scale = subresources["scale"];
  return {
    name: stringOf(at(definition, "name")),
    served: at(definition, "served") === true,
    schema: isObject(schema) ? (schema as Schema) : anything,
    columns: arrayOf(at(definition, "additionalPrinterColumns")) as PrinterColumn[],
    status: subresources["status"] !== undefined,
    ...(isObject(scale) ? { scale: scale as unknown as ScalePaths } : {}),
  };
}

/** Makes the kind of an established definition known to the server. */
export function registerCrd(crd: KubeObject, registry: Kinds): void {
  const spec = objectOf(crd["spec"]);
  const names = objectOf(spec["names"]);
  const established = arrayOf(at(crd, "status", "conditions")).some(
    (each) => at(each, "type") === "Established" && at(each, "status") === "True",
  );
  if (!established) return;
  const definitions = arrayOf(spec["versions"]);
  const storing = definitions.find((each) => at(each, "storage") === true);
  const type: ResourceType = {
    group: stringOf(spec["group"]),
    plural: stringOf(names["plural"]),
    singular: stringOf(names["singular"]),
    kind: stringOf(names["kind"]),
    listKind: stringOf(names["listKind"]),
    namespaced: spec["scope"] === "Namespaced",
    shortNames: arrayOf(names["shortNames"]) as string[],
    categories: arrayOf(names["categories"]) as string[],
    versions: new Map(definitions.map((each) => [stringOf(at(each, "name")), version(each)])),
    storageVersion: stringOf(at(storing, "name")),
    builtin: false,
    counted: true,
    extras: [],
    strategy: {},
  };
  registry.set(type);
}

export function unregisterCrd(crd: KubeObject, registry: Kinds): void {
  const group = stringOf(at(crd, "spec", "group"));
  const plural = stringOf(at(crd, "spec", "names", "plural"));
  if (registry.get(group, plural)?.builtin === false) registry.delete(group, plural);
}
