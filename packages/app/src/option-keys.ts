import type { Option, OptionSet } from "./option.ts";

/** The option's name in words: `enableIPv4Masquerade` is `enable-ipv4-masquerade`. */
function words(name: string): string {
  return name
    .replace(/IPv([46])/g, "Ipv$1")
    .replaceAll("CIDRs", "Cidrs")
    .replace(/([a-z0-9])([A-Z])/g, "$1-$2")
    .replace(/([A-Z]+)([A-Z][a-z])/g, "$1-$2")
    .toLowerCase();
}

/** The key of an option in ConfigMaps and CiliumNodeConfigs, and its flag without the dashes. */
export function configKey(name: string, option: Pick<Option<unknown>, "default" | "key">): string {
  return option.key ?? words(name);
}

/** Names of options by their keys. */
export function namesByKey(options: OptionSet): ReadonlyMap<string, string> {
  return new Map(Object.entries(options).map(([name, option]) => [configKey(name, option), name]));
}

/** The known word that is most like one that is not known; undefined when none is close. */
export function nearest(word: string, known: Iterable<string>): string | undefined {
  let best: string | undefined;
  let least = Math.max(2, Math.floor(word.length / 4)) + 1;
  for (const candidate of known) {
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase());
    if (distance < least) [best, least] = [candidate, distance];
  }
  return best;
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const swap = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(swap, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
