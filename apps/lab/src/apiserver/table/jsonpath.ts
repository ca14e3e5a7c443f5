import { isObject } from "../object.ts";

type Step =
  | { field: string }
  | { index: number }
  | { all: true }
  | { where: { path: string[]; value: string } };

/** Parses the simple JSON paths of printer columns: `.a.b[0].c`, `.a['b.c']`, `[*]`, `[?(@.type=="Ready")]`. */
export function parseJsonPath(path: string): Step[] | undefined {
  const steps: Step[] = [];
  let rest = path.replace(/^\$/, "").replace(/^\{(.*)\}$/, "$1");
  const patterns: [RegExp, (match: RegExpExecArray) => Step][] = [
    [
      /^\[\?\(@\.([\w./-]+)\s*==\s*['"]([^'"]*)['"]\)\]/,
      (m) => ({ where: { path: (m[1] ?? "").split("."), value: m[2] ?? "" } }),
    ],
    [/^\[(-?\d+)\]/, (m) => ({ index: Number(m[1]) })],
    [/^(\[\*\]|\.\*)/, () => ({ all: true })],
    [/^\[['"]([^'"]+)['"]\]/, (m) => ({ field: m[1] ?? "" })],
    [/^\.((?:\\.|[^.[\]\\])+)/, (m) => ({ field: (m[1] ?? "").replace(/\\(.)/g, "$1") })],
  ];
  while (rest !== "") {
    const found = patterns
      .map(([pattern, make]) => ({ match: pattern.exec(rest), make }))
      .find(({ match }) => match !== null);
    if (found?.match == null) return undefined;
    steps.push(found.make(found.match));
    rest = rest.slice(found.match[0].length);
  }
  return steps;
}

/** Every value the path leads to. */
export function evaluate(steps: readonly Step[], root: unknown): unknown[] {
  let values: unknown[] = [root];
  for (const step of steps) values = values.flatMap((value) => follow(step, value));
  return values;
}

function follow(step: Step, value: unknown): unknown[] {
  if ("field" in step) return isObject(value) && Object.hasOwn(value, step.field) ? [value[step.field]] : [];
  if ("all" in step) return Array.isArray(value) ? value : isObject(value) ? Object.values(value) : [];
  if (!Array.isArray(value)) return [];
  if ("index" in step) {
    const item = value.at(step.index);
    return item === undefined ? [] : [item];
  }
  return value.filter((item) => {
    const found = evaluate(
      step.where.path.map((field) => ({ field })),
      item,
    )[0];
    return found !== undefined && String(found) === step.where.value;
  });
}
