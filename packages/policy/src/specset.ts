/** Specs here are their numbers. */
interface Numbered {
  readonly id: number;
}

/** A set of specs that is another one with some added and some taken away. */
export interface SpecDelta<S extends Numbered> {
  readonly gained: ReadonlySet<S>;
  readonly lost: ReadonlySet<S>;
}

/** Equal for equal sets, whatever order they were made in; different ones may share it. */
export interface SpecSum {
  readonly a: number;
  readonly b: number;
  readonly size: number;
}

/** The sum of no specs. */
export const NO_SPECS: SpecSum = { a: 0, b: 0, size: 0 };

/** The sum of a set after a change of it: takes as long as the change is, not as the set. */
export function sumAfter(sum: SpecSum, { gained, lost }: SpecDelta<Numbered>): SpecSum {
  let { a, b } = sum;
  for (const { id } of gained) {
    a = (a + mixed(id, 0x9e37_79b9)) >>> 0;
    b = (b + mixed(id, 0x85eb_ca6b)) >>> 0;
  }
  for (const { id } of lost) {
    a = (a - mixed(id, 0x9e37_79b9)) >>> 0;
    b = (b - mixed(id, 0x85eb_ca6b)) >>> 0;
  }
  return { a, b, size: sum.size + gained.size - lost.size };
}

/** The final mix of MurmurHash3 (public domain), so that neighbouring numbers have nothing in common. */
function mixed(id: number, seed: number): number {
  let h = Math.imul(id, seed);
  h ^= h >>> 16;
  h = Math.imul(h, 0x85eb_ca6b);
  h ^= h >>> 13;
  h = Math.imul(h, 0xc2b2_ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

/** Whether a set is another one after a change. */
export function isAfter<S extends Numbered>(
  set: ReadonlySet<S>,
  before: ReadonlySet<S>,
  { gained, lost }: SpecDelta<S>,
): boolean {
  if (set.size !== before.size + gained.size - lost.size) return false;
  for (const spec of gained) if (!set.has(spec)) return false;
  for (const spec of before) if (!set.has(spec) && !lost.has(spec)) return false;
  for (const spec of lost) if (set.has(spec)) return false;
  return true;
}

/** Text that is equal for equal changes. */
export function deltaText({ gained, lost }: SpecDelta<Numbered>): string {
  if (gained.size + lost.size === 1) return gained.size > 0 ? `+${first(gained)}` : `-${first(lost)}`;
  return `+${ids(gained)}-${ids(lost)}`;
}

function first(specs: ReadonlySet<Numbered>): number {
  for (const { id } of specs) return id;
  return 0;
}

function ids(specs: ReadonlySet<Numbered>): string {
  return Uint32Array.from(specs, ({ id }) => id)
    .sort()
    .join();
}
