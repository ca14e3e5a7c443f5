import { createHash } from "node:crypto";
import type { JsonObject } from "./object.ts";
import { groupVersion, type Kinds, type ResourceType, type ResourceVersion } from "./resources/resource.ts";
import { patchTypes } from "./routes/patch.ts";
import { builtinSchema } from "./schema/builtin.ts";
import type { Schema } from "./schema/schema.ts";

/** The name under which OpenAPI documents list a built-in type. */
function componentName(ref: string): string {
  if (ref.startsWith("meta.")) return `io.k8s.apimachinery.pkg.apis.${ref}`;
  if (ref.startsWith("apiextensions.")) return `io.k8s.apiextensions-apiserver.pkg.apis.${ref}`;
  return `io.k8s.api.${ref}`;
}

function crdComponent(type: ResourceType, version: ResourceVersion): string {
  return [...type.group.split(".").reverse(), version.name, type.kind].join(".");
}

function reference(name: string): JsonObject {
  return { $ref: `#/components/schemas/${name}` };
}

/** Collects the schemas a document needs while it translates. */
class Components {
  readonly schemas: Record<string, JsonObject> = {};

  ref(name: string): JsonObject {
    const component = componentName(name);
    if (this.schemas[component] === undefined) {
      const made: JsonObject = {};
      this.schemas[component] = made;
      Object.assign(made, this.schema(builtinSchema(name)));
    }
    return reference(component);
  }

  schema(given: Schema): JsonObject {
    const { ref, properties, items, additionalProperties, format, ...rest } = given;
    const result: JsonObject = { ...rest };
    if (result["description"] === "") delete result["description"];
    if (ref !== undefined) {
      const target = this.ref(ref);
      return Object.keys(result).length === 0 ? target : { ...result, default: {}, allOf: [target] };
    }
    if (format === "quantity") return { ...result, oneOf: [{ type: "string" }, { type: "number" }] };
    if (format !== undefined) result["format"] = format;
    if (given["x-kubernetes-int-or-string"] === true && given.type === undefined) {
      result["oneOf"] = [{ type: "integer" }, { type: "string" }];
      result["format"] = "int-or-string";
    }
    if (given["x-kubernetes-preserve-unknown-fields"] === true && given.type === undefined)
      result["type"] = "object";
    if (properties !== undefined) {
      result["properties"] = Object.fromEntries(
        Object.entries(properties).map(([field, inner]) => [field, this.schema(inner)]),
      );
    }
    if (items !== undefined) result["items"] = this.schema(items);
    if (typeof additionalProperties === "boolean") result["additionalProperties"] = additionalProperties;
    else if (additionalProperties !== undefined)
      result["additionalProperties"] = this.schema(additionalProperties);
    return result;
  }

  /** The kind itself, marked so that clients find it. Returns a reference to it. */
  kind(type: ResourceType, version: ResourceVersion): JsonObject {
    const gvk = [{ group: type.group, version: version.name, kind: type.kind }];
    const { ref } = version.schema;
    if (ref !== undefined) {
      const target = this.ref(ref);
      Object.assign(this.schemas[componentName(ref)] ?? {}, { "x-kubernetes-group-version-kind": gvk });
      return target;
    }
    const name = crdComponent(type, version);
    const schema = this.schema(version.schema);
    const declared = schema["properties"] as JsonObject | undefined;
    this.schemas[name] = {
      ...schema,
      properties: {
        apiVersion: { type: "string", description: "The group and version the object is written in." },
        kind: { type: "string", description: "The kind of the object." },
        ...declared,
        metadata: {
          description: "Name, namespace, labels and other data that every object has.",
          allOf: [this.ref("meta.v1.ObjectMeta")],
        },
      },
      "x-kubernetes-group-version-kind": gvk,
    };
    return reference(name);
  }
}

function parameter(name: string, type: string, place = "query"): JsonObject {
  return {
    name,
    in: place,
    schema: { type, uniqueItems: true },
    ...(place === "path" ? { required: true } : {}),
  };
}

const writing = ["dryRun", "fieldManager", "fieldValidation"].map((name) => parameter(name, "string"));

function operation(
  action: string,
  type: ResourceType,
  version: ResourceVersion,
  schema: JsonObject,
  more: JsonObject,
): JsonObject {
  return {
    "x-kubernetes-action": action,
    "x-kubernetes-group-version-kind": { group: type.group, version: version.name, kind: type.kind },
    responses: { "200": { description: "OK", content: { "application/json": { schema } } } },
    ...more,
  };
}

