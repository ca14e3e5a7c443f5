import { createHash } from "node:crypto";

/**
 * Values that are not known when the objects are written down: each knows the Go template that Helm computes it by, and
 * computes it itself where there is no Helm. The objects stand in the source once; both ways read them.
 */

/** What a rendering is told from outside. */
export interface Scope {
  readonly values: Readonly<Record<string, unknown>>;
  readonly namespace: string;
  /** The version of the chart, and of the images as a rule. */
  readonly appVersion: string;
}

/** A value that is computed from values. */
export class Marked<T = unknown> {
  /** A Go template pipeline without its braces. */
  readonly template: string;
  readonly of: (scope: Scope) => T;

  constructor(template: string, of: (scope: Scope) => T) {
    this.template = template;
    this.of = of;
  }
}

/** A part of an object that is there only under a condition. */
export class When {
  readonly condition: Marked;
  readonly node: Node;

  constructor(condition: Marked, node: Node) {
    this.condition = condition;
    this.node = node;
  }
}

/** Further entries of a mapping, from a value that is a mapping; everything in it as text. */
export class Entries {
  readonly path: string;

  constructor(path: string) {
    this.path = path;
  }
}

/** An object of Kubernetes, or a part of one. */
export type Node =
  | string
  | number
  | boolean
  | null
  | Marked
  | When
  | readonly Node[]
  | { readonly [key: string]: Node | Entries };

/** Go's idea of what counts as nothing. */
export function isEmpty(value: unknown): boolean {
  if (value === undefined || value === null || value === false || value === "" || value === 0) return true;
  if (Array.isArray(value)) return value.length === 0;
  return typeof value === "object" && Object.keys(value).length === 0;
}

/** The value at a path of names, dots between them. */
export function lookUp(values: unknown, path: string): unknown {
  return path
    .split(".")
    .reduce<unknown>((at, name) => (at as Record<string, unknown> | undefined)?.[name], values);
}

const operand = ({ template }: Marked): string => (template.includes(" ") ? `(${template})` : template);
const literal = (text: string): string => JSON.stringify(text);

/** The value as it is. */
export function value(path: string): Marked {
  return new Marked(`.Values.${path}`, ({ values }) => lookUp(values, path));
}

/** Where everything is installed. */
export const namespace = new Marked(".Release.Namespace", (scope) => scope.namespace);
/** The version that is installed. */
export const appVersion = new Marked(".Chart.AppVersion", (scope) => scope.appVersion);

/** Texts and values, one after another. */
export function text(...parts: readonly (string | Marked)[]): Marked<string> {
  const format = parts.map((part) => (typeof part === "string" ? part.replaceAll("%", "%%") : "%v")).join("");
  const marked = parts.filter((part) => part instanceof Marked);
  return new Marked(`printf ${literal(format)} ${marked.map(operand).join(" ")}`, (scope) =>
    parts.map((part) => (typeof part === "string" ? part : String(part.of(scope)))).join(""),
  );
}

/** The value as text: what ConfigMaps hold. */
export function asText(of: Marked): Marked<string> {
  return new Marked(`${of.template} | toString`, (scope) => String(of.of(scope)));
}

/** The value as JSON, in a text. */
export function asJson(of: Marked): Marked<string> {
  return new Marked(`${of.template} | toJson`, (scope) => goJson(of.of(scope)));
}

/** A digest of all values: what carries it is another one as soon as one of them is. */
export const digest = new Marked(".Values | toJson | sha256sum", ({ values }) =>
  createHash("sha256").update(goJson(values)).digest("hex"),
);

/** What Go's encoder makes of a value: keys in order, and three characters as escapes. */
export function goJson(of: unknown): string {
  const inOrder = (_key: string, value: unknown): unknown =>
    typeof value === "object" && value !== null && !Array.isArray(value)
      ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
      : value;
  return JSON.stringify(of, inOrder).replace(/[<>&]/g, (c) => `\\u00${c.charCodeAt(0).toString(16)}`);
}

/** The first of two that is not empty. */
export function either(first: Marked, second: Marked | string): Marked {
  const other = typeof second === "string" ? literal(second) : operand(second);
  return new Marked(`${first.template} | default ${other}`, (scope) => {
    const chosen = first.of(scope);
    if (!isEmpty(chosen)) return chosen;
    return typeof second === "string" ? second : second.of(scope);
  });
}

/** One of two texts. */
export function choose(condition: Marked, then: string, otherwise: string): Marked<string> {
  return new Marked(`ternary ${literal(then)} ${literal(otherwise)} ${operand(condition)}`, (scope) =>
    isEmpty(condition.of(scope)) ? otherwise : then,
  );
}

export function not(of: Marked): Marked<boolean> {
  return new Marked(`not ${operand(of)}`, (scope) => isEmpty(of.of(scope)));
}

export function all(...of: readonly Marked[]): Marked<boolean> {
  return new Marked(`and ${of.map(operand).join(" ")}`, (scope) =>
    of.every((each) => !isEmpty(each.of(scope))),
  );
}

/** The node, if the condition holds. */
export function when(condition: Marked, node: Node): When {
  return new When(condition, node);
}
