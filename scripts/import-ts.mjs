// Node 20 cannot run TypeScript: bundles one of our TypeScript files to build/scripts/ and imports it.
import { mkdirSync, rmSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { build } from "esbuild";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");

/** Imports a TypeScript module given by its path from the repository's root. */
export async function importTs(path) {
  const outfile = join(root, "build/scripts", `${path.replace(/[^a-z0-9]+/gi, "-")}-${process.pid}.mjs`);
  mkdirSync(dirname(outfile), { recursive: true });
  // CommonJS dependencies need a require.
  const banner = {
    js: 'import { createRequire as makeRequire } from "node:module"; const require = makeRequire(import.meta.url);',
  };
  const options = {
    bundle: true,
    platform: "node",
    target: "node20",
    format: "esm",
    logLevel: "error",
    banner,
  };
  await build({ ...options, entryPoints: [join(root, path)], outfile });
  try {
    return await import(pathToFileURL(outfile).href);
  } finally {
    rmSync(outfile, { force: true });
  }
}
