import { AxonError } from "@axoneme/base";

/**
 * A reader of BTF, the type information in a compiled BPF object (Documentation/bpf/btf.rst).
 * Only little-endian 64-bit ELF files, which is what we build.
 */

/** BTF_KIND_*, include/uapi/linux/btf.h. */
export const BtfKind = {
  VOID: 0,
  INT: 1,
  PTR: 2,
  ARRAY: 3,
  STRUCT: 4,
  UNION: 5,
  ENUM: 6,
  FWD: 7,
  TYPEDEF: 8,
  VOLATILE: 9,
  CONST: 10,
  RESTRICT: 11,
  FUNC: 12,
  FUNC_PROTO: 13,
  VAR: 14,
  DATASEC: 15,
  FLOAT: 16,
  DECL_TAG: 17,
  TYPE_TAG: 18,
  ENUM64: 19,
} as const;

export interface BtfMember {
  name: string;
  /** Bytes from the start of the struct. */
  offset: number;
  type: number;
}

export interface BtfType {
  id: number;
  kind: number;
  name: string;
  /** Bytes: INT, STRUCT, UNION, ENUM, DATASEC. */
  size: number;
  /** The type this one is made of: PTR, TYPEDEF, qualifiers, VAR, ARRAY's element, FUNC. */
  type: number;
  /** INT: bit 0 signed. */
  encoding: number;
  /** ARRAY: elements. */
  length: number;
  /** DECL_TAG: the member it is about, -1: the type itself. */
  component: number;
  /** STRUCT and UNION; DATASEC (name empty, offset in the section). */
  members: BtfMember[];
  /** ENUM and ENUM64. */
  values: { name: string; value: bigint }[];
}

function fail(what: string): never {
  throw new AxonError("abi.btf", `not the BTF of a BPF object: ${what}`);
}

/** The bytes of one section of an ELF file. Throws `abi.btf`. */
function section(elf: DataView, wanted: string): DataView {
  if (elf.byteLength < 64 || elf.getUint32(0) !== 0x7f454c46) fail("no ELF header");
  if (elf.getUint8(4) !== 2 || elf.getUint8(5) !== 1) fail("want a little-endian 64-bit ELF");
  const table = Number(elf.getBigUint64(40, true));
  const entry = elf.getUint16(58, true);
  const count = elf.getUint16(60, true);
  const place = (i: number) => {
    const at = table + i * entry;
    return {
      name: elf.getUint32(at, true),
      offset: Number(elf.getBigUint64(at + 24, true)),
      size: Number(elf.getBigUint64(at + 32, true)),
    };
  };
  const names = place(elf.getUint16(62, true));
  for (let i = 0; i < count; i++) {
    const { name, offset, size } = place(i);
    if (text(elf, names.offset + name) === wanted)
      return new DataView(elf.buffer, elf.byteOffset + offset, size);
  }
  return fail(`no section ${wanted}`);
}

function text(view: DataView, at: number): string {
  let end = at;
  while (end < view.byteLength && view.getUint8(end) !== 0) end++;
  return new TextDecoder().decode(new Uint8Array(view.buffer, view.byteOffset + at, end - at));
}

/** Kinds that only name or qualify another type. */
const TRANSPARENT: ReadonlySet<number> = new Set([
  BtfKind.TYPEDEF,
  BtfKind.VOLATILE,
  BtfKind.CONST,
  BtfKind.RESTRICT,
  BtfKind.TYPE_TAG,
]);

/** The types of one object by id; id 0 is void. */
export class Btf {
  readonly types: readonly BtfType[];

  private constructor(types: readonly BtfType[]) {
    this.types = types;
  }

  /** Reads the `.BTF` section of an ELF file. Throws `abi.btf`. */
  static fromElf(elf: Uint8Array): Btf {
    return Btf.#read(section(new DataView(elf.buffer, elf.byteOffset, elf.byteLength), ".BTF"));
  }

  /** Reads BTF as the kernel hands it out. Throws `abi.btf`. */
  static fromBytes(bytes: Uint8Array): Btf {
    return Btf.#read(new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength));
  }

