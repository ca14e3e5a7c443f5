import { badRequest } from "./errors.ts";
import { at, type KubeObject, objectOf } from "./object.ts";
import type { ResourceType } from "./resources/resource.ts";

/** Decides whether an object is selected. */
export type Predicate = (object: KubeObject) => boolean;

type LabelTest = (labels: Readonly<Record<string, unknown>>) => boolean;

const name = "[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?";
const key = new RegExp(`^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?${name}$`);

function labelTest(text: string, whole: string): LabelTest {
  const set = /^(\S+)\s+(in|notin)\s*\(([^)]*)\)$/.exec(text);
  const equality = /^([^=!\s]+)\s*(==|=|!=)\s*(\S*)$/.exec(text);
  const existence = /^(!?)\s*([^=!\s<>]+)$/.exec(text);
  const compared = /^(\S+?)\s*([<>])\s*(-?\d+)$/.exec(text);
  const label = set?.[1] ?? equality?.[1] ?? existence?.[2] ?? compared?.[1] ?? "";
  if (!key.test(label))
    throw badRequest(`unable to parse requirement: ${JSON.stringify(text)} in ${JSON.stringify(whole)}`);
  const value = (labels: Readonly<Record<string, unknown>>) =>
    Object.hasOwn(labels, label) ? labels[label] : undefined;
  if (set !== null) {
    const values = new Set((set[3] ?? "").split(",").map((each) => each.trim()));
    return set[2] === "in"
      ? (labels) => values.has(value(labels) as string)
      : (labels) => !values.has(value(labels) as string);
  }
  if (equality !== null) {
    const wanted = equality[3] ?? "";
    return equality[2] === "!=" ? (labels) => value(labels) !== wanted : (labels) => value(labels) === wanted;
  }
  if (compared !== null) {
    const bound = Number(compared[3]);
    return (labels) => {
      const number = value(labels) === undefined ? Number.NaN : Number(value(labels));
      return compared[2] === "<" ? number < bound : number > bound;
    };
  }
  return existence?.[1] === "!"
    ? (labels) => value(labels) === undefined
    : (labels) => value(labels) !== undefined;
}

/** Parses `a=b,c!=d,e in (f,g),!h,i`. Throws 400 on bad syntax. */
export function labelSelector(text: string): Predicate | undefined {
  if (text.trim() === "") return undefined;
  const tests = splitOutsideBrackets(text).map((part) => labelTest(part.trim(), text));
  return (object) => {
    const labels = objectOf(object.metadata.labels);
    return tests.every((test) => test(labels));
  };
}

function splitOutsideBrackets(text: string): string[] {
  return text.split(/,(?![^(]*\))/);
}

/** A LabelSelector object (matchLabels, matchExpressions) as a test of labels; empty selects everything. */
export function matchesLabels(selector: unknown, labels: Readonly<Record<string, unknown>>): boolean {
  for (const [label, value] of Object.entries(objectOf(at(selector, "matchLabels")))) {
    if (labels[label] !== value) return false;
  }
  const expressions = at(selector, "matchExpressions");
  for (const each of Array.isArray(expressions) ? expressions : []) {
    const { key: label, operator, values } = objectOf(each);
    const value = labels[String(label)];
    const listed = Array.isArray(values) && values.includes(value);
    if (operator === "In" && !listed) return false;
    if (operator === "NotIn" && listed) return false;
    if (operator === "Exists" && value === undefined) return false;
    if (operator === "DoesNotExist" && value !== undefined) return false;
  }
  return true;
}

/** Fields that can be selected on besides metadata.name and metadata.namespace, by `group/plural`. */
const selectable: Readonly<Record<string, readonly string[]>> = {
  "/pods": [
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "spec.hostNetwork",
    "status.phase",
    "status.podIP",
    "status.podIPs",
    "status.nominatedNodeName",
  ],
  "/events": [
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
  ],
  "events.k8s.io/events": [
    "regarding.kind",
    "regarding.namespace",
    "regarding.name",
    "regarding.uid",
    "reason",
    "reportingController",
    "type",
  ],
  "/nodes": ["spec.unschedulable"],
  "/namespaces": ["status.phase"],
  "/secrets": ["type"],
  "/services": ["spec.clusterIP", "spec.type"],
  "/replicationcontrollers": ["status.replicas"],
  "apps/replicasets": ["status.replicas"],
  "batch/jobs": ["status.successful"],
};

/** How to read a selectable field; made once per selector, since it runs for every object. */
function fieldReader(field: string): (object: KubeObject) => string {
  if (field === "status.podIPs") {
    return (object) => {
      const ips = at(object, "status", "podIPs");
      return Array.isArray(ips) ? ips.map((each) => String(at(each, "ip"))).join(",") : "";
    };
  }
  if (field === "source") {
    return (object) => String(at(object, "source", "component") ?? at(object, "reportingComponent") ?? "");
  }
  const path = field.split(".");
  const absent = field === "spec.unschedulable" || field === "spec.hostNetwork" ? "false" : "";
  return (object) => {
    const value = at(object, ...path);
    return value === undefined || value === null ? absent : String(value);
  };
}

/** Parses `metadata.name=x,spec.nodeName!=y`. Throws 400 on a field that cannot be selected on. */
export function fieldSelector(text: string, type: ResourceType): Predicate | undefined {
  if (text.trim() === "") return undefined;
  const extra = selectable[`${type.group}/${type.plural}`] ?? [];
  const tests = text.split(/(?<!\\),/).map((part) => {
    const match = /^([^=!]+)(==|=|!=)(.*)$/.exec(part.trim());
    if (match === null) throw badRequest(`invalid selector: '${text}'; can't understand '${part}'`);
    const field = (match[1] ?? "").trim();
    const wanted = (match[3] ?? "").replace(/\\([,=\\])/g, "$1");
    const known =
      field === "metadata.name" ||
      (field === "metadata.namespace" && type.namespaced) ||
      extra.includes(field);
    if (!known) {
      throw badRequest(
        `Unable to find "${type.plural}" that match label selector "", field selector "${text}": field label not supported: ${field}`,
      );
    }
    const negated = match[2] === "!=";
    const read = fieldReader(field);
    return (object: KubeObject) => (read(object) === wanted) !== negated;
  });
  return (object) => tests.every((test) => test(object));
}

/** Both must hold; undefined when there is neither. */
export function both(a: Predicate | undefined, b: Predicate | undefined): Predicate | undefined {
  if (a === undefined || b === undefined) return a ?? b;
  return (object) => a(object) && b(object);
}

/** The text form of a LabelSelector, as `status.selector` of a Scale shows it. */
export function selectorText(selector: unknown): string {
  const labels = at(selector, "matchLabels");
  const parts = Object.entries(
    objectOf(labels ?? (at(selector, "matchExpressions") === undefined ? selector : {})),
  ).map(([label, value]) => `${label}=${String(value)}`);
  const expressions = at(selector, "matchExpressions");
  for (const each of Array.isArray(expressions) ? expressions : []) {
    const { key: label, operator, values } = objectOf(each);
    const list = Array.isArray(values) ? values.join(",") : "";
    if (operator === "In") parts.push(`${String(label)} in (${list})`);
    if (operator === "NotIn") parts.push(`${String(label)} notin (${list})`);
    if (operator === "Exists") parts.push(String(label));
    if (operator === "DoesNotExist") parts.push(`!${String(label)}`);
  }
  return parts.join(",");
}
