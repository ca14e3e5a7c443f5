// Builds the datapath objects (build/bpf/<name>.bpf.o), the native addons (build/native/<name>.node)
// and nothing else. A product is rebuilt only when the hash of its inputs and of its command changed.
//
//   node scripts/build-bpf.mjs [--force] [--verbose] [--only <product name>]
import { execFile, execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const run = promisify(execFile);
const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const clang = process.env.CLANG ?? "clang-19";
const cc = process.env.CC ?? "gcc";

/** Folder of headers that name the machine's architecture (asm/types.h on Debian). */
function archInclude() {
  const triplet = { x64: "x86_64-linux-gnu", arm64: "aarch64-linux-gnu" }[process.arch];
  if (!triplet) throw new Error(`no header folder known for architecture ${process.arch}`);
  return `/usr/include/${triplet}`;
}

/** The command line that compiles one datapath source; also used by tests for their own programs. */
function bpfCompileArgs(source, output, includes = [], defines = []) {
  return [
    ...defines.map((name) => `-D${name}`),
    ...["-g", "-O2", "-target", "bpf", "-mcpu=v3", "-Wall", "-Wextra", "-Werror"],
    ...[join(root, "bpf/include"), join(root, "bpf/lib"), ...includes, archInclude()].map(
      (dir) => `-I${dir}`,
    ),
    ...["-c", source, "-o", output],
  ];
}

/** Compiles one source right now (tests). Throws with the compiler's words. */
export function compileBpf(source, output, includes = []) {
  mkdirSync(dirname(output), { recursive: true });
  execFileSync(clang, bpfCompileArgs(source, output, includes), { stdio: ["ignore", "ignore", "pipe"] });
}

/** Where node_api.h and uv.h of this Node are. */
function nodeInclude() {
  const candidates = [
    process.env.npm_config_nodedir && join(process.env.npm_config_nodedir, "include/node"),
    resolve(dirname(process.execPath), "../include/node"),
    "/usr/include/node",
    "/usr/local/include/node",
  ].filter(Boolean);
  const found = candidates.find(
    (dir) => existsSync(join(dir, "node_api.h")) && existsSync(join(dir, "uv.h")),
  );
  if (found) return found;
  throw new Error(
    `Node's headers (node_api.h and uv.h) are in none of: ${candidates.join(", ")}. ` +
      "Install them (Debian: nodejs with /usr/include/node, or libnode-dev) or set npm_config_nodedir.",
  );
}

function filesUnder(dir, wanted) {
  if (!existsSync(dir)) return [];
  return readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && wanted.test(entry.name))
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
    .sort();
}

/** @param options `defines`: names for the preprocessor; `outDir`: where the objects go, default build/bpf. */
function bpfProducts({ defines = [], outDir = join(root, "build/bpf") } = {}) {
  const headers = [
    ...filesUnder(join(root, "bpf/include"), /\.h$/),
    ...filesUnder(join(root, "bpf/lib"), /\.h$/),
  ];
  return readdirSync(join(root, "bpf"))
    .filter((name) => name.endsWith(".bpf.c"))
    .map((name) => {
      const source = join(root, "bpf", name);
      const output = join(outDir, name.replace(/\.c$/, ".o"));
      const args = (out) => bpfCompileArgs(source, out, [], defines);
      return {
        name: name.replace(/\.bpf\.c$/, ""),
        output,
        inputs: [source, ...headers],
        command: clang,
        args,
      };
    });
}

/**
 * An addon is a folder packages/<name>/native with C files; `native/libs` lists what it links,
 * one -l word per line. It becomes build/native/axon_<name>.node.
 */
function addonProducts() {
  return readdirSync(join(root, "packages"))
    .filter((name) => existsSync(join(root, "packages", name, "native/module.c")))
    .map((name) => {
      const dir = join(root, "packages", name, "native");
      const inputs = filesUnder(dir, /\.[ch]$|^libs$/);
      const sources = inputs.filter((file) => file.endsWith(".c"));
      const libs = existsSync(join(dir, "libs")) ? readFileSync(join(dir, "libs"), "utf8").split(/\s+/) : [];
      const output = join(root, "build/native", `axon_${name}.node`);
      const args = (out) => [
        ...[
          "-shared",
          "-fPIC",
          "-O2",
          "-g",
          "-std=gnu11",
          "-Wall",
          "-Wextra",
          "-Werror",
          "-fvisibility=hidden",
        ],
        ...[`-I${nodeInclude()}`, `-I${dir}`, ...sources, "-o", out, ...libs.filter(Boolean)],
      ];
      return { name: `axon_${name}`, output, inputs, command: cc, args };
    });
}

function fingerprint(product) {
  const hash = createHash("sha256");
  hash.update([product.command, ...product.args("OUT")].join("\0"));
  for (const file of product.inputs) hash.update(file).update("\0").update(readFileSync(file));
  return hash.digest("hex");
}

/** Compiles to a name of its own and renames: another process never loads half a file. */
async function build(product, verbose) {
  const temporary = `${product.output}.${process.pid}.tmp`;
  const args = product.args(temporary);
  if (verbose) console.log([product.command, ...args].join(" "));
  try {
    await run(product.command, args, { cwd: root, maxBuffer: 16 << 20 });
  } catch (error) {
    rmSync(temporary, { force: true });
    if (error.code === "ENOENT")
      throw new Error(`${product.command} is not installed (needed for ${product.name})`);
    throw new Error(`${basename(product.output)}:\n${error.stderr || error.message}`);
  }
  renameSync(temporary, product.output);
}

async function buildIfChanged(product, options) {
  mkdirSync(dirname(product.output), { recursive: true });
  const stamp = `${product.output}.sha256`;
  const print = fingerprint(product);
  const fresh = existsSync(product.output) && existsSync(stamp) && readFileSync(stamp, "utf8") === print;
  if (fresh && !options.force) return false;
  await build(product, options.verbose);
  writeFileSync(stamp, print);
  return true;
}

/** Builds everything that changed; with `outDir` (and `defines`) datapath objects only. Returns the names built; throws after all were tried, naming each failure. */
export async function buildBpf(options = {}) {
  const addons = options.outDir === undefined ? addonProducts() : [];
  const wanted = [...bpfProducts(options), ...addons].filter((p) => !options.only || p.name === options.only);
  if (options.only && wanted.length === 0) throw new Error(`no product is named ${options.only}`);
  const queue = [...wanted];
  const built = [];
  const failures = [];
  const worker = async () => {
    for (let product = queue.shift(); product; product = queue.shift()) {
      try {
        if (await buildIfChanged(product, options)) built.push(product.name);
      } catch (error) {
        failures.push(error.message);
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(availableParallelism(), queue.length) }, worker));
  if (failures.length > 0) throw new Error(failures.join("\n\n"));
  return built.sort();
}

if (process.argv[1] && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  const only = process.argv.includes("--only") ? process.argv[process.argv.indexOf("--only") + 1] : undefined;
  const options = {
    force: process.argv.includes("--force"),
    verbose: process.argv.includes("--verbose"),
    only,
  };
  try {
    const built = await buildBpf(options);
    console.log(built.length > 0 ? `built: ${built.join(", ")}` : "datapath and addons are up to date");
  } catch (error) {
    console.error(error.message);
    process.exit(1);
  }
}
