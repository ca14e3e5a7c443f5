import { Entries, Marked, type Node, When } from "./marks.ts";

const indent = (level: number): string => "  ".repeat(level);

/**
 * A node as a Helm template: YAML whose marked values are expressions, all of them printed as JSON, which YAML includes,
 * so that no value can break the text around it.
 */
export function template(node: Node): string {
  if (node instanceof When) return `{{- if ${node.condition.template} }}\n${template(node.node)}{{- end }}\n`;
  return `${lines(node, 0).join("\n")}\n`;
}

function lines(node: Node, level: number): string[] {
  if (isMapping(node)) return Object.entries(node).flatMap(([key, child]) => entry(key, child, level));
  if (Array.isArray(node)) return node.flatMap((child: Node) => item(child, level));
  return [`${indent(level)}${inline(node)}`];
}

function entry(key: string, child: Node | Entries, level: number): string[] {
  const at = indent(level);
  if (child instanceof Entries) return entries(child, at);
  if (child instanceof When) return conditional(child, (then) => entry(key, then, level));
  if (!isNested(child)) return [`${at}${keyText(key)}: ${inline(child)}`];
  someUnconditional(child, key);
  return [`${at}${keyText(key)}:`, ...lines(child, level + 1)];
}

function entries({ path }: Entries, at: string): string[] {
  const line = `${at}{{ $key | toJson }}: {{ $value | toString | toJson }}`;
  return [`{{- range $key, $value := .Values.${path} }}`, line, "{{- end }}"];
}

function item(child: Node, level: number): string[] {
  const at = indent(level);
  if (child instanceof When) return conditional(child, (then) => item(then, level));
  if (!isNested(child)) return [`${at}- ${inline(child)}`];
  const [first = "", ...rest] = lines(child, level + 1);
  if (first.startsWith("{{")) throw new Error(`the first entry of an item is conditional: ${first}`);
  return [`${at}- ${first.trimStart()}`, ...rest];
}

function conditional({ condition, node }: When, write: (node: Node) => string[]): string[] {
  return [`{{- if ${condition.template} }}`, ...write(node), "{{- end }}"];
}

function inline(node: Node): string {
  if (node instanceof Marked) return `{{ ${node.template} | toJson }}`;
  return JSON.stringify(node);
}

/** Words that need no quotes; a key that is nothing else is never a number or a truth value to YAML. */
function keyText(key: string): string {
  return /^[A-Za-z][A-Za-z0-9._/-]*$/.test(key) && !/^(y|n|yes|no|on|off|true|false|null)$/i.test(key)
    ? key
    : JSON.stringify(key);
}

function isMapping(node: Node): node is { readonly [key: string]: Node | Entries } {
  return (
    typeof node === "object" &&
    node !== null &&
    !Array.isArray(node) &&
    !(node instanceof Marked) &&
    !(node instanceof When)
  );
}

function isNested(node: Node): boolean {
  return Array.isArray(node) ? node.length > 0 : isMapping(node) && Object.keys(node).length > 0;
}

/** What has nothing but conditional parts would be null in YAML, not empty, when none of them is there. */
function someUnconditional(node: Node, key: string): void {
  const parts: readonly (Node | Entries)[] = Array.isArray(node) ? node : Object.values(node as object);
  if (parts.every((part) => part instanceof When || part instanceof Entries))
    throw new Error(`all of "${key}" is conditional: put a condition on the whole`);
}
