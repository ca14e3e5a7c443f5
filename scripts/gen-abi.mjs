// Writes packages/abi/src/abi.gen.ts from the BTF of build/bpf/abi.bpf.o.
//
//   node scripts/gen-abi.mjs           build the object if need be, and write
//   node scripts/gen-abi.mjs --check   write nothing; exit 1 when the committed file differs
import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { buildBpf } from "./build-bpf.mjs";
import { importTs } from "./import-ts.mjs";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const target = join(root, "packages/abi/src/abi.gen.ts");

/** Types that axon/abi.h defines but abi.bpf.c does not mention would be missing in silence. */
function requireAll(model) {
  const header = readFileSync(join(root, "bpf/include/axon/abi.h"), "utf8");
  const defined = [...header.matchAll(/^(?:struct|enum) (ax_\w+) \{/gm)].map((match) => match[1]);
  const known = new Set([...model.structs, ...model.enums].map((type) => type.c).concat("ax_addr"));
  const missing = defined.filter((name) => !known.has(name));
  if (missing.length > 0) throw new Error(`bpf/abi.bpf.c must mention: ${missing.join(", ")}`);
}

await buildBpf({ only: "abi" });
const { Btf } = await importTs("packages/abi/src/btf.ts");
const { modelOf } = await importTs("packages/abi/src/model.ts");
const { generate } = await importTs("packages/abi/src/generate.ts");
try {
  const model = modelOf(Btf.fromElf(readFileSync(join(root, "build/bpf/abi.bpf.o"))));
  requireAll(model);
  const text = generate(model);
  if (!process.argv.includes("--check")) writeFileSync(target, text);
  else if (readFileSync(target, "utf8") !== text) {
    throw new Error("packages/abi/src/abi.gen.ts is not what the headers say: run node scripts/gen-abi.mjs");
  }
} catch (error) {
  console.error(error.message);
  process.exit(1);
}
