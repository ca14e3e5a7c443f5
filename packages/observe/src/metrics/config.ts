import { AxonError, errorText } from "@axoneme/base";
import { compileFilter } from "@axoneme/flow";
import { load } from "js-yaml";
import { filterEngines } from "../expression/engines.ts";
import { readFilters } from "../read-filters.ts";
import { type MetricFilter, type MetricSpec, type MetricSpecs, parseMetricSpecs } from "./spec.ts";

const known = new Set(["name", "contextOptions", "includeFilters", "excludeFilters"]);

/**
 * Reads the field's file of metrics (`hubble.metrics.dynamic.config`): YAML or JSON, `metrics: [{name, contextOptions:
 * [{name, values}], includeFilters, excludeFilters}]`, or only the list.
 * @throws AxonError `observe.metric_invalid` naming the metric, what of it is wrong, and what would be right
 */
export function parseMetricsFile(text: string): MetricSpecs {
  const raw = readYaml(text) ?? [];
  const list = isObject(raw) ? (raw["metrics"] ?? []) : raw;
  if (!Array.isArray(list)) throw bad("the file", 'has no list "metrics"');
  const read = list.map((item: unknown, i) => parseMetric(item, `metrics[${i}]`));
  const specs = read.flatMap(({ specs }) => specs);
  for (const [i, { name }] of specs.entries())
    if (specs.findIndex((spec) => spec.name === name) !== i) throw bad(`metric "${name}"`, "is listed twice");
  return { specs, later: read.flatMap(({ later }) => later) };
}

type Raw = Readonly<Record<string, unknown>>;

function isObject(value: unknown): value is Raw {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Undefined for a file in which nothing is said. */
function readYaml(text: string): unknown {
  if (text.trim() === "") return undefined;
  try {
    return load(text);
  } catch (error) {
    throw bad("the file", `is not YAML: ${errorText(error)}`, error);
  }
}

function parseMetric(raw: unknown, where: string): MetricSpecs {
  if (!isObject(raw)) throw bad(where, "is not a mapping");
  const name = raw["name"];
  if (typeof name !== "string" || !/^[\w-]+$/.test(name)) throw bad(where, "needs a name");
  const metric = `metric "${name}"`;
  for (const key of Object.keys(raw))
    if (!known.has(key)) throw bad(metric, `"${key}" is unknown (known: ${[...known].join(", ")})`);
  const { specs, later } = parseMetricSpecs([`${name}:${optionsOf(metric, raw["contextOptions"])}`]);
  const filter = filterOf(metric, raw);
  return {
    specs: specs.map((spec): MetricSpec => (filter === undefined ? spec : { ...spec, filter })),
    later,
  };
}

/** The options as the command line writes them, so that both mean the same. */
function optionsOf(metric: string, raw: unknown): string {
  const list = raw ?? [];
  if (!Array.isArray(list)) throw bad(metric, "contextOptions is not a list");
  const options = list.map((item: unknown) => {
    const { name, values = [] } = isObject(item) ? item : {};
    const isList = Array.isArray(values) && values.every((value) => typeof value === "string");
    if (typeof name !== "string" || !isList || [name, ...values].some((text) => /[;=:\s]/.test(text)))
      throw bad(metric, "contextOptions are each a name and a list of values");
    const text = values.join(name === "labelsContext" ? "," : "|");
    return text === "" ? name : `${name}=${text}`;
  });
  return options.join(";");
}

function filterOf(metric: string, raw: Raw): MetricFilter | undefined {
  const read = (key: string) => readFilters(raw[key], (why, cause) => bad(metric, `${key}${why}`, cause));
  const include = read("includeFilters");
  const exclude = read("excludeFilters");
  if (include.length + exclude.length === 0) return undefined;
  try {
    return { include, exclude, matcher: compileFilter(include, exclude, filterEngines) };
  } catch (error) {
    throw bad(metric, errorText(error), error);
  }
}

function bad(where: string, why: string, cause?: unknown): AxonError {
  return new AxonError("observe.metric_invalid", `metrics: ${where} ${why}`, { cause });
}
