/**
 * The version after this one, as far as tests of upgrades need one: the same sources with AX_NEXT_VERSION, which adds
 * fields to the rows of pinned maps, and bundles of the agent and the DNS proxy that know them. To build/next, laid
 * out like the checkout: dist/agent.mjs, build/bpf, build/native.
 */
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { build } from "esbuild";
import { buildBpf } from "./build-bpf.mjs";
import { importTs } from "./import-ts.mjs";

const root = join(import.meta.dirname, "..");
const next = join(root, "build/next");

/** Builds what changed since it was built last. Returns its folder. */
export async function buildNext() {
  const outDir = join(next, "build/bpf");
  await buildBpf({ defines: ["AX_NEXT_VERSION"], outDir });
  const native = join(next, "build/native");
  if (!existsSync(native)) symlinkSync(join(root, "build/native"), native);
  const abi = await nextAbi(join(outDir, "abi.bpf.o"));
  await bundle(abi);
  return next;
}

/** packages/abi/src/abi.gen.ts for the other layouts. */
async function nextAbi(object) {
  const { Btf } = await importTs("packages/abi/src/btf.ts");
  const { modelOf } = await importTs("packages/abi/src/model.ts");
  const { generate } = await importTs("packages/abi/src/generate.ts");
  const path = join(next, "abi.gen.ts");
  const text = generate(modelOf(Btf.fromElf(readFileSync(object))));
  writeFileSync(
    path,
    text.replace('"./layout.ts"', JSON.stringify(join(root, "packages/abi/src/layout.ts"))),
  );
  return path;
}

async function bundle(abi) {
  mkdirSync(join(next, "dist"), { recursive: true });
  await build({
    entryPoints: {
      agent: join(root, "apps/agent/src/main.ts"),
      dnsproxy: join(root, "apps/dnsproxy/src/main.ts"),
    },
    outdir: join(next, "dist"),
    outExtension: { ".js": ".mjs" },
    bundle: true,
    platform: "node",
    target: "node20",
    format: "esm",
    logLevel: "warning",
    external: ["*.node", "bufferutil", "utf-8-validate"],
    define: { AXON_VERSION: '"next"', AXON_BUILD: '"00000000"' },
    banner: {
      js: 'import { createRequire as __createRequire } from "node:module"; const require = __createRequire(import.meta.url);',
    },
    footer: { js: "// axon-build 00000000" },
    plugins: [{ name: "abi", setup: (b) => b.onResolve({ filter: /abi\.gen\.ts$/ }, () => ({ path: abi })) }],
  });
}

if (process.argv[1] === import.meta.filename) await buildNext();
