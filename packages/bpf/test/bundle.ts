import { mkdirSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { buildSync } from "esbuild";

const here = resolve(fileURLToPath(import.meta.url), "..");

/** Bundles test/<name>.ts as an app would be, into a folder below build/. */
export function bundle(name: string): { path: string; remove: () => void } {
  const dir = resolve(here, `../../../build/test-${process.pid}-${name}`);
  const path = join(dir, `${name}.mjs`);
  mkdirSync(dir, { recursive: true });
  const entryPoints = [join(here, `${name}.ts`)];
  buildSync({ entryPoints, outfile: path, bundle: true, platform: "node", format: "esm", logLevel: "error" });
  return { path, remove: () => rmSync(dir, { recursive: true }) };
}
