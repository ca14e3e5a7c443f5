import { AxonError } from "@axoneme/base";
import { type Btf, BtfKind, type BtfMember, type BtfType } from "./btf.ts";

/** How one field is stored and what it is in TypeScript. */
export type FieldShape =
  | { kind: "number"; bytes: 1 | 2 | 4; signed: boolean; swapped: boolean }
  | { kind: "bigint"; signed: boolean; swapped: boolean }
  | { kind: "bytes"; length: number }
  | { kind: "struct"; name: string; bytes: number }
  | { kind: "structs"; name: string; bytes: number; length: number };

export interface Field {
  /** The name in C. */
  c: string;
  name: string;
  offset: number;
  size: number;
  /** Written as zero and not shown. */
  padding: boolean;
  shape: FieldShape;
}

export interface Struct {
  c: string;
  name: string;
  size: number;
  fields: Field[];
}

export interface Enum {
  c: string;
  name: string;
  values: { c: string; name: string; value: number }[];
}

export interface MapLayout {
  /** BPF_MAP_TYPE_*. */
  type: number;
  /** 0 for a ring buffer. */
  keySize: number;
  valueSize: number;
  maxEntries: number;
  /** BPF_F_*. */
  flags: number;
  /** The struct of a key or value: a name of this package, or `u32` and the like; empty: none. */
  key: string;
  value: string;
}

export interface Model {
  structs: Struct[];
  enums: Enum[];
  maps: [name: string, layout: MapLayout][];
}

const PREFIX = "ax_";

/** Names that the rule would make too general. */
const RENAMED: Readonly<Record<string, string>> = { ax_drop: "DropReason", ax_identity: "ReservedIdentity" };

/** `ax_policy_key` -> `PolicyKey`. */
function typeName(c: string): string {
  return RENAMED[c] ?? pascal(c.slice(PREFIX.length));
}

