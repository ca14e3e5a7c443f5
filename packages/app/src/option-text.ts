import { load } from "js-yaml";
import type { Option } from "./option.ts";

/** What a duration's unit is in seconds. */
const secondsOf: Readonly<Record<string, number>> = { ms: 0.001, s: 1, m: 60, h: 3600, d: 86_400 };

/**
 * The value that a text stands for: the form of ConfigMaps, CiliumNodeConfigs and flags, where everything is text.
 * A text that does not fit the option's type is returned as it is, for the check to name.
 */
export function valueFromText(option: Option<unknown>, text: string): unknown {
  const trimmed = text.trim();
  if (Array.isArray(option.default)) return listFromText(option, trimmed);
  switch (typeof option.default) {
    case "boolean":
      return { true: true, false: false }[trimmed] ?? text;
    case "number":
      return numberFromText(option, trimmed) ?? text;
    default:
      return trimmed;
  }
}

/** The text that stands for a value; {@link valueFromText} reads it back. */
export function textOfValue(value: string | number | boolean | readonly string[]): string {
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

/** An array as JSON or YAML writes it, or words parted by blanks, or by commas unless the option's words have commas themselves. */
function listFromText(option: Option<unknown>, text: string): unknown {
  if (text === "") return [];
  if (text.startsWith("[")) {
    try {
      return load(text);
    } catch {
      return text;
    }
  }
  return text.split(option.commas ? /\s+/ : /[\s,]+/).filter((word) => word !== "");
}

/** A whole number, or a duration as Go and Kubernetes write it ("1m30s") in the option's unit. */
function numberFromText(option: Option<unknown>, text: string): number | undefined {
  if (/^-?\d+$/.test(text)) return Number(text);
  if (option.unit === undefined || !/^(\d+(\.\d+)?(ms|[smhd]))+$/.test(text)) return undefined;
  let seconds = 0;
  for (const [, amount, unit] of text.matchAll(/(\d+(?:\.\d+)?)(ms|[smhd])/g)) {
    seconds += Number(amount) * (secondsOf[unit ?? ""] ?? 0);
  }
  return Math.round(option.unit === "ms" ? seconds * 1000 : seconds);
}
