import { AxonError } from "@axoneme/base";

/** meta/v1 LabelSelector, as objects carry it. */
export interface LabelSelectorObject {
  readonly matchLabels?: Readonly<Record<string, string>>;
  readonly matchExpressions?: readonly {
    readonly key: string;
    readonly operator: string;
    readonly values?: readonly string[];
  }[];
}

/** Gives the value of a label, or undefined where there is none. */
export type LabelLookup = (key: string) => string | undefined;

/** Whether the labels are selected. */
export type LabelPredicate = (labels: LabelLookup) => boolean;

/**
 * The selector as a function. An absent selector and an empty one select everything. Throws `selector.invalid`
 * with the expression that makes no sense.
 */
export function compileLabelSelector(selector: LabelSelectorObject | undefined): LabelPredicate {
  const terms: LabelPredicate[] = Object.entries(selector?.matchLabels ?? {}).map(
    ([key, value]) =>
      (labels) =>
        labels(key) === value,
  );
  for (const expression of selector?.matchExpressions ?? []) terms.push(compileExpression(expression));
  return (labels) => terms.every((term) => term(labels));
}

function compileExpression({
  key,
  operator,
  values = [],
}: NonNullable<LabelSelectorObject["matchExpressions"]>[number]): LabelPredicate {
  const wanted = new Set(values);
  const valued = operator === "In" || operator === "NotIn";
  if (valued !== wanted.size > 0) {
    const want = valued ? "at least one value" : "no values";
    throw new AxonError("selector.invalid", `matchExpressions on ${key}: ${operator} wants ${want}`);
  }
  switch (operator) {
    case "In":
      return (labels) => wanted.has(labels(key) ?? "") && labels(key) !== undefined;
    case "NotIn":
      return (labels) => labels(key) === undefined || !wanted.has(labels(key) ?? "");
    case "Exists":
      return (labels) => labels(key) !== undefined;
    case "DoesNotExist":
      return (labels) => labels(key) === undefined;
    default:
      throw new AxonError("selector.invalid", `matchExpressions on ${key}: unknown operator "${operator}"`);
  }
}

/** The labels of a Service with its namespace and name among them, as pools and announcements select it. */
export function serviceLabels(
  namespace: string,
  name: string,
  labels: Readonly<Record<string, string>>,
): LabelLookup {
  return (key) => {
    if (key === "io.kubernetes.service.namespace") return namespace;
    if (key === "io.kubernetes.service.name") return name;
    return Object.hasOwn(labels, key) ? labels[key] : undefined;
  };
}

/** The labels of any other object. */
export function plainLabels(labels: Readonly<Record<string, string>> | undefined): LabelLookup {
  return (key) => (labels !== undefined && Object.hasOwn(labels, key) ? labels[key] : undefined);
}
