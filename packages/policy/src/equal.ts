/** Whether two values made of plain objects, arrays and primitives say the same. Absent and undefined are the same. */
export function sameValue(a: unknown, b: unknown): boolean {
  if (Object.is(a, b)) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  const [left, right] = [a as Record<string, unknown>, b as Record<string, unknown>];
  for (const key of Object.keys(left)) if (!sameValue(left[key], right[key])) return false;
  return Object.keys(right).every((key) => key in left || right[key] === undefined);
}
