import { readFileSync } from "node:fs";
import { AxonError } from "@axoneme/base";
import { load } from "js-yaml";
import type { Option, OptionSet, Values } from "./option.ts";
import { nearest } from "./option-keys.ts";

/** Values from one place. */
export interface Layer {
  /** Where they are from, as in "ConfigMap kube-system/axoneme-config"; empty: not worth naming. */
  readonly origin: string;
  /** By name of the option. */
  readonly values: Readonly<Record<string, unknown>>;
  /** What was already found wrong in reading them. */
  readonly problems?: readonly string[];
}

/** Checked values, and for each option that is not at its default where its value is from. */
export interface Settings<S extends OptionSet> {
  readonly values: Values<S>;
  readonly origins: Readonly<Partial<Record<keyof S & string, string>>>;
}

/**
 * Checks layers of values against the options, later ones over earlier ones, and fills in defaults.
 * @throws AxonError `config.invalid` naming every unknown option and every bad value at once, with where it stands.
 */
export function resolveLayers<S extends OptionSet>(options: S, layers: readonly Layer[]): Settings<S> {
  const problems: string[] = [];
  const chosen = new Map<string, { value: unknown; origin: string }>();
  for (const { origin, values, problems: found = [] } of layers) {
    const at = origin === "" ? "" : `${origin}: `;
    problems.push(...found.map((problem) => `${at}${problem}`));
    for (const [name, value] of Object.entries(values)) {
      if (!Object.hasOwn(options, name)) problems.push(`${at}${unknownOption(name, Object.keys(options))}`);
      else if (value !== undefined && value !== null) chosen.set(name, { value, origin });
    }
  }
  const values: Record<string, unknown> = {};
  const origins: Record<string, string> = {};
  for (const [name, option] of Object.entries(options)) {
    const { value, origin } = chosen.get(name) ?? { value: option.default, origin: "" };
    const problem = check(option, value);
    const at = origin === "" ? "" : `${origin}: `;
    if (problem) problems.push(`${at}"${name}" ${problem}, got ${JSON.stringify(value)}`);
    values[name] = value;
    if (chosen.has(name)) origins[name] = origin;
  }
  if (problems.length > 0) {
    throw new AxonError("config.invalid", `configuration refused: ${problems.join("; ")}`);
  }
  return { values, origins } as Settings<S>;
}

/** What is said of an option that there is not. */
export function unknownOption(name: string, known: Iterable<string>): string {
  const meant = nearest(name, known);
  return `unknown option "${name}"${meant === undefined ? "" : ` (is "${meant}" meant?)`}`;
}

/** {@link resolveLayers} of one layer that needs no name. */
export function parseOptions<S extends OptionSet>(
  options: S,
  raw: Readonly<Record<string, unknown>>,
): Values<S> {
  return resolveLayers(options, [{ origin: "", values: raw }]).values;
}

/**
 * Reads a YAML or JSON configuration file.
 * @throws AxonError `config.unreadable` when the file is missing or not a mapping.
 */
export function readOptionFile(path: string): Readonly<Record<string, unknown>> {
  let raw: unknown;
  try {
    raw = load(readFileSync(path, "utf8"));
  } catch (cause) {
    throw new AxonError("config.unreadable", `cannot read the configuration ${path}: ${String(cause)}`, {
      cause,
    });
  }
  if (typeof raw !== "object" || raw === null || Array.isArray(raw)) {
    throw new AxonError(
      "config.unreadable",
      `the configuration ${path} is not a mapping of option names to values`,
    );
  }
  return raw as Record<string, unknown>;
}

function check(option: Option<unknown>, value: unknown): string | undefined {
  if (Array.isArray(option.default)) {
    if (!Array.isArray(value) || !value.every((v) => typeof v === "string"))
      return "must be a list of strings";
    const { each } = option;
    return each && !value.every((v) => each.includes(v)) ? `may contain only ${each.join(", ")}` : undefined;
  }
  if (typeof value !== typeof option.default) return `must be a ${typeof option.default}`;
  if (option.oneOf && !option.oneOf.includes(value)) return `must be one of ${option.oneOf.join(", ")}`;
  if (typeof value === "number") {
    if (!Number.isInteger(value)) return "must be a whole number";
    if (option.min !== undefined && value < option.min) return `must be at least ${option.min}`;
    if (option.max !== undefined && value > option.max) return `must be at most ${option.max}`;
  }
  return undefined;
}
