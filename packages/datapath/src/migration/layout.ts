import { type Btf, BtfKind, type BtfMember } from "@axoneme/abi";

/** How a key or value of a map is laid out, as far as a conversion has to know. */
export type Shape =
  | { readonly kind: "number"; readonly size: number; readonly swapped: boolean }
  /** Copied as it is: addresses, text. */
  | { readonly kind: "bytes"; readonly size: number }
  | {
      readonly kind: "struct";
      readonly name: string;
      readonly size: number;
      /** What the fields mean, counted; `AX_MEANING` in the headers. Rows of another meaning are not converted. */
      readonly meaning: number;
      readonly fields: readonly FieldShape[];
    }
  | { readonly kind: "list"; readonly size: number; readonly of: Shape; readonly length: number };

export interface FieldShape {
  readonly name: string;
  /** Bytes from the start of the struct. */
  readonly offset: number;
  readonly shape: Shape;
}

/** Layout of the rows of a map. */
export interface RowLayout {
  readonly key: Shape;
  readonly value: Shape;
}

const meaningTag = /^axon:meaning:(\d+)$/;

/** Padding carries nothing. */
function isPadding(name: string): boolean {
  return /^pad\d*$|_pad$/.test(name);
}

/** The layout of a type. What has no fields that we know of is bytes. */
export function shapeOf(btf: Btf, id: number): Shape {
  const type = btf.resolve(id);
  const size = btf.sizeOf(id);
  if (type.kind === BtfKind.STRUCT) {
    const fields = type.members
      .filter(({ name }) => !isPadding(name))
      .map(({ name, offset, type: of }: BtfMember) => ({ name, offset, shape: shapeOf(btf, of) }));
    return { kind: "struct", name: type.name, size, meaning: meaningOf(btf, type.id), fields };
  }
  if (type.kind === BtfKind.ARRAY) {
    const of = shapeOf(btf, type.type);
    return of.size === 1 ? { kind: "bytes", size } : { kind: "list", size, of, length: type.length };
  }
  if (type.kind === BtfKind.INT || type.kind === BtfKind.ENUM) {
    const swapped = btf.typedefs(id).some((name) => /^__be(16|32|64)$/.test(name));
    return { kind: "number", size, swapped };
  }
  return { kind: "bytes", size };
}

function meaningOf(btf: Btf, id: number): number {
  const tag = btf.tagsOf(id).map((name) => meaningTag.exec(name)?.[1])[0];
  return Number(tag ?? 1);
}

/** The layout that an object file declares for one of its maps; undefined where it declares sizes only. */
export function declaredLayout(btf: Btf, map: string): RowLayout | undefined {
  const section = btf.find(BtfKind.DATASEC, ".maps");
  const variable = section?.members.map(({ type }) => btf.type(type)).find(({ name }) => name === map);
  if (!variable) return undefined;
  const { members } = btf.resolve(variable.type);
  const of = (name: string): Shape | undefined => {
    const member = members.find((m) => m.name === name);
    // `__type(key, T)` is a pointer to T.
    return member && shapeOf(btf, btf.resolve(member.type).type);
  };
  const [key, value] = [of("key"), of("value")];
  return key && value && { key, value };
}

/** Whether both say the same of every byte. */
export function sameLayout(a: RowLayout | undefined, b: RowLayout | undefined): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
