// Loads every datapath object into the running kernel and tells what verifying each program cost.
// Prints a table, writes build/verifier-report.json. Needs root. Nothing stays in the kernel.
//
//   node scripts/verifier-report.mjs           report; a program over the budget is marked
//   node scripts/verifier-report.mjs --check   also exit 1 when one is over the budget or does not load
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { release, tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { buildBpf } from "./build-bpf.mjs";
import { importTs } from "./import-ts.mjs";

/** Share of the kernel's limit that one program may use. */
const BUDGET = 0.3;

const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const objects = join(root, "build/bpf");

function row(object, stats, loadMs, limit) {
  const share = stats.verifiedInsns / limit;
  return { object, ...stats, share, loadMs, overBudget: share > BUDGET };
}

function table(rows) {
  const head = [
    "object",
    "program",
    "insns",
    "% of limit",
    "verify ms",
    "object load ms",
    "jited",
    "stack",
    "",
  ];
  const lines = rows.map((r) => [
    ...[r.object, r.program, String(r.verifiedInsns), (100 * r.share).toFixed(2)],
    ...[
      (r.verificationUs / 1000).toFixed(1),
      r.loadMs.toFixed(1),
      String(r.jitedBytes),
      String(r.stackBytes ?? ""),
    ],
    r.overBudget ? "OVER BUDGET" : "",
  ]);
  const widths = head.map((_, i) => Math.max(...[head, ...lines].map((line) => line[i].length)));
  const pad = (text, i) => (i > 1 && i < 8 ? text.padStart(widths[i]) : text.padEnd(widths[i]));
  return [head, ...lines].map((line) => line.map(pad).join("  ").trimEnd()).join("\n");
}

/** Loads one object alone, its maps in a folder of its own. */
function measure(bpf, file, pinDir) {
  const object = bpf.BpfObject.open(join(objects, file)).configure({ pinDir });
  const start = performance.now();
  const loaded = object.load();
  const loadMs = performance.now() - start;
  try {
    const name = file.replace(/\.bpf\.o$/, "");
    return loaded.stats.map((stats) => row(name, stats, loadMs, bpf.VERIFIER_LIMIT));
  } finally {
    loaded.close();
  }
}

async function main() {
  await buildBpf();
  const bpf = await importTs("packages/bpf/src/index.ts");
  const bpffs = mkdtempSync(join(tmpdir(), "axon-verifier-"));
  const rows = [];
  const failures = [];
  bpf.mountBpffs(bpffs);
  try {
    // The sources decide: an object whose source is gone may still lie in build/.
    const files = readdirSync(objects).filter((f) => existsSync(join(root, "bpf", f.replace(/\.o$/, ".c"))));
    for (const file of files.filter((f) => f.endsWith(".bpf.o")).sort()) {
      try {
        rows.push(...measure(bpf, file, bpffs));
      } catch (error) {
        failures.push(`${file}: ${error.message}`);
      }
    }
  } finally {
    bpf.unmountBpffs(bpffs);
    rmSync(bpffs, { recursive: true });
  }
  const report = { kernel: release(), budget: BUDGET, limit: bpf.VERIFIER_LIMIT, programs: rows, failures };
  writeFileSync(join(root, "build/verifier-report.json"), `${JSON.stringify(report, null, 2)}\n`);
  console.log(table(rows));
  for (const failure of failures) console.error(failure);
  const over = rows.filter((r) => r.overBudget);
  if (over.length > 0)
    console.error(`over ${100 * BUDGET} % of the limit: ${over.map((r) => r.program).join(", ")}`);
  return failures.length === 0 && over.length === 0;
}

const passed = await main();
if (process.argv.includes("--check") && !passed) process.exit(1);
