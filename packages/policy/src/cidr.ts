import { type Prefix, parsePrefix, prefixCovers } from "@axoneme/base";
import type { Reader } from "./reader.ts";
import type { ConcretePeer } from "./rule.ts";

/** A CIDR with exceptions as a peer; undefined with a problem when any part of it is wrong. */
export function readCidr(
  reader: Reader,
  cidr: unknown,
  except: readonly unknown[] | undefined,
  path: string,
): ConcretePeer | undefined {
  const prefix = readPrefix(reader, cidr, `${path}.cidr`);
  const holes = readPrefixes(reader, except, `${path}.except`);
  if (prefix === undefined || holes === undefined) return undefined;
  const outside = holes.findIndex((hole) => !prefixCovers(prefix, hole));
  if (outside >= 0) return reader.invalid(`${path}.except[${outside}]`, "is not inside of cidr");
  return { kind: "cidr", prefix, except: holes };
}

/** A list of prefixes; undefined when it is none, or with a problem when one of them is none. */
export function readPrefixes(
  reader: Reader,
  list: readonly unknown[] | undefined,
  path: string,
): Prefix[] | undefined {
  if (list === undefined) return undefined;
  const prefixes: Prefix[] = [];
  for (const [i, value] of list.entries()) {
    const prefix = readPrefix(reader, value, `${path}[${i}]`);
    if (prefix === undefined) return undefined;
    prefixes.push(prefix);
  }
  return prefixes;
}

/** A prefix, or undefined with a problem. */
export function readPrefix(reader: Reader, value: unknown, path: string): Prefix | undefined {
  try {
    return parsePrefix(String(value));
  } catch (error) {
    return reader.invalid(path, error instanceof Error ? error.message : String(error));
  }
}
