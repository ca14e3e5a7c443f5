/** What the engine has done so far: a change may only cost what it concerns, and this is how that is known. */
export interface Effort {
  /** Labels of an item held against a selector. */
  trials: number;
  /** Rules that asked for a row or gave one back. */
  contributions: number;
  /** Rules whose peers were looked up. */
  rules: number;
  /** Endpoints whose distinct policy was looked for. */
  placements: number;
}

/** Nothing done yet. */
export function noEffort(): Effort {
  return { trials: 0, contributions: 0, rules: 0, placements: 0 };
}
