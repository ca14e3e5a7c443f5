#!/usr/bin/env node
/**
 * `make bench`: runs every bench/<name>/main.ts, one after the other, then puts their figures beside the bars. Names
 * as arguments run only those. JSON is in build/bench. A bar that is missed is no failure; a benchmark that breaks is.
 */
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { build } from "esbuild";

const root = join(import.meta.dirname, "..");
const results = join(root, "build/bench");

function benchmarks() {
  const all = readdirSync(join(root, "bench"), { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && existsSync(join(root, "bench", entry.name, "main.ts")))
    .map((entry) => entry.name);
  const wanted = process.argv.slice(2);
  const unknown = wanted.filter((name) => !all.includes(name));
  if (unknown.length > 0) throw new Error(`no benchmark ${unknown.join(", ")}; there are ${all.join(", ")}`);
  return wanted.length > 0 ? wanted : all.sort();
}

/** As scripts/build.mjs bundles the apps: to dist/, from where native parts are found. */
async function bundle(names) {
  await build({
    entryPoints: Object.fromEntries(
      names.map((name) => [`bench-${name}`, join(root, "bench", name, "main.ts")]),
    ),
    outdir: join(root, "dist"),
    outExtension: { ".js": ".mjs" },
    bundle: true,
    platform: "node",
    target: "node20",
    format: "esm",
    logLevel: "warning",
    external: ["*.node", "bufferutil", "utf-8-validate", "playwright-core"],
    banner: {
      js: 'import { createRequire as __createRequire } from "node:module"; const require = __createRequire(import.meta.url);',
    },
  });
}

function run(name) {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [join(root, "dist", `bench-${name}.mjs`)], {
      cwd: root,
      stdio: "inherit",
    });
    child.on("error", () => resolve(false));
    child.on("exit", (code) => resolve(code === 0));
  });
}

function measuresOf(name) {
  const file = join(results, `summary-${name}.json`);
  return existsSync(file) ? JSON.parse(readFileSync(file, "utf8")).measures : [];
}

function row({ measure, ours, peer, value, bar, met }) {
  const text = "atLeast" in bar ? `>= ${bar.atLeast}` : `<= ${bar.atMost}`;
  const judged = value === null ? "-" : value < 10 ? value.toFixed(3) : value.toFixed(0);
  return [measure, ours, peer === "" ? "-" : peer, judged, text, met ? "yes" : "NO"];
}

function table(rows) {
  const widths = rows[0].map((_, i) => Math.max(...rows.map((r) => r[i].length)));
  return rows
    .map((r) => r.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i]))).join("  "))
    .join("\n");
}

try {
  const names = benchmarks();
  mkdirSync(results, { recursive: true });
  for (const name of names) rmSync(join(results, `summary-${name}.json`), { force: true });
  await bundle(names);
  const broken = [];
  for (const name of names) {
    console.log(`\n== ${name} ==\n`);
    if (!(await run(name))) broken.push(name);
  }
  const measures = names.flatMap(measuresOf);
  writeFileSync(join(results, "summary.json"), `${JSON.stringify(measures, null, 2)}\n`);
  console.log("\n== summary: ratios to the peer of the same run; figures of our own in their unit ==\n");
  console.log(table([["measure", "ours", "peer", "judged", "bar", "met"], ...measures.map(row)]));
  if (broken.length > 0) throw new Error(`did not finish: ${broken.join(", ")}`);
} catch (error) {
  console.error(`bench: ${error.message}`);
  process.exitCode = 1;
}
