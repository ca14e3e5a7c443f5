import type { Enum, Field, Model, Struct } from "./model.ts";

/** Writes TypeScript from a model. Deterministic: the same BTF gives the same bytes. */

const HEADER = `// Generated from the BTF of bpf/abi.bpf.c by scripts/gen-abi.mjs. Do not edit.
import { bytesIn, type MapLayout, putBytes, type StructLayout } from "./layout.ts";
`;

function fieldType(field: Field): string {
  switch (field.shape.kind) {
    case "number":
      return "number";
    case "bigint":
      return "bigint";
    case "bytes":
      return "Uint8Array";
    case "struct":
      return field.shape.name;
    case "structs":
      return `[${Array.from({ length: field.shape.length }, () => (field.shape as { name: string }).name).join(", ")}]`;
  }
}

function accessor(bytes: number, signed: boolean): string {
  return bytes === 8 ? `Big${signed ? "Int" : "Uint"}64` : `${signed ? "Int" : "Uint"}${bytes * 8}`;
}

function at(offset: number): string {
  return offset === 0 ? "off" : `off + ${offset}`;
}

/** The byte-order argument of a DataView method; one byte has none. */
function order(bytes: number, swapped: boolean): string {
  return bytes === 1 ? "" : `, ${!swapped}`;
}

function encodeField(field: Field): string[] {
  const { shape } = field;
  if (field.padding) return zeroes(field);
  const value = `v.${field.name}`;
  switch (shape.kind) {
    case "number":
      return [
        `view.set${accessor(shape.bytes, shape.signed)}(${at(field.offset)}, ${value}${order(shape.bytes, shape.swapped)});`,
      ];
    case "bigint":
      return [`view.set${accessor(8, shape.signed)}(${at(field.offset)}, ${value}, ${!shape.swapped});`];
    case "bytes":
      return [`putBytes(view, ${at(field.offset)}, ${value}, ${shape.length});`];
    case "struct":
      return [`encode${shape.name}(${value}, view, ${at(field.offset)});`];
    case "structs":
      return Array.from(
        { length: shape.length },
        (_, i) => `encode${shape.name}(${value}[${i}], view, ${at(field.offset + i * shape.bytes)});`,
      );
  }
}

function zeroes(field: Field): string[] {
  const lines: string[] = [];
  for (let done = 0; done < field.size; ) {
    const left = field.size - done;
    const offset = field.offset + done;
    const bytes = left >= 4 && offset % 4 === 0 ? 4 : left >= 2 && offset % 2 === 0 ? 2 : 1;
    lines.push(`view.setUint${bytes * 8}(${at(offset)}, 0${order(bytes, false)});`);
    done += bytes;
  }
  return lines;
}

function decodeField(field: Field): string {
  const { shape } = field;
  switch (shape.kind) {
    case "number":
      return `view.get${accessor(shape.bytes, shape.signed)}(${at(field.offset)}${order(shape.bytes, shape.swapped)})`;
    case "bigint":
      return `view.get${accessor(8, shape.signed)}(${at(field.offset)}, ${!shape.swapped})`;
    case "bytes":
      return `bytesIn(view, ${at(field.offset)}, ${shape.length})`;
    case "struct":
      return `decode${shape.name}(view, ${at(field.offset)})`;
    case "structs": {
      const one = (_: unknown, i: number) =>
        `decode${shape.name}(view, ${at(field.offset + i * shape.bytes)})`;
      return `[${Array.from({ length: shape.length }, one).join(", ")}]`;
    }
  }
}

function structText(struct: Struct): string {
  const shown = struct.fields.filter((field) => !field.padding);
  const size = `${camelOf(struct.name)}Size`;
  return [
    `/** struct ${struct.c}, ${struct.size} bytes. */`,
    `export interface ${struct.name} {`,
    ...shown.map((field) => `  ${field.name}: ${fieldType(field)};`),
    "}",
    "",
    `export const ${size} = ${struct.size};`,
    "",
    `export function encode${struct.name}(v: ${struct.name}, view: DataView, off: number): void {`,
    ...struct.fields.flatMap(encodeField).map((line) => `  ${line}`),
    "}",
    "",
    `export function decode${struct.name}(view: DataView, off: number): ${struct.name} {`,
    "  return {",
    ...shown.map((field) => `    ${field.name}: ${decodeField(field)},`),
    "  };",
    "}",
    "",
  ].join("\n");
}

function camelOf(pascal: string): string {
  return pascal.charAt(0).toLowerCase() + pascal.slice(1);
}

function enumText(e: Enum): string {
  return [
    `/** enum ${e.c}. */`,
    `export const ${e.name} = {`,
    ...e.values.map(({ name, value }) => `  ${name}: ${value},`),
    "} as const;",
    `export type ${e.name} = (typeof ${e.name})[keyof typeof ${e.name}];`,
    "",
  ].join("\n");
}

function mapsText(model: Model): string {
  const rows = model.maps.map(([name, layout]) => {
    const parts = Object.entries(layout).map(([k, v]) => `${k}: ${JSON.stringify(v)}`);
    return `  ${name}: { ${parts.join(", ")} },`;
  });
  return [
    "/** Every map of the datapath by its kernel name; sizes are the defaults of the objects. */",
    "export const maps = {",
    ...rows,
    "} as const satisfies Record<string, MapLayout>;",
    "export type MapName = keyof typeof maps;",
    "",
  ].join("\n");
}

function layoutsText(model: Model): string {
  const rows = model.structs.map((struct) => {
    const fields = struct.fields.map(({ c, offset, size }) => `${c}: [${offset}, ${size}]`);
    return `  ${struct.name}: { c: "${struct.c}", size: ${struct.size}, fields: { ${fields.join(", ")} } },`;
  });
  return [
    "/** Where each field of the C structs lies: offset and size in bytes. */",
    "export const layouts = {",
    ...rows,
    "} as const satisfies Record<string, StructLayout>;",
    "",
  ].join("\n");
}

/** The whole of abi.gen.ts. */
export function generate(model: Model): string {
  return [
    HEADER,
    ...model.enums.map(enumText),
    ...model.structs.map(structText),
    mapsText(model),
    layoutsText(model),
  ].join("\n");
}
