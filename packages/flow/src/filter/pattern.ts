import { AxonError } from "@axoneme/base";

/** Tests a namespaced name; both parts are "" when unknown. */
export type NameTest = (namespace: string, name: string) => boolean;

/**
 * Pod and Service filters: `name` (a prefix, namespace `default`), `ns/` (all of a namespace), `ns/name`, `/name` (any
 * namespace). What has neither name nor namespace never matches.
 * @throws AxonError `flow.filter_invalid` for an empty text or more than one slash
 */
export function compileNamespacedName(field: string, text: string): NameTest {
  const slash = text.indexOf("/");
  if (text === "" || slash !== text.lastIndexOf("/")) {
    throw invalid(field, text, "must be name, namespace/, namespace/name or /name");
  }
  const wanted = slash < 0 ? "default" : text.slice(0, slash);
  const prefix = text.slice(slash + 1);
  const anyNamespace = slash === 0;
  return (namespace, name) => {
    if (namespace === "" && name === "") return false;
    return (anyNamespace || namespace === wanted) && name.startsWith(prefix);
  };
}

/** The error of a filter value that cannot be understood. */
export function invalid(field: string, text: string, why: string): AxonError {
  return new AxonError("flow.filter_invalid", `filter ${field} "${text}": ${why}`);
}

/**
 * DNS name patterns: case does not matter, one trailing dot is dropped, `*` stands for any run of name characters
 * (dots included), anchored.
 * @throws AxonError `flow.filter_invalid`
 */
export function compileFqdn(field: string, text: string): (name: string) => boolean {
  const pattern = text.toLowerCase().trim();
  const trimmed = pattern.endsWith(".") ? pattern.slice(0, -1) : pattern;
  if (trimmed === "" || trimmed.endsWith(".")) throw invalid(field, text, "is not a DNS name pattern");
  return globOf(field, text, trimmed);
}

function globOf(field: string, text: string, pattern: string): (name: string) => boolean {
  if (!/^[-.0-9a-z_*]+$/i.test(pattern))
    throw invalid(field, text, "may hold letters, digits, - . _ and * only");
  return (name) => globMatches(pattern, name.endsWith(".") ? name.slice(0, -1) : name);
}

/**
 * Whether the text is the pattern with every `*` replaced by some run of name characters. Steps back to the last star
 * only, so that a hostile pattern costs pattern x text steps, never more.
 */
function globMatches(pattern: string, text: string): boolean {
  return /^[-.0-9a-zA-Z_]*$/.test(text) && starMatches(pattern, text);
}

/** The same with `*` for any run of any characters. */
function starMatches(pattern: string, text: string): boolean {
  let p = 0;
  let star = -1;
  let resume = 0;
  for (let t = 0; t < text.length; ) {
    if (pattern[p] === "*") {
      star = p++;
      resume = t;
    } else if (pattern[p] === text[t]) {
      p++;
      t++;
    } else if (star >= 0) {
      p = star + 1;
      t = ++resume;
    } else {
      return false;
    }
  }
  while (pattern[p] === "*") p++;
  return p === pattern.length;
}

/**
 * Binaries: `curl` is the last name of the path, `/usr/bin/*` all of it; `*` stands for any run of characters.
 * @throws AxonError `flow.filter_invalid` for an empty text
 */
export function compileBinary(field: string, text: string): (path: string) => boolean {
  if (text === "") throw invalid(field, text, "must be the name or the path of a binary");
  if (text.includes("/")) return (path) => starMatches(text, path);
  return (path) => starMatches(text, path.slice(path.lastIndexOf("/") + 1));
}

/**
 * Node patterns `[cluster/]node`; a part left out matches anything; a flow without a cluster is of `default`.
 * @throws AxonError `flow.filter_invalid`
 */
export function compileNodeName(field: string, text: string): (nodeName: string) => boolean {
  const parts = text.split("/");
  if (text === "" || parts.length > 2) throw invalid(field, text, "must be node, cluster/node or cluster/");
  const part = (pattern: string | undefined): ((name: string) => boolean) =>
    pattern === undefined || pattern === "" ? () => true : globOf(field, text, pattern);
  const cluster = part(parts.length === 2 ? parts[0] : undefined);
  const node = part(parts.at(-1));
  return (nodeName) => {
    const slash = nodeName.indexOf("/");
    const of = slash < 0 ? "default" : nodeName.slice(0, slash);
    return cluster(of) && node(nodeName.slice(slash + 1));
  };
}

/**
 * HTTP status filters: three digits, or one or two digits and `+` (any status that begins with them).
 * @throws AxonError `flow.filter_invalid`
 */
export function compileStatus(field: string, text: string): (code: number) => boolean {
  if (/^[1-5][0-9]{2}$/.test(text)) return (code) => code === Number(text);
  if (/^[1-5][0-9]?\+$/.test(text)) return (code) => `${code}`.startsWith(text.slice(0, -1));
  throw invalid(field, text, "must be like 200, 40+ or 5+");
}

/** Compiles a regular expression; throws when it is none. */
export type RegexCompiler = (text: string) => (value: string) => boolean;

const builtIn: RegexCompiler = (text) => {
  const expression = new RegExp(text);
  return (value) => expression.test(value);
};

/**
 * A regular expression of a user.
 * @throws AxonError `flow.filter_invalid`
 */
export function compileRegex(
  field: string,
  text: string,
  compile: RegexCompiler = builtIn,
): (value: string) => boolean {
  try {
    return compile(text);
  } catch (error) {
    throw new AxonError("flow.filter_invalid", `filter ${field} "${text}": is not a regular expression`, {
      cause: error,
    });
  }
}
