import { labelSources, splitKey } from "@axoneme/identity";
import type { Problem } from "./rule.ts";
import type { Requirement, Selector } from "./selector.ts";

/** An object of the API whose fields have not been looked at yet. */
export type Raw = { readonly [field: string]: unknown };

/** Collects problems while an object is read. */
export class Reader {
  readonly problems: Problem[] = [];

  invalid(path: string, message: string): undefined {
    this.problems.push({ severity: "invalid", path, message });
    return undefined;
  }

  unsupported(path: string, message: string): undefined {
    this.problems.push({ severity: "unsupported", path, message });
    return undefined;
  }

  warn(path: string, message: string): void {
    this.problems.push({ severity: "warning", path, message });
  }

  /** The object at `path`, or undefined with a problem. */
  object(value: unknown, path: string): Raw | undefined {
    if (isObject(value)) return value;
    return this.invalid(path, "is not an object");
  }

  /** A list: absent (or null) = undefined; anything but a list = a problem and an empty list. */
  list(raw: Raw, field: string, path: string): readonly unknown[] | undefined {
    const value = raw[field];
    if (value === undefined || value === null) return undefined;
    if (Array.isArray(value)) return value;
    this.invalid(`${path}.${field}`, "is not a list");
    return [];
  }

  /** A list that narrows something: absent = empty; anything but a list = undefined, with a problem. */
  items(raw: Raw, field: string, path: string): readonly unknown[] | undefined {
    const list = this.list(raw, field, path);
    return list === undefined || Array.isArray(raw[field]) ? (list ?? []) : undefined;
  }

  /** Whether a field says something: generators write empty text for what they leave out. */
  given(raw: Raw, field: string): boolean {
    return raw[field] !== undefined && raw[field] !== null && raw[field] !== "";
  }

  /** Names every field that is not in `known`. False when there was one: the part is not understood. */
  only(raw: Raw, known: ReadonlySet<string>, path: string): boolean {
    const foreign = Object.keys(raw).filter((field) => !known.has(field) && raw[field] !== undefined);
    for (const field of foreign) this.unsupported(`${path}.${field}`, "this field is not known");
    return foreign.length === 0;
  }

  /**
   * A Kubernetes label selector. With `source`, every key is of that source; without, keys may carry one
   * (`k8s:app`) and are of source `any` otherwise. Undefined when it is not understood.
   */
  selector(value: unknown, path: string, source?: "k8s" | "node"): Selector | undefined {
    const raw = this.object(value, path);
    if (raw === undefined || !this.only(raw, SELECTOR_FIELDS, path)) return undefined;
    const requirements: Requirement[] = [];
    const labels = raw["matchLabels"] ?? {};
    if (!isObject(labels)) return this.invalid(`${path}.matchLabels`, "is not a map of labels");
    for (const [text, wanted] of Object.entries(labels)) {
      if (typeof wanted !== "string") return this.invalid(`${path}.matchLabels.${text}`, "is not a string");
      requirements.push({ ...keyOf(text, source), op: "In", values: [wanted] });
    }
    const expressions = this.items(raw, "matchExpressions", path);
    if (expressions === undefined) return undefined;
    for (const [i, expression] of expressions.entries()) {
      const requirement = this.#expression(expression, `${path}.matchExpressions[${i}]`, source);
      if (requirement === undefined) return undefined;
      requirements.push(requirement);
    }
    return { requirements };
  }

  #expression(value: unknown, path: string, source: "k8s" | "node" | undefined): Requirement | undefined {
    const raw = this.object(value, path);
    if (raw === undefined) return undefined;
    const { key, operator } = raw;
    const values = this.list(raw, "values", path) ?? [];
    if (typeof key !== "string" || key === "") return this.invalid(`${path}.key`, "is not a label key");
    if (!isOperator(operator))
      return this.invalid(`${path}.operator`, `"${String(operator)}" is not an operator`);
    const texts = values.filter((item) => typeof item === "string");
    if (texts.length !== values.length)
      return this.invalid(`${path}.values`, "holds something else than strings");
    const wantsValues = operator === "In" || operator === "NotIn";
    if (wantsValues !== texts.length > 0) {
      return this.invalid(`${path}.values`, `${operator} ${wantsValues ? "needs" : "takes no"} values`);
    }
    return { ...keyOf(key, source), op: operator, values: texts };
  }
}

const SELECTOR_FIELDS: ReadonlySet<string> = new Set(["matchLabels", "matchExpressions"]);
const OPERATORS: ReadonlySet<unknown> = new Set(["In", "NotIn", "Exists", "DoesNotExist"]);

function isOperator(value: unknown): value is Requirement["op"] {
  return OPERATORS.has(value);
}

function keyOf(text: string, source: "k8s" | "node" | undefined): Pick<Requirement, "source" | "key"> {
  if (source !== undefined) return { source, key: text };
  return splitKey(text, labelSources[0]);
}

/** Whether a value is an object and no list. */
export function isObject(value: unknown): value is Raw {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A non-empty string, or undefined. */
export function text(value: unknown): string | undefined {
  return typeof value === "string" && value !== "" ? value : undefined;
}

/** Whether a value is the number of a port. */
export function isPort(value: unknown): value is number {
  return typeof value === "number" && Number.isInteger(value) && value >= 1 && value <= 65_535;
}
