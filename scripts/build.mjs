#!/usr/bin/env node
/**
 * Builds what the apps need to run: the native parts (one C compiler call each, only when their inputs changed),
 * the eBPF objects, and one bundle per entry point in `dist/`. Prints a line a step; exits non-zero on the first
 * failure with the compiler's own words.
 */
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { chmod, mkdir, readdir, readFile, rename, writeFile } from "node:fs/promises";
import { join, relative } from "node:path";
import { build } from "esbuild";
import { build as buildPage } from "vite";

const root = join(import.meta.dirname, "..");

/** Entry point -> bundle name. Every `apps/<x>/src/main.ts` is one; the API server is also runnable alone. */
async function entryPoints() {
  const entries = {};
  for (const app of await readdir(join(root, "apps"))) {
    const main = join(root, "apps", app, "src", "main.ts");
    if (existsSync(main)) entries[app] = main;
  }
  const apiserver = join(root, "apps/lab/src/apiserver/main.ts");
  if (existsSync(apiserver)) entries.apiserver = apiserver;
  return entries;
}

/** Stands in every bundle for the build's id until all of them are known; as long as an id. */
const idMark = "@axon-build@";

/**
 * Bundles keep their CommonJS dependencies working by a `require` of their own. All of them carry one id, the hash of
 * what was bundled: programs that start one another can tell that they are of one build.
 */
async function bundle() {
  const { version } = JSON.parse(await readFile(join(root, "package.json"), "utf8"));
  const { outputFiles, metafile } = await build({
    entryPoints: await entryPoints(),
    outdir: join(root, "dist"),
    outExtension: { ".js": ".mjs" },
    bundle: true,
    write: false,
    metafile: true,
    platform: "node",
    target: "node20",
    format: "esm",
    sourcemap: true,
    logLevel: "warning",
    legalComments: "none",
    external: ["*.node", "bufferutil", "utf-8-validate"],
    define: { AXON_VERSION: JSON.stringify(version), AXON_BUILD: JSON.stringify(idMark) },
    banner: {
      js: 'import { createRequire as __createRequire } from "node:module"; const require = __createRequire(import.meta.url);',
    },
    footer: { js: `// axon-build ${idMark}` },
  });
  const hash = createHash("sha256");
  for (const { contents } of outputFiles) hash.update(contents);
  const id = hash.digest("hex").slice(0, idMark.length);
  await mkdir(join(root, "dist"), { recursive: true });
  // Written beside and renamed: whoever starts a program meanwhile reads the old one or the new one, whole.
  for (const { path, text } of outputFiles) {
    const whole = path.endsWith(".map") ? text : text.replaceAll(idMark, id);
    await writeFile(`${path}.new`, whole);
  }
  for (const { path } of outputFiles) await rename(`${path}.new`, path);
  for (const { entryPoint, inputs } of Object.values(metafile.outputs)) {
    const used = Object.keys(inputs).filter((module) => inputs[module].bytesInOutput > 0);
    if (entryPoint) modules.set(entryPoint, used);
  }
}

/** Entry point -> the modules whose code its bundle has, below the root. */
const modules = new Map();

/** The web page, to dist/ui. */
async function page() {
  const read = new Set();
  const notes = {
    name: "axoneme-inputs",
    generateBundle(_options, outputs) {
      for (const { moduleIds = [] } of Object.values(outputs)) for (const id of moduleIds) read.add(id);
    },
  };
  // Workers are bundled by themselves, with plugins of their own.
  const worker = { plugins: () => [notes] };
  const configFile = join(root, "apps/ui/web/vite.config.ts");
  await buildPage({ configFile, logLevel: "warn", plugins: [notes], worker });
  const files = [...read].filter((id) => id.startsWith("/")).map((id) => relative(root, id.split("?")[0]));
  modules.set("apps/ui/web", files.sort());
}

/** What went into what is delivered: `make image` lists it. */
async function inputs() {
  await writeFile(join(root, "build/inputs.json"), JSON.stringify(Object.fromEntries([...modules].sort())));
}

/** `bin/axon` starts the CLI of this checkout; npm links it where a package is installed (package.json, `bin`). */
async function launcher() {
  await mkdir(join(root, "bin"), { recursive: true });
  const file = join(root, "bin/axon");
  await writeFile(file, '#!/usr/bin/env node\nawait import("../dist/cli.mjs");\n');
  await chmod(file, 0o755);
}

function run(script) {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [join(root, script)], { cwd: root, stdio: "inherit" });
    child.on("error", reject);
    child.on("exit", (code) =>
      code === 0 ? resolve() : reject(new Error(`${script} failed (exit ${code})`)),
    );
  });
}

const steps = [
  ["native parts", () => run("packages/netlink/build-native.mjs")],
  ["probe", () => run("apps/probe/build.mjs")],
  ["CNI plugin", () => run("apps/cni/build.mjs")],
  ["eBPF objects", () => run("scripts/build-bpf.mjs")],
  ["bundles", bundle],
  ["page", page],
  ["inputs", inputs],
  ["bin/axon", launcher],
];

try {
  for (const [name, step] of steps) {
    const start = performance.now();
    await step();
    console.log(`build: ${name} (${Math.round(performance.now() - start)} ms)`);
  }
} catch (error) {
  console.error(`build: ${error.message}`);
  process.exit(1);
}
