import { readFileSync } from "node:fs";
import { nearest, resolveLayers, textLayer } from "@axoneme/app";
import { errorText } from "@axoneme/base";
import { Ajv, type ErrorObject } from "ajv";
import { load } from "js-yaml";
import {
  defaultsOf,
  merge,
  names,
  objects,
  type Scope,
  schemaOfTree,
  valueTree,
} from "../../../../deploy/source/kubernetes/index.ts";
import { refuseContradictions } from "../../../agent/src/config/contradictions.ts";
import { agentOptions } from "../../../agent/src/options.ts";
import { usageError } from "../errors.ts";

export type Values = Readonly<Record<string, unknown>>;

/** What a command line says of values: files, later ones over earlier ones, and single values over them. */
export interface GivenValues {
  readonly values?: readonly string[];
  readonly set?: readonly string[];
}

/**
 * The values a user gave, over those given before.
 * @throws CliError usage: which file or value cannot be read
 */
export function givenValues({ values: files = [], set = [] }: GivenValues, before: Values = {}): Values {
  return [...files.map(fromFile), ...set.map(fromAssignment)].reduce(merge, before);
}

function fromFile(path: string): Values {
  let content: unknown;
  try {
    content = load(readFileSync(path === "-" ? 0 : path, "utf8")) ?? {};
  } catch (error) {
    throw usageError(`the values of ${path} cannot be read: ${errorText(error)}`);
  }
  if (typeof content !== "object" || Array.isArray(content))
    throw usageError(`${path} is no mapping of values`);
  return content as Values;
}

/** `a.b=value`; the value is YAML, or {a,b} for a list as Helm has it; `\.` is a dot within a name. */
function fromAssignment(text: string): Values {
  const equals = text.indexOf("=");
  if (equals <= 0) throw usageError(`--set ${text} is not PATH=VALUE`, "as --set hubble.relay.enabled=true");
  const path = text.slice(0, equals).split(/(?<!\\)\./);
  const given = text.slice(equals + 1);
  const list = /^\{(.*)\}$/.exec(given)?.[1];
  const value = list === undefined ? load(given) : list.split(",").filter((word) => word !== "");
  return path
    .map((name) => name.replaceAll("\\.", "."))
    .reduceRight<unknown>((inner, name) => ({ [name]: inner }), value ?? "") as Values;
}

/**
 * What an installation is rendered from.
 * @throws CliError usage, naming every value that is unknown, of the wrong kind, or contradicts another
 */
export function checkedScope(given: Values, namespace: string, version: string): Scope {
  const scope = { values: merge(defaultsOf(valueTree), given), namespace, appVersion: version };
  const validate = new Ajv({ strict: false, allErrors: true }).compile(schemaOfTree(valueTree));
  if (!validate(scope.values)) {
    const said = (validate.errors ?? []).map(sentence);
    throw usageError(`the values are refused: ${[...new Set(said)].join("; ")}`, "see axon install --help");
  }
  checkOptions(scope);
  return scope;
}

/** What agents would refuse at their start is refused here. */
function checkOptions(scope: Scope): void {
  const map = objects(scope).find(({ metadata }) => metadata.name === names.agentConfig);
  const texts = map?.["data"] as Readonly<Record<string, string>>;
  try {
    refuseContradictions(resolveLayers(agentOptions, [textLayer(agentOptions, "", texts)]).values);
  } catch (error) {
    throw usageError(errorText(error));
  }
}

function sentence({ instancePath, keyword, params, message }: ErrorObject): string {
  const path = instancePath.slice(1).replaceAll("/", ".");
  if (keyword === "additionalProperties") {
    const name = String(params["additionalProperty"]);
    const known = Object.keys(at(valueTree, path) ?? {});
    const meant = nearest(name, known);
    const full = path === "" ? name : `${path}.${name}`;
    return `there is no value ${full}${meant === undefined ? "" : ` (is ${meant} meant?)`}`;
  }
  if (keyword === "propertyNames") return `${path}: "${params["propertyName"]}" is no option`;
  const allowed = Array.isArray(params["allowedValues"]) ? `: ${params["allowedValues"].join(", ")}` : "";
  return `${path} ${message}${allowed}`;
}

function at(tree: unknown, path: string): object | undefined {
  const names_ = path === "" ? [] : path.split(".");
  return names_.reduce<unknown>((inner, name) => (inner as Values | undefined)?.[name], tree) as
    | object
    | undefined;
}
