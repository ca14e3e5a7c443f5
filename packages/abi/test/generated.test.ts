import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, it } from "vitest";
import { compileBpf } from "../../../scripts/build-bpf.mjs";
import { Btf } from "../src/btf.ts";
import { generate } from "../src/generate.ts";
import { layouts, type StructLayout } from "../src/index.ts";
import { modelOf } from "../src/model.ts";

const root = resolve(fileURLToPath(import.meta.url), "../../../..");
const folder = mkdtempSync(join(tmpdir(), "axon-abi-test-"));

afterAll(() => rmSync(folder, { recursive: true }));

/** Compiles C text to a BPF object and reads its types. */
function btfOf(name: string, source: string): Btf {
  const [input, output] = [join(folder, `${name}.bpf.c`), join(folder, `${name}.bpf.o`)];
  writeFileSync(input, source);
  compileBpf(input, output);
  return Btf.fromElf(readFileSync(output));
}

describe("abi.gen.ts", () => {
  const object = join(folder, "abi.bpf.o");
  compileBpf(join(root, "bpf/abi.bpf.c"), object);
  const model = modelOf(Btf.fromElf(readFileSync(object)));

  it("is byte for byte what the headers say (else: node scripts/gen-abi.mjs)", () => {
    const committed = readFileSync(join(root, "packages/abi/src/abi.gen.ts"), "utf8");
    expect(generate(model) === committed, "run node scripts/gen-abi.mjs").toBe(true);
  });

  it("has every struct and enum of axon/abi.h", () => {
    const header = readFileSync(join(root, "bpf/include/axon/abi.h"), "utf8");
    const defined = [...header.matchAll(/^(?:struct|enum) (ax_\w+) \{/gm)].map((match) => match[1]);
    const known = [...model.structs, ...model.enums].map((type) => type.c);
    expect(defined.filter((name) => name !== "ax_addr").sort()).toEqual([...new Set(known)].sort());
  });

  it("has every map of axon/maps.h", () => {
    const header = readFileSync(join(root, "bpf/include/axon/maps.h"), "utf8");
    const defined = [...header.matchAll(/^(?:AX_(MAP|GROWING)\((ax_\w+)|\} (ax_\w+) SEC)/gm)].flatMap(
      ([, how, named = "", plain = ""]) => (how === "GROWING" ? [named, `${named}_row`] : [named || plain]),
    );
    expect(model.maps.map(([name]) => name)).toEqual(defined.sort());
  });
});

describe("the C compiler of the machine", () => {
  it("lays the structs out as the table says", () => {
    const lines = Object.values(layouts as Record<string, StructLayout>).flatMap(({ c, fields }) => [
      `printf("${c} %zu\\n", sizeof(struct ${c}));`,
      ...Object.keys(fields).map(
        (f) =>
          `printf("${c}.${f} %zu %zu\\n", offsetof(struct ${c}, ${f}), sizeof(((struct ${c} *)0)->${f}));`,
      ),
    ]);
    const source = join(folder, "layout.c");
    const program = join(folder, "layout");
    const head = '#include <stddef.h>\n#include <stdio.h>\n#include "axon/abi.h"\n';
    writeFileSync(source, `${head}int main(void)\n{\n${lines.join("\n")}\nreturn 0;\n}\n`);
    execFileSync("gcc", ["-Wall", "-Werror", `-I${join(root, "bpf/include")}`, source, "-o", program]);
    const said = execFileSync(program, { encoding: "utf8" }).trim().split("\n");
    const wanted = Object.values(layouts as Record<string, StructLayout>).flatMap(({ c, size, fields }) => [
      `${c} ${size}`,
      ...Object.entries(fields).map(([f, [offset, bytes]]) => `${c}.${f} ${offset} ${bytes}`),
    ]);
    expect(said).toEqual(wanted);
  });
});

describe("a struct that cannot be a key", () => {
  it("is refused when it has unnamed padding", () => {
    const btf = btfOf("hole", "struct ax_hole { char a; int b; };\nstruct ax_hole hole;\n");
    expect(() => modelOf(btf)).toThrow(/struct ax_hole has unnamed padding before b \(byte 1\)/);
    const tail = btfOf("tail", "struct ax_tail { int a; char b; };\nstruct ax_tail tail;\n");
    expect(() => modelOf(tail)).toThrow(/unnamed padding before the end \(byte 5\)/);
  });

  it("is refused when a field has no codec", () => {
    const btf = btfOf("pointer", "struct ax_pointer { void *p; };\nstruct ax_pointer pointer;\n");
    expect(() => modelOf(btf)).toThrow(/ax_pointer.p: no codec/);
  });

  it("knows signed numbers and negative enum values", () => {
    const text =
      "enum ax_sign { AX_SIGN_MINUS = -1, AX_SIGN_PLUS = 1 };\nstruct ax_s { int a; short b; short c; enum ax_sign e; };\n";
    const model = modelOf(btfOf("sign", `${text}struct ax_s s;\n`));
    expect(model.enums[0]?.values.map(({ name, value }) => [name, value])).toEqual([
      ["MINUS", -1],
      ["PLUS", 1],
    ]);
    expect(model.structs[0]?.fields[0]?.shape).toEqual({
      kind: "number",
      bytes: 4,
      signed: true,
      swapped: false,
    });
  });
});

describe("what is not a BPF object", () => {
  it("is refused with a reason", () => {
    expect(() => Btf.fromElf(new Uint8Array(10))).toThrow(/no ELF header/);
    expect(() => Btf.fromElf(readFileSync(process.execPath))).toThrow(/no section .BTF/);
  });
});
