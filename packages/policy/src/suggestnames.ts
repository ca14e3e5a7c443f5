/** How a policy names what was seen under a DNS name. */
export type NameSelector = { readonly matchName: string } | { readonly matchPattern: string };

const plain = /^[a-z0-9_-]+(\.[a-z0-9_-]+)*$/;

/** A name as people write it; undefined for the root, and for one with characters that no policy can name. */
export function plainName(name: string): string | undefined {
  const text = name.toLowerCase().replace(/\.$/, "");
  return plain.test(text) ? text : undefined;
}

/** The domain a name is directly below; undefined when that is a top-level domain, or the name has none. */
function parentOf(name: string): string | undefined {
  const parent = name.slice(name.indexOf(".") + 1);
  return parent === name || !parent.includes(".") ? undefined : parent;
}

/**
 * Selectors of names: each by itself, or where at least `from` of them are directly below one domain, all of that
 * domain by a pattern. Without `from` there are no patterns.
 */
export function nameSelectors(names: Iterable<string>, from = Infinity): (name: string) => NameSelector {
  const below = new Map<string, Set<string>>();
  for (const name of names) {
    const parent = parentOf(name);
    if (parent === undefined) continue;
    const known = below.get(parent);
    if (known) known.add(name);
    else below.set(parent, new Set([name]));
  }
  return (name) => {
    const parent = parentOf(name);
    const isGrouped = parent !== undefined && (below.get(parent)?.size ?? 0) >= from;
    return isGrouped ? { matchPattern: `*.${parent}` } : { matchName: name };
  };
}

/** The selectors of names, each once, in order. */
export function selectorsOf(
  names: Iterable<string>,
  selector: (name: string) => NameSelector,
): NameSelector[] {
  const chosen = new Map([...names].sort().map((name) => [JSON.stringify(selector(name)), selector(name)]));
  return [...chosen.values()];
}
