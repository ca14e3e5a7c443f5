/** Texts remembered before the next generation begins. */
const remembered = 65_536;

let young = new Map<string, string>();
let old = new Map<string, string>();

/**
 * The same string for equal texts: of the labels of fifty thousand pods most are alike, and every object from the API
 * brings its own copies. Bounded: what was not met for two generations is forgotten, and merely not shared any more.
 */
export function intern(text: string): string {
  const known = young.get(text) ?? old.get(text);
  if (young.size >= remembered) {
    old = young;
    young = new Map();
  }
  const kept = known ?? text;
  young.set(kept, kept);
  return kept;
}
