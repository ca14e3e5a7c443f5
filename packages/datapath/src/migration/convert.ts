import type { RowLayout, Shape } from "./layout.ts";

/** Bytes that go from an old row to a new one. */
interface Copy {
  readonly from: number;
  readonly to: number;
  readonly length: number;
}

/** Bytes of an old row for which the new one has no place. */
interface Lost {
  readonly from: number;
  readonly length: number;
}

interface Steps {
  readonly copies: Copy[];
  readonly lost: Lost[];
}

/** A row was laid out in a way that cannot be told from the types alone: why. */
export class UnknownLayout extends Error {}

/** From one layout of rows to another, field by field and by name: what is new is zero. */
export class RowConversion {
  readonly keySize: number;
  readonly valueSize: number;
  readonly #key: Steps;
  readonly #value: Steps;
  readonly #from: { readonly key: number; readonly value: number };

  /** @throws UnknownLayout naming the field. */
  constructor(from: RowLayout, to: RowLayout) {
    this.#key = stepsOf(from.key, to.key);
    this.#value = stepsOf(from.value, to.value);
    this.#from = { key: from.key.size, value: from.value.size };
    this.keySize = to.key.size;
    this.valueSize = to.value.size;
  }

  /**
   * Converts flat rows. A row whose key says more than the new layout can is left out: nobody could find it.
   * @returns flat rows, and for each whether its value said more than the new layout can.
   */
  rows(keys: Uint8Array, values: Uint8Array, count: number): ConvertedRows {
    const out = {
      keys: new Uint8Array(count * this.keySize),
      values: new Uint8Array(count * this.valueSize),
    };
    const isLess: boolean[] = [];
    for (let i = 0; i < count; i++) {
      const [key, value] = [i * this.#from.key, i * this.#from.value];
      if (saysMore(this.#key, keys, key)) continue;
      const at = isLess.length;
      run(this.#key, keys, key, out.keys, at * this.keySize);
      run(this.#value, values, value, out.values, at * this.valueSize);
      isLess.push(saysMore(this.#value, values, value));
    }
    return { ...out, count: isLess.length, isLess };
  }
}

export interface ConvertedRows {
  readonly keys: Uint8Array;
  readonly values: Uint8Array;
  readonly count: number;
  readonly isLess: readonly boolean[];
}

function run({ copies }: Steps, from: Uint8Array, fromAt: number, to: Uint8Array, toAt: number): void {
  for (const copy of copies) {
    for (let i = 0; i < copy.length; i++) to[toAt + copy.to + i] = from[fromAt + copy.from + i] ?? 0;
  }
}

function saysMore({ lost }: Steps, bytes: Uint8Array, at: number): boolean {
  return lost.some(({ from, length }) => bytes.subarray(at + from, at + from + length).some((b) => b !== 0));
}

function stepsOf(from: Shape, to: Shape): Steps {
  const steps: Steps = { copies: [], lost: [] };
  walk(from, to, 0, 0, steps, to.kind === "struct" ? to.name : "the row");
  return steps;
}

function walk(from: Shape, to: Shape, fromAt: number, toAt: number, steps: Steps, path: string): void {
  if (from.kind === "struct" && to.kind === "struct") {
    if (from.meaning !== to.meaning)
      throw new UnknownLayout(`${path} has meaning ${from.meaning}, this version knows ${to.meaning}`);
    for (const field of from.fields) {
      const [name, at] = [`${path}.${field.name}`, fromAt + field.offset];
      const target = to.fields.find((other) => other.name === field.name);
      if (target) walk(field.shape, target.shape, at, toAt + target.offset, steps, name);
      else steps.lost.push({ from: at, length: field.shape.size });
    }
    return;
  }
  if (from.kind === "list" && to.kind === "list") {
    for (let i = 0; i < from.length; i++) {
      const at = fromAt + i * from.of.size;
      if (i < to.length) walk(from.of, to.of, at, toAt + i * to.of.size, steps, `${path}[${i}]`);
      else steps.lost.push({ from: at, length: from.of.size });
    }
    return;
  }
  copyLeaf(from, to, fromAt, toAt, steps, path);
}

/** Numbers may become wider or narrower (little-endian); whatever is cut off must be zero. Texts may grow. */
function copyLeaf(from: Shape, to: Shape, fromAt: number, toAt: number, steps: Steps, path: string): void {
  const isSame = from.kind === to.kind && from.size === to.size;
  const swaps = (from.kind === "number" && from.swapped) !== (to.kind === "number" && to.swapped);
  const resized =
    from.kind === to.kind && !(from.kind === "number" && from.swapped) && from.kind !== "struct";
  if (swaps || (!isSame && !resized)) throw new UnknownLayout(`${path} is of another kind`);
  const length = Math.min(from.size, to.size);
  steps.copies.push({ from: fromAt, to: toAt, length });
  if (from.size > length) steps.lost.push({ from: fromAt + length, length: from.size - length });
}
