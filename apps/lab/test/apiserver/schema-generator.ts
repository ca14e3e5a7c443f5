import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

/** The objects whose types (and all they reach) go into the table: `folder.version.Type` of kubernetes-types. */
const roots = [
  ..."Pod Service Endpoints Node Namespace ConfigMap Secret ServiceAccount Event PersistentVolume PersistentVolumeClaim PodTemplate ReplicationController LimitRange ResourceQuota Binding"
    .split(" ")
    .map((kind) => `core.v1.${kind}`),
  ..."Deployment ReplicaSet StatefulSet DaemonSet ControllerRevision"
    .split(" ")
    .map((kind) => `apps.v1.${kind}`),
  "batch.v1.Job",
  "batch.v1.CronJob",
  "discovery.v1.EndpointSlice",
  ..."NetworkPolicy Ingress IngressClass".split(" ").map((kind) => `networking.v1.${kind}`),
  "coordination.v1.Lease",
  "apiextensions.v1.CustomResourceDefinition",
  "events.v1.Event",
  ..."Role RoleBinding ClusterRole ClusterRoleBinding".split(" ").map((kind) => `rbac.v1.${kind}`),
  "policy.v1.PodDisruptionBudget",
  "policy.v1.Eviction",
  "storage.v1.StorageClass",
  "storage.v1.CSIDriver",
  "storage.v1.CSINode",
  "storage.v1.VolumeAttachment",
  "scheduling.v1.PriorityClass",
  "autoscaling.v1.Scale",
  "autoscaling.v1.HorizontalPodAutoscaler",
  "authentication.v1.SelfSubjectReview",
  "authentication.v1.TokenRequest",
  "authentication.v1.TokenReview",
  "authorization.v1.SelfSubjectAccessReview",
  "authorization.v1.SelfSubjectRulesReview",
  "authorization.v1.SubjectAccessReview",
  "meta.v1.DeleteOptions",
];

const wellKnown: Record<string, string> = {
  string: "s",
  number: "i",
  boolean: "b",
  "number | string": "x",
  "meta.v1.Time": "t",
  "meta.v1.MicroTime": "t",
  "api.resource.Quantity": "q",
  "meta.v1.FieldsV1": "*",
  "runtime.RawExtension": "*",
  "apiextensions.v1.JSONSchemaPropsOrArray": "*",
  "apiextensions.v1.JSONSchemaPropsOrBool": "*",
  "apiextensions.v1.JSONSchemaPropsOrStringArray": "*",
};

/** Numbers that are not integers: only JSON schema's bounds. */
const fractional = new Set(["maximum", "minimum", "multipleOf"]);

interface SourceFile {
  imports: Map<string, string>;
  interfaces: Map<string, string[]>;
}

const base = dirname(createRequire(import.meta.url).resolve("kubernetes-types/package.json"));
const files = new Map<string, SourceFile>();

function load(module: string): SourceFile {
  const known = files.get(module);
  if (known !== undefined) return known;
  const text = readFileSync(join(base, `${module}.d.ts`), "utf8").replace(/\/\*\*[\s\S]*?\*\//g, "");
  const file: SourceFile = { imports: new Map(), interfaces: new Map() };
  for (const match of text.matchAll(/^import \{ (.+) \} from "(.+)";$/gm)) {
    for (const name of (match[1] ?? "").split(", "))
      file.imports.set(name, join(dirname(module), match[2] ?? ""));
  }
  for (const match of text.matchAll(/^export interface (\w+) \{\n([\s\S]*?)^\}/gm)) {
    const body = (match[2] ?? "").replace(/\{\s*\[name: string\]: ([^;]+);\s*\}/g, "Map<$1>");
    file.interfaces.set(match[1] ?? "", body.match(/^ +(readonly )?[$\w"-]+\??: .+;$/gm) ?? []);
  }
  files.set(module, file);
  return file;
}

/**
 * The field names and shapes of the built-in kinds, read from the kubernetes-types package, as the text of
 * `src/apiserver/schema/builtin-types.gen.ts`. Only structure is taken, no descriptions.
 */
export function generateTypes(): string {
  const table = new Map<string, string>();
  const queue = [...roots];

  const reference = (module: string, name: string): string => {
    const source = load(module).imports.get(name) ?? module;
    const full = `${source.replaceAll("/", ".")}.${name}`;
    const known = wellKnown[full];
    if (known !== undefined) return known;
    if (name === "JSON") return "*";
    queue.push(full);
    return `@${full}`;
  };
  const shape = (module: string, field: string, text: string): string => {
    if (fractional.has(field) && text === "number") return "n";
    const simple = wellKnown[text];
    if (simple !== undefined) return simple;
    if (text.startsWith('"')) return "s";
    if (text === "any") return "*";
    const wrapped = /^(Array|Map)<(.+)>$/.exec(text);
    if (wrapped !== null)
      return `${wrapped[1] === "Array" ? "[" : "{"}${shape(module, field, wrapped[2] ?? "any")}`;
    if (/^\w+$/.test(text)) return reference(module, text);
    throw new Error(`cannot read the type of ${module} ${field}: ${text}`);
  };

  for (let name = queue.pop(); name !== undefined; name = queue.pop()) {
    if (table.has(name)) continue;
    const at = name.lastIndexOf(".");
    const module = name.slice(0, at).replaceAll(".", "/");
    const fields = load(module).interfaces.get(name.slice(at + 1));
    if (fields === undefined) throw new Error(`kubernetes-types has no ${name}`);
    const encoded = fields.map((line) => {
      const match = /^ +(?:readonly )?([$\w"-]+)(\??): (.+);$/.exec(line);
      const field = (match?.[1] ?? "").replaceAll('"', "");
      return `${field}${match?.[2] === "?" ? "" : "!"}:${shape(module, field, match?.[3] ?? "any")}`;
    });
    table.set(name, encoded.join(" "));
  }
  const rows = [...table]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, row]) => `  ${JSON.stringify(name)}: ${JSON.stringify(row)},`);
  return [
    "// Generated by apps/lab/test/apiserver/schema-generator.ts from the kubernetes-types package: do not edit.",
    "// Field shapes: s string, i integer, n number, b boolean, x integer or string, q quantity, t time, * anything,",
    "// [ list of, { map of, @ reference; `!` after a name: required.",
    "",
    "export const builtinTypes: Readonly<Record<string, string>> = {",
    ...rows,
    "};",
    "",
  ].join("\n");
}
