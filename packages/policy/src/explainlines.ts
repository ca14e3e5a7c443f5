import { isCollection, isMap, LineCounter, type Node, parseAllDocuments } from "yaml";
import { stepsOf, valueAt } from "./explainfields.ts";
import { isObject } from "./reader.ts";

/** A text in which objects stand, and the lines of their parts. */
export interface ManifestText {
  /** Name of the file, for people. */
  readonly file: string;
  readonly objects: readonly unknown[];
  /** The line, from 1, on which a part of an object begins; undefined: it is not in the text. */
  lineOf(object: { kind: string; namespace?: string; name: string }, path: string): number | undefined;
}

/**
 * Reads YAML (or JSON) with one or more objects, Lists too.
 * @throws YAMLParseError with the line, for what is not YAML
 */
export function readManifests(file: string, text: string): ManifestText {
  const lines = new LineCounter();
  const documents = parseAllDocuments(text, { lineCounter: lines });
  const list = Array.isArray(documents) ? documents : [];
  for (const { errors } of list) if (errors[0] !== undefined) throw errors[0];
  const found = list.flatMap((document) => {
    const value: unknown = document.toJS({ maxAliasCount: 100 });
    const items = isObject(value) && Array.isArray(value["items"]) ? value["items"] : undefined;
    if (items === undefined) return [{ value, steps: [] as (string | number)[], document }];
    return items.map((item: unknown, i) => ({ value: item, steps: ["items", i], document }));
  });
  return {
    file,
    objects: found.map(({ value }) => value).filter((value) => value !== null && value !== undefined),
    lineOf: ({ kind, namespace, name }, path) => {
      const one = found.find(({ value }) => {
        const own = valueAt(value, "metadata.namespace") ?? (namespace === undefined ? undefined : "default");
        return (
          isObject(value) &&
          value["kind"] === kind &&
          valueAt(value, "metadata.name") === name &&
          own === namespace
        );
      });
      const offset = one && offsetOf(one.document.contents, [...one.steps, ...stepsOf(path)]);
      return offset === undefined ? undefined : lines.linePos(offset).line;
    },
  };
}

/** Where a part begins: an item of a list at its dash's item, a field at its key. */
function offsetOf(root: unknown, steps: readonly (string | number)[]): number | undefined {
  let node = root;
  let offset: number | undefined;
  for (const step of steps) {
    if (!isCollection(node)) return undefined;
    const pair = isMap(node) ? node.items.find(({ key }) => String(key) === String(step)) : undefined;
    const next: unknown = isMap(node) ? pair?.value : node.get(step, true);
    const start = isMap(node) ? (pair?.key as Node | undefined) : (next as Node | undefined);
    if (start === undefined) return undefined;
    offset = start.range?.[0] ?? offset;
    node = next;
  }
  return offset;
}
