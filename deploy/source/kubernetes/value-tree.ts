import { configKey, type Option, type OptionSet } from "@axoneme/app";
import { asJson, asText, lookUp, type Marked, value } from "./marks.ts";

/** A JSON schema, as far as values need it. */
export type Schema = Readonly<Record<string, unknown>>;

/** The programs that have a ConfigMap. */
export type Program = "agent" | "operator" | "relay" | "dnsproxy";

/** One value of the chart. */
export interface Leaf {
  readonly default: unknown;
  readonly doc: string;
  readonly schema: Schema;
  /** Options of programs that it sets. */
  readonly sets: readonly { readonly program: Program; readonly key: string }[];
}

/** Values by name, a level a dot. */
export interface Tree {
  readonly [name: string]: Leaf | Tree;
}

const duration = "^([0-9]+(\\.[0-9]+)?(ms|[smhd]))+$";

/** What values of an option may be, where they are YAML. */
function schemaOf(option: Option<unknown>): Schema {
  const { default: sample, oneOf, each, min, max, unit } = option;
  if (Array.isArray(sample)) return { type: "array", items: { type: "string", ...(each && { enum: each }) } };
  if (oneOf !== undefined) return { enum: oneOf };
  if (typeof sample !== "number") return { type: typeof sample };
  const limits = { ...(min !== undefined && { minimum: min }), ...(max !== undefined && { maximum: max }) };
  const number = { type: "integer", ...limits };
  return unit === undefined ? number : { anyOf: [number, { type: "string", pattern: duration }] };
}

/** A value that is an option of programs; its description, bounds and default are the option's. */
export function option(
  sets: readonly { program: Program; options: OptionSet; name: string }[],
  over: { readonly default?: unknown; readonly schema?: Schema } = {},
): Leaf {
  const described = sets.map(({ program, options, name }) => {
    const found = options[name];
    if (found === undefined) throw new Error(`the ${program} has no option ${name}`);
    return { program, key: configKey(name, found), found };
  });
  const first = described[0]?.found;
  if (first === undefined) throw new Error("no option");
  return {
    default: over.default ?? first.default,
    doc: first.doc,
    schema: over.schema ?? schemaOf(first),
    sets: described.map(({ program, key }) => ({ program, key })),
  };
}

/** A value of the chart itself. */
export function leaf(standard: unknown, doc: string, schema: Schema): Leaf {
  return { default: standard, doc, schema, sets: [] };
}

export function isLeaf(node: Leaf | Tree): node is Leaf {
  return Array.isArray(node["sets"]);
}

/** Every leaf with its path. */
export function leavesOf(tree: Tree, prefix = ""): (readonly [string, Leaf])[] {
  return Object.entries(tree).flatMap(([name, node]) => {
    const path = prefix === "" ? name : `${prefix}.${name}`;
    return isLeaf(node) ? [[path, node] as const] : leavesOf(node, path);
  });
}

/** The ConfigMap entries that values set. */
export function configEntries(tree: Tree, program: Program): Record<string, Marked<string>> {
  const entries = leavesOf(tree).flatMap(([path, { default: sample, sets }]) =>
    sets
      .filter((set) => set.program === program)
      .map(({ key }) => [key, Array.isArray(sample) ? asJson(value(path)) : asText(value(path))] as const),
  );
  return Object.fromEntries(entries);
}

/** The values as they are when nobody says otherwise. */
export function defaultsOf(tree: Tree): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(tree).map(([name, node]) => [name, isLeaf(node) ? node.default : defaultsOf(node)]),
  );
}

/** The schema of the values; unknown names are refused, so that a misspelt one is not silently nothing. */
export function schemaOfTree(tree: Tree): Schema {
  return {
    type: "object",
    additionalProperties: false,
    properties: Object.fromEntries(
      Object.entries(tree).map(([name, node]) => [
        name,
        isLeaf(node) ? { description: node.doc, ...node.schema } : schemaOfTree(node),
      ]),
    ),
  };
}

/** values.yaml: each value under its description. */
export function valuesYaml(tree: Tree, level = 0): string {
  const at = "  ".repeat(level);
  return Object.entries(tree)
    .map(([name, node]) =>
      isLeaf(node)
        ? `${at}# ${node.doc}${choices(node)}\n${at}${name}: ${JSON.stringify(node.default)}\n`
        : `${at}${name}:\n${valuesYaml(node, level + 1)}`,
    )
    .join("");
}

function choices({ schema }: Leaf): string {
  return Array.isArray(schema["enum"]) ? ` (${schema["enum"].join(", ")})` : "";
}

/** Values over the defaults; mappings are merged, everything else is replaced, as Helm does it. */
export function merge(
  under: Readonly<Record<string, unknown>>,
  over: Readonly<Record<string, unknown>>,
): Record<string, unknown> {
  const merged: Record<string, unknown> = { ...under };
  for (const [name, given] of Object.entries(over)) {
    const before = lookUp(under, name);
    if (given === null) delete merged[name];
    else merged[name] = isMapping(before) && isMapping(given) ? merge(before, given) : given;
  }
  return merged;
}

function isMapping(of: unknown): of is Record<string, unknown> {
  return typeof of === "object" && of !== null && !Array.isArray(of);
}
