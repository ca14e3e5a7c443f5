import { errorText } from "@axoneme/base";
import { normalizeName, normalizePattern } from "@axoneme/dns";
import { isObject, type Reader } from "./reader.ts";
import type { ConcretePeer, DnsNames, Rule } from "./rule.ts";
import { exists } from "./selector.ts";

/** Every name may be asked for: the connection goes to the proxy to be learned from. */
export const everyName: DnsNames = { names: [], patterns: ["*"] };

const SOURCE = "fqdn";
const FIELDS: ReadonlySet<string> = new Set(["matchName", "matchPattern"]);

/** A name or pattern in the form in which they are compared; undefined with a problem. */
function normal(
  reader: Reader,
  value: unknown,
  path: string,
  normalize: (text: string) => string,
): string | undefined {
  if (typeof value !== "string") return reader.invalid(path, "is no text");
  try {
    const text = normalize(value);
    return text.endsWith(".") ? text.slice(0, -1) : text;
  } catch (error) {
    return reader.invalid(path, errorText(error));
  }
}

/** An entry of `toFQDNs` or of `rules.dns`: what it names, in normal form; undefined with a problem. */
function readEntry(reader: Reader, value: unknown, path: string): DnsNames | undefined {
  const raw = reader.object(value, path);
  if (raw === undefined || !reader.only(raw, FIELDS, path)) return undefined;
  const names: string[] = [];
  const patterns: string[] = [];
  if (reader.given(raw, "matchName")) {
    const name = normal(reader, raw["matchName"], `${path}.matchName`, normalizeName);
    if (name === undefined) return undefined;
    names.push(name);
  }
  if (reader.given(raw, "matchPattern")) {
    const pattern = normal(reader, raw["matchPattern"], `${path}.matchPattern`, normalizePattern);
    if (pattern === undefined) return undefined;
    patterns.push(pattern);
  }
  return { names, patterns };
}

/** An entry of `toFQDNs` as a peer; undefined with a problem. */
export function readFqdn(reader: Reader, value: unknown, path: string): ConcretePeer | undefined {
  const entry = readEntry(reader, value, path);
  if (entry === undefined) return undefined;
  const [selector, second] = [...entry.names, ...entry.patterns];
  if (selector === undefined) return reader.invalid(path, "names nothing (want matchName or matchPattern)");
  if (second !== undefined) return reader.invalid(path, "matchName and matchPattern exclude each other");
  return fqdnPeer(selector);
}

/** The entries of `rules.dns`. What is not understood lets no name through. */
export function readDnsRules(reader: Reader, value: unknown, path: string): DnsNames {
  if (!Array.isArray(value)) {
    reader.invalid(path, "is not a list");
    return unite([]);
  }
  if (value.length === 0) reader.warn(path, "is empty: no name may be asked for");
  return unite(
    value.flatMap((entry, i) => {
      const at = `${path}[${i}]`;
      if (isObject(entry) && !reader.given(entry, "matchName") && !reader.given(entry, "matchPattern")) {
        reader.warn(at, "names nothing (want matchName or matchPattern)");
      }
      return readEntry(reader, entry, at) ?? [];
    }),
  );
}

/** `domainNames` of a ClusterNetworkPolicy: `*.` there stands for one or more labels. Undefined with a problem. */
function readDomainName(reader: Reader, value: unknown, path: string): DnsNames | undefined {
  const wild = typeof value === "string" && value.startsWith("*.");
  const name = normal(reader, wild ? value.slice(2) : value, path, normalizeName);
  if (name === undefined) return undefined;
  return wild ? { names: [], patterns: [`**.${name}`] } : { names: [name], patterns: [] };
}

/** A list of domain names, of which those that are none are named and left out. */
export function readDomainNames(
  reader: Reader,
  list: readonly unknown[] | undefined,
  path: string,
): DnsNames {
  if (list?.length === 0) reader.invalid(path, "names no domain");
  return unite((list ?? []).flatMap((value, i) => readDomainName(reader, value, `${path}[${i}]`) ?? []));
}

/** What any of these lets through, in normal form. */
export function unite(all: readonly DnsNames[]): DnsNames {
  const patterns = sorted(all.flatMap((one) => one.patterns));
  if (patterns.includes("*")) return everyName;
  return { names: sorted(all.flatMap((one) => one.names)), patterns };
}

function sorted(texts: readonly string[]): string[] {
  return [...new Set(texts)].sort();
}

/** The addresses that were learned under a selector's names, as a peer. */
export function fqdnPeer(selector: string): ConcretePeer {
  return { kind: "labels", selector: { requirements: [exists(SOURCE, selector)] } };
}

/** The label that an identity of such addresses carries. */
export function fqdnLabel(selector: string): string {
  return `${SOURCE}:${selector}`;
}

/** Selectors of names that peers of rules are, each once. */
export function fqdnSelectors(rules: readonly Pick<Rule, "peers">[]): string[] {
  const found = new Set<string>();
  for (const { peers } of rules) {
    for (const peer of peers) {
      if (peer.kind !== "labels") continue;
      for (const { source, key, op } of peer.selector.requirements) {
        if (source === SOURCE && op === "Exists") found.add(key);
      }
    }
  }
  return [...found];
}
