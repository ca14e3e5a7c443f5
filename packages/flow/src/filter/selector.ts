import { AxonError } from "@axoneme/base";

/** One requirement of a label selector. */
interface Requirement {
  source: string;
  key: string;
  operator: "in" | "notin" | "exists" | "absent";
  values: readonly string[];
}

const sourcePrefix = /^(k8s|reserved|cidr|cidrgroup|any|container|unspec|fqdn|node|cni|unmanaged):/;

function fail(selector: string, why: string): never {
  throw new AxonError(
    "flow.selector_invalid",
    `label selector "${selector}" ${why} (as: k8s:app=web,tier in (a,b))`,
  );
}

/** Splits at commas outside parentheses. */
function splitRequirements(selector: string): string[] {
  const parts = selector.split(/,(?![^(]*\))/).map((part) => part.trim());
  if (parts.some((part) => part === "")) fail(selector, "has an empty requirement");
  return parts;
}

function parseKey(selector: string, text: string): { source: string; key: string } {
  const source = sourcePrefix.exec(text)?.[1] ?? "any";
  const key = text.slice(sourcePrefix.exec(text)?.[0].length ?? 0);
  if (!/^[A-Za-z0-9./_:[\]-]+$/.test(key)) fail(selector, `has the bad key "${text}"`);
  return { source, key };
}

const setBased = /^(\S+)\s+(in|notin)\s*\(([^()]*)\)$/;
const equality = /^([^\s=!]+)\s*(==|=|!=)\s*([^\s=!]*)$/;

function parseRequirement(selector: string, text: string): Requirement {
  const set = setBased.exec(text);
  if (set !== null) {
    const values = (set[3] ?? "").split(",").map((value) => value.trim());
    return { ...parseKey(selector, set[1] ?? ""), operator: set[2] === "in" ? "in" : "notin", values };
  }
  const equal = equality.exec(text);
  if (equal !== null) {
    const operator = equal[2] === "!=" ? "notin" : "in";
    return { ...parseKey(selector, equal[1] ?? ""), operator, values: [equal[3] ?? ""] };
  }
  if (text.startsWith("!"))
    return { ...parseKey(selector, text.slice(1).trim()), operator: "absent", values: [] };
  return { ...parseKey(selector, text), operator: "exists", values: [] };
}

/** Value of the label if `label` (`source:key=value`) has the requirement's key; undefined otherwise. */
function labelValue(label: string, requirement: Requirement): string | undefined {
  const colon = label.search(/[:=]/);
  const sourced = colon >= 0 && label[colon] === ":";
  const source = sourced ? label.slice(0, colon) : "";
  if (requirement.source !== "any" && requirement.source !== source) return undefined;
  const rest = sourced ? label.slice(colon + 1) : label;
  const equal = rest.indexOf("=");
  const key = equal < 0 ? rest : rest.slice(0, equal);
  if (key !== requirement.key) return undefined;
  return equal < 0 ? "" : rest.slice(equal + 1);
}

function satisfies(labels: readonly string[], requirement: Requirement): boolean {
  const values: string[] = [];
  for (const label of labels) {
    const value = labelValue(label, requirement);
    if (value !== undefined) values.push(value);
  }
  switch (requirement.operator) {
    case "exists":
      return values.length > 0;
    case "absent":
      return values.length === 0;
    case "in":
      return values.some((value) => requirement.values.includes(value));
    case "notin":
      return !values.some((value) => requirement.values.includes(value));
  }
}

/**
 * Compiles a Kubernetes label selector, whose keys may carry a label source (`k8s:app`, `reserved:host`; any source
 * when absent), to a test on labels of the form `source:key=value`.
 * @throws AxonError `flow.selector_invalid`
 */
export function compileSelector(selector: string): (labels: readonly string[]) => boolean {
  if (selector.trim() === "") fail(selector, "is empty");
  const requirements = splitRequirements(selector).map((part) => parseRequirement(selector, part));
  return (labels) => requirements.every((requirement) => satisfies(labels, requirement));
}
