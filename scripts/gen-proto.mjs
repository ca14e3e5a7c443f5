// Writes packages/proto/src/gen from packages/proto/proto.
//
//   node scripts/gen-proto.mjs             write
//   node scripts/gen-proto.mjs --out DIR   write to DIR instead (to compare)
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const bin = join(root, "node_modules/.bin");

/** buf reads where plugins are and what they are told from here. Imports between files name them with `.ts`. */
const template = (out) => ({
  version: "v2",
  plugins: [
    {
      local: [process.execPath, join(bin, "protoc-gen-es")],
      out,
      opt: ["target=ts", "import_extension=ts", "erasable_syntax=true"],
    },
  ],
});

function compile(out) {
  const args = ["generate", "--template", JSON.stringify(template(out)), join(root, "packages/proto")];
  const { status, stderr, error } = spawnSync(join(bin, "buf"), args, { cwd: root, encoding: "utf8" });
  if (error) throw new Error(`buf cannot run: ${error.message}; run make setup`);
  if (status !== 0) throw new Error(`buf: ${stderr}`);
}

/** Generated files carry the name by which style and layer checks know them. */
function adopt(from, to) {
  for (const entry of readdirSync(from, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    const target = join(to, relative(from, path)).replace(/_pb\.ts$/, ".gen.ts");
    mkdirSync(dirname(target), { recursive: true });
    writeFileSync(target, readFileSync(path, "utf8").replace(/(from "\.[^"]*)_pb\.ts"/g, '$1.gen.ts"'));
  }
}

const at = process.argv.indexOf("--out");
const target = at > 0 ? resolve(process.argv[at + 1]) : join(root, "packages/proto/src/gen");
const work = mkdtempSync(join(tmpdir(), "axon-proto-"));
try {
  compile(work);
  rmSync(target, { recursive: true, force: true });
  adopt(work, target);
} catch (error) {
  console.error(`gen-proto: ${error.message}`);
  process.exitCode = 1;
} finally {
  rmSync(work, { recursive: true, force: true });
}