function content(types: readonly string[], schema: JsonObject): JsonObject {
  return { content: Object.fromEntries(types.map((type) => [type, { schema }])), required: true };
}

function pathsOf(
  type: ResourceType,
  version: ResourceVersion,
  schema: JsonObject,
): Record<string, JsonObject> {
  const root = type.group === "" ? `/api/${version.name}` : `/apis/${type.group}/${version.name}`;
  const scope = type.namespaced ? "/namespaces/{namespace}" : "";
  const list = `${root}${scope}/${type.plural}`;
  const body = {
    requestBody: content(["application/json", "application/yaml"], schema),
    parameters: writing,
  };
  const patch = {
    requestBody: content(patchTypes(type.builtin), { type: "object" }),
    parameters: [...writing, parameter("force", "boolean")],
  };
  const op = (action: string, more: JsonObject = {}) => operation(action, type, version, schema, more);
  const place = type.namespaced ? [parameter("namespace", "string", "path")] : [];
  const paths: Record<string, JsonObject> = {
    [list]: { get: op("list"), post: op("post", body), delete: op("deletecollection"), parameters: place },
    [`${list}/{name}`]: {
      get: op("get"),
      put: op("put", body),
      patch: op("patch", patch),
      delete: op("delete", { parameters: [parameter("dryRun", "string")] }),
      parameters: [parameter("name", "string", "path"), ...place],
    },
  };
  if (type.namespaced) paths[`${root}/${type.plural}`] = { get: op("list") };
  return paths;
}

/** OpenAPI documents, made when first asked for and kept until the set of kinds changes. */
export class OpenApi {
  readonly #registry: Kinds;
  readonly #documents = new Map<string, { text: string; hash: string }>();
  #generation = 0;

  constructor(registry: Kinds) {
    this.#registry = registry;
  }

  #fresh(): void {
    if (this.#generation === this.#registry.generation) return;
    this.#generation = this.#registry.generation;
    this.#documents.clear();
  }

  /** The path of a group version below /openapi/v3: `api/v1`, `apis/apps/v1`. */
  #paths(): string[] {
    return [...this.#registry.groups()].flatMap(([group, versions]) =>
      versions.map((version) => (group === "" ? `api/${version}` : `apis/${groupVersion(group, version)}`)),
    );
  }

  /** /openapi/v3 */
  index(): JsonObject {
    const paths = this.#paths().sort();
    return {
      paths: Object.fromEntries(
        paths.map((path) => [
          path,
          { serverRelativeURL: `/openapi/v3/${path}?hash=${this.document(path)?.hash ?? ""}` },
        ]),
      ),
    };
  }

  /** /openapi/v3/<path>; undefined when no such group version is served. */
  document(path: string): { text: string; hash: string } | undefined {
    this.#fresh();
    const known = this.#documents.get(path);
    if (known !== undefined) return known;
    const [root, ...rest] = path.split("/");
    const [group, version] = root === "api" ? ["", rest[0] ?? ""] : [rest[0] ?? "", rest[1] ?? ""];
    if (!this.#paths().includes(path)) return undefined;
    const text = JSON.stringify(this.#make(group, version));
    const made = { text, hash: createHash("sha256").update(text).digest("hex").slice(0, 32).toUpperCase() };
    this.#documents.set(path, made);
    return made;
  }

  #make(group: string, name: string): JsonObject {
    const components = new Components();
    const paths: Record<string, JsonObject> = {};
    for (const type of this.#registry.all()) {
      const version = type.versions.get(name);
      if (type.group !== group || version?.served !== true) continue;
      Object.assign(paths, pathsOf(type, version, components.kind(type, version)));
    }
    const info = { title: "Axoneme lab", version: "v1.32.0" };
    return { openapi: "3.0.0", info, paths, components: { schemas: components.schemas } };
  }
}

/** A length-delimited protobuf field. */
function field(number: number, value: Buffer | string): Buffer {
  const data = Buffer.from(value);
  return Buffer.concat([Buffer.from([(number << 3) | 2, data.length]), data]);
}

/**
 * OpenAPI v2 without definitions: clients that ask for it (kubectl 1.20 before apply, only as protobuf) then skip
 * their own validation and leave it to the server, which warns about unknown fields.
 */
export const openApiV2 = {
  json: { swagger: "2.0", info: { title: "Axoneme lab", version: "v1.32.0" }, paths: {}, definitions: {} },
  protobuf: Buffer.concat([
    field(1, "2.0"),
    field(2, Buffer.concat([field(1, "Axoneme lab"), field(2, "v1.32.0")])),
    field(8, ""),
  ]),
};