  static #read(view: DataView): Btf {
    if (view.getUint16(0, true) !== 0xeb9f) fail("wrong magic");
    const header = view.getUint32(4, true);
    const start = header + view.getUint32(8, true);
    const end = start + view.getUint32(12, true);
    const strings = header + view.getUint32(16, true);
    const types: BtfType[] = [empty(0)];
    for (let at = start; at < end; ) {
      const reader = new TypeReader(view, strings, at);
      types.push(reader.read(types.length));
      at = reader.at;
    }
    return new Btf(types);
  }

  /** Throws `abi.btf` for an id that does not exist. */
  type(id: number): BtfType {
    return this.types[id] ?? fail(`no type ${id}`);
  }

  find(kind: number, name: string): BtfType | undefined {
    return this.types.find((type) => type.kind === kind && type.name === name);
  }

  /** Tags of a type itself (`btf_decl_tag`), not of its members. */
  tagsOf(id: number): string[] {
    const isOfType = (type: BtfType) =>
      type.kind === BtfKind.DECL_TAG && type.type === id && type.component < 0;
    return this.types.filter(isOfType).map((type) => type.name);
  }

  /** The type below typedefs and qualifiers. */
  resolve(id: number): BtfType {
    let type = this.type(id);
    while (TRANSPARENT.has(type.kind)) type = this.type(type.type);
    return type;
  }

  /** Names of the typedefs on the way to the resolved type, outermost first. */
  typedefs(id: number): string[] {
    const names: string[] = [];
    for (let type = this.type(id); TRANSPARENT.has(type.kind); type = this.type(type.type)) {
      if (type.kind === BtfKind.TYPEDEF) names.push(type.name);
    }
    return names;
  }

  /** Bytes of a value of this type. */
  sizeOf(id: number): number {
    const type = this.resolve(id);
    if (type.kind === BtfKind.PTR) return 8;
    if (type.kind === BtfKind.ARRAY) return type.length * this.sizeOf(type.type);
    return type.size;
  }
}

function empty(id: number): BtfType {
  return {
    id,
    kind: 0,
    name: "",
    size: 0,
    type: 0,
    encoding: 0,
    length: 0,
    component: -1,
    members: [],
    values: [],
  };
}

/** Reads one type: a header of 12 bytes, then what its kind adds. */
class TypeReader {
  at: number;
  readonly #view: DataView;
  readonly #strings: number;

  constructor(view: DataView, strings: number, at: number) {
    this.#view = view;
    this.#strings = strings;
    this.at = at;
  }

  read(id: number): BtfType {
    const name = this.#name();
    const info = this.#u32();
    const sizeOrType = this.#u32();
    const kind = (info >>> 24) & 0x1f;
    const type = { ...empty(id), kind, name, size: sizeOrType, type: sizeOrType };
    this.#tail(type, info & 0xffff, info >>> 31 === 1);
    return type;
  }

  #u32(): number {
    this.at += 4;
    return this.#view.getUint32(this.at - 4, true);
  }

  #name(): string {
    return text(this.#view, this.#strings + this.#u32());
  }

  #tail(type: BtfType, count: number, flag: boolean): void {
    const each = <T>(read: () => T): T[] => Array.from({ length: count }, read);
    switch (type.kind) {
      case BtfKind.INT:
        type.encoding = (this.#u32() >>> 24) & 15;
        break;
      case BtfKind.ARRAY:
        type.type = this.#u32();
        this.at += 4;
        type.length = this.#u32();
        break;
      case BtfKind.STRUCT:
      case BtfKind.UNION:
        type.members = each(() => this.#member(flag));
        break;
      case BtfKind.ENUM:
        type.values = each(() => ({
          name: this.#name(),
          value: BigInt(flag ? this.#u32() | 0 : this.#u32()),
        }));
        break;
      case BtfKind.ENUM64:
        type.values = each(() => ({
          name: this.#name(),
          value: BigInt(this.#u32()) | (BigInt(this.#u32()) << 32n),
        }));
        break;
      case BtfKind.FUNC_PROTO:
        this.at += 8 * count;
        break;
      case BtfKind.VAR:
        this.at += 4;
        break;
      case BtfKind.DECL_TAG:
        type.component = this.#u32() | 0;
        break;
      case BtfKind.DATASEC:
        type.members = each(() => this.#variable());
        break;
    }
  }

  #member(hasBitfields: boolean): BtfMember {
    const name = this.#name();
    const type = this.#u32();
    const bits = this.#u32();
    if (hasBitfields && bits >>> 24 !== 0) fail(`bit field ${name}`);
    return { name, type, offset: (bits & 0xffffff) / 8 };
  }

  #variable(): BtfMember {
    const type = this.#u32();
    const offset = this.#u32();
    this.at += 4;
    return { name: "", type, offset };
  }
}