function pascal(snake: string): string {
  return snake.replace(/(?:^|_)([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}

function camel(snake: string): string {
  const name = pascal(snake);
  return name.charAt(0).toLowerCase() + name.slice(1);
}

function isPadding(name: string): boolean {
  return /^pad\d*$|_pad$/.test(name);
}

function isNetworkOrder(btf: Btf, id: number): boolean {
  return btf.typedefs(id).some((name) => /^__be(16|32|64)$/.test(name));
}

function fieldShape(btf: Btf, owner: string, member: BtfMember): FieldShape {
  const type = btf.resolve(member.type);
  const swapped = isNetworkOrder(btf, member.type);
  const signed = (type.encoding & 1) === 1;
  if (type.name === "ax_addr") return { kind: "bytes", length: type.size };
  if (type.kind === BtfKind.STRUCT && type.name.startsWith(PREFIX)) {
    return { kind: "struct", name: typeName(type.name), bytes: type.size };
  }
  if (type.kind === BtfKind.ARRAY) return arrayShape(btf, owner, member, type);
  if (type.kind === BtfKind.INT || type.kind === BtfKind.ENUM) {
    if (type.size === 8) return { kind: "bigint", signed, swapped };
    if (type.size === 1 || type.size === 2 || type.size === 4) {
      return { kind: "number", bytes: type.size, signed, swapped };
    }
  }
  throw new AxonError("abi.shape", `${owner}.${member.name}: no codec for a type of kind ${type.kind}`);
}

function arrayShape(btf: Btf, owner: string, member: BtfMember, array: BtfType): FieldShape {
  const element = btf.resolve(array.type);
  if (element.size === 1) return { kind: "bytes", length: array.length };
  if (element.kind === BtfKind.STRUCT && element.name.startsWith(PREFIX) && element.name !== "ax_addr") {
    return { kind: "structs", name: typeName(element.name), bytes: element.size, length: array.length };
  }
  throw new AxonError("abi.shape", `${owner}.${member.name}: no codec for an array of ${element.name}`);
}

function structOf(btf: Btf, type: BtfType): Struct {
  const fields = type.members.map((member) => ({
    c: member.name,
    name: camel(member.name),
    offset: member.offset,
    size: btf.sizeOf(member.type),
    padding: isPadding(member.name),
    shape: fieldShape(btf, type.name, member),
  }));
  requireNoHoles(type, fields);
  return { c: type.name, name: typeName(type.name), size: type.size, fields };
}

/** Keys are compared byte by byte in the kernel: every byte must belong to a field. */
function requireNoHoles(type: BtfType, fields: readonly Field[]): void {
  let end = 0;
  for (const field of [...fields, { c: "the end", offset: type.size, size: 0 }]) {
    if (field.offset !== end) {
      throw new AxonError(
        "abi.hole",
        `struct ${type.name} has unnamed padding before ${field.c} (byte ${end})`,
      );
    }
    end = field.offset + field.size;
  }
}

/** `AX_CFG_` where every value has it, else `AX_`: adding a value renames no other. */
function sharedPrefix(names: readonly string[]): string {
  const prefix = /^AX_[A-Z0-9]+_/.exec(names[0] ?? "")?.[0] ?? "";
  if (prefix !== "" && names.every((name) => name.startsWith(prefix))) return prefix;
  return names.every((name) => name.startsWith("AX_")) ? "AX_" : "";
}

function enumOf(type: BtfType): Enum {
  const prefix = sharedPrefix(type.values.map((value) => value.name));
  const values = type.values.map(({ name, value }) => ({
    c: name,
    name: name.slice(prefix.length),
    value: Number(value),
  }));
  return { c: type.name, name: typeName(type.name), values };
}

/** A `__uint(name, n)` of a map definition is a pointer to an array of n. */
function mapNumber(btf: Btf, map: BtfType, name: string): number {
  const member = map.members.find((m) => m.name === name);
  return member ? btf.resolve(btf.resolve(member.type).type).length : 0;
}

/** A `__type(name, T)` is a pointer to T. */
function mapType(btf: Btf, map: BtfType, name: string): { name: string; size: number } {
  const member = map.members.find((m) => m.name === name);
  if (!member) return { name: "", size: 0 };
  const target = btf.resolve(member.type).type;
  const type = btf.resolve(target);
  const isStruct = type.kind === BtfKind.STRUCT;
  const scalar = `${type.encoding & 1 ? "i" : "u"}${type.size * 8}`;
  return { name: isStruct ? typeName(type.name) : scalar, size: btf.sizeOf(target) };
}

function mapOf(btf: Btf, type: BtfType): MapLayout {
  const key = mapType(btf, type, "key");
  const value = mapType(btf, type, "value");
  return {
    type: mapNumber(btf, type, "type"),
    keySize: key.size,
    valueSize: value.size,
    maxEntries: mapNumber(btf, type, "max_entries"),
    flags: mapNumber(btf, type, "map_flags"),
    key: key.name,
    value: value.name,
  };
}

function byName(a: { name: string }, b: { name: string }): number {
  return a.name < b.name ? -1 : 1;
}

/** Everything named `ax_*` in an object's types. Throws `abi.hole`, `abi.shape`, `abi.btf`. */
export function modelOf(btf: Btf): Model {
  const ours = btf.types.filter((type) => type.name.startsWith(PREFIX));
  const structs = ours.filter((type) => type.kind === BtfKind.STRUCT && type.name !== "ax_addr");
  const enums = ours.filter((type) => type.kind === BtfKind.ENUM);
  const section = btf.find(BtfKind.DATASEC, ".maps");
  const maps = (section?.members ?? []).map((variable): [string, MapLayout] => {
    const { name, type } = btf.type(variable.type);
    return [name, mapOf(btf, btf.resolve(type))];
  });
  return {
    structs: structs.map((type) => structOf(btf, type)).sort(byName),
    enums: enums.map(enumOf).sort(byName),
    maps: maps.sort(([a], [b]) => (a < b ? -1 : 1)),
  };
}
