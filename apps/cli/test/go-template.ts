import { createHash } from "node:crypto";
import type { Scope } from "../../../deploy/source/kubernetes/index.ts";

/**
 * Renders what our chart uses of Go's templates: if, range over a mapping, end, pipelines, calls in parentheses, and
 * a dozen functions as Helm has them. Anything else throws: the templates are meant to stay this simple. It shares no
 * code with what writes them.
 */
export function renderTemplate(text: string, scope: Scope): string {
  const parts = tokens(text);
  const [result, rest] = block(parts, { ...roots(scope) });
  if (rest.length > 0) throw new Error(`unexpected {{ ${rest[0]?.text} }}`);
  return result;
}

interface Token {
  readonly kind: "text" | "action";
  readonly text: string;
}
type Names = Readonly<Record<string, unknown>>;

const roots = ({ values, namespace, appVersion }: Scope): Names => ({
  ".Values": values,
  ".Release": { Namespace: namespace },
  ".Chart": { AppVersion: appVersion },
});

function tokens(text: string): Token[] {
  const found: Token[] = [];
  let at = 0;
  for (const match of text.matchAll(/\{\{(-?)\s*(.*?)\s*\}\}/g)) {
    const before = text.slice(at, match.index);
    found.push({ kind: "text", text: match[1] === "-" ? before.trimEnd() : before });
    found.push({ kind: "action", text: match[2] ?? "" });
    at = match.index + match[0].length;
  }
  return [...found, { kind: "text", text: text.slice(at) }];
}

/** Renders up to an `end`; returns what follows. */
function block(parts: readonly Token[], names: Names): [string, readonly Token[]] {
  let out = "";
  let rest = parts;
  for (let [token] = rest; token !== undefined; [token] = rest) {
    if (token.kind === "action" && token.text === "end") return [out, rest];
    rest = rest.slice(1);
    if (token.kind === "text") out += token.text;
    else if (/^(if|range) /.test(token.text)) {
      const [inner, after] = control(token.text, rest, names);
      out += inner;
      rest = after.slice(1);
    } else out += String(evaluate(token.text, names));
  }
  return [out, rest];
}

function control(text: string, rest: readonly Token[], names: Names): [string, readonly Token[]] {
  const range = /^range \$(\w+), \$(\w+) := (.*)$/.exec(text);
  if (range === null) {
    const [inner, after] = block(rest, names);
    return [isTrue(evaluate(text.slice(3), names)) ? inner : "", after];
  }
  const [, key, value, of = ""] = range;
  const entries = Object.entries(evaluate(of, names) as Names).sort(([a], [b]) => (a < b ? -1 : 1));
  const inner = entries.map(([k, v]) => block(rest, { ...names, [`$${key}`]: k, [`$${value}`]: v })[0]);
  return [inner.join(""), block(rest, { ...names, [`$${key}`]: "", [`$${value}`]: "" })[1]];
}

function evaluate(pipeline: string, names: Names): unknown {
  let piped: unknown[] = [];
  for (const call of split(pipeline, "|")) {
    const [head = "", ...args] = split(call, " ").map((word) => word.trim());
    const given = [...args.map((word) => operand(word, names)), ...piped];
    const fn = functions[head];
    piped = [fn === undefined ? operand(head, names) : fn(...given)];
    if (fn === undefined && given.length > 0) throw new Error(`no function ${head} in: ${pipeline}`);
  }
  return piped[0];
}

function operand(word: string, names: Names): unknown {
  if (word.startsWith("(")) return evaluate(word.slice(1, -1), names);
  if (word.startsWith('"')) return JSON.parse(word);
  if (/^\d+$/.test(word)) return Number(word);
  const [root, ...path] = word.startsWith(".")
    ? [`.${word.split(".")[1]}`, ...word.split(".").slice(2)]
    : [word];
  if (root === undefined || !(root in names)) throw new Error(`${word} is nothing a template may name`);
  return path.reduce<unknown>((at, name) => {
    if (typeof at !== "object" || at === null || !(name in at)) throw new Error(`${word} has no value`);
    return (at as Names)[name];
  }, names[root]);
}

/** Splits outside of quotes and parentheses. */
function split(text: string, separator: string): string[] {
  const found: string[] = [""];
  let depth = 0;
  let isQuoted = false;
  for (const [i, c] of [...text].entries()) {
    if (c === '"' && text[i - 1] !== "\\") isQuoted = !isQuoted;
    if (!isQuoted) depth += c === "(" ? 1 : c === ")" ? -1 : 0;
    if (c === separator && depth === 0 && !isQuoted) found.push("");
    else found[found.length - 1] += c;
  }
  return found.map((part) => part.trim()).filter((part) => part !== "");
}

function isTrue(value: unknown): boolean {
  if (typeof value === "object" && value !== null) return Object.keys(value).length > 0;
  return Boolean(value);
}

/** Go writes the keys of a mapping in order. */
function sorted(of: unknown): unknown {
  if (Array.isArray(of)) return of.map(sorted);
  if (typeof of !== "object" || of === null) return of;
  const keys = Object.keys(of).sort();
  return Object.fromEntries(keys.map((key) => [key, sorted((of as Names)[key])]));
}

const functions: Readonly<Record<string, (...args: readonly unknown[]) => unknown>> = {
  sha256sum: (text) => createHash("sha256").update(String(text)).digest("hex"),
  toJson: (of: unknown) =>
    JSON.stringify(sorted(of))
      .replaceAll("<", "\\u003c")
      .replaceAll(">", "\\u003e")
      .replaceAll("&", "\\u0026"),
  toString: (of: unknown) => String(of),
  printf: (format, ...args) => {
    const rest = [...args];
    return String(format).replace(/%[v%]/g, (verb) => (verb === "%%" ? "%" : String(rest.shift())));
  },
  default: (otherwise, of) => (isTrue(of) ? of : otherwise),
  ternary: (yes, no, condition) => {
    if (typeof condition !== "boolean") throw new Error("ternary takes a boolean");
    return condition ? yes : no;
  },
  empty: (of) => !isTrue(of),
  not: (of) => !isTrue(of),
  and: (...all) => all.find((each) => !isTrue(each)) ?? all.at(-1),
};
