#!/usr/bin/env node
/**
 * Everything `make test` stands for, one stage after the other: style and layers, types, the verifier's budget, unit
 * tests, then the tests that need root and the real kernel: those with labs, and beside them those without. A failed
 * stage does not hide the later ones. A few files that failed are run once more, alone; what then passes is still told.
 * The last line is `N passed, M failed`; the exit code is non-zero when anything failed or nothing ran.
 */
import { spawn } from "node:child_process";
import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";

const root = join(import.meta.dirname, "..");
const reports = join(root, "build", "test");

const bin = (name) => join(root, "node_modules", ".bin", name);
const vitest = (project, report, ...more) => [
  bin("vitest"),
  [
    "run",
    "--project",
    project,
    "--reporter=default",
    "--reporter=json",
    `--reporter=${join(root, "scripts", "failures-reporter.mjs")}`,
    `--outputFile.json=${join(reports, `${report}.json`)}`,
    ...more,
  ],
  report,
];

const failuresFile = (report) => join(reports, `${report}.failures`);

/** Labs share nothing and wait most of their time: two files at once. More would fall behind the time limits of the tests. */
const TWO_LABS = ["--file-parallelism", "--maxWorkers=2"];

/** More files than this do not fail by chance. */
const MOST_AGAIN = 4;

/** name, command, and the vitest report it leaves (undefined: the stage counts as one test). */
const stages = [
  ["style", bin("biome"), ["check", "."]],
  ["layers", bin("depcruise"), ["--config", ".dependency-cruiser.cjs", "packages", "apps"]],
  ["unused code", bin("knip"), ["--no-progress"]],
  ["types", bin("tsc"), ["--noEmit", "-p", "tsconfig.json"]],
  ["types of the page", bin("tsc"), ["--noEmit", "-p", "apps/ui/web/tsconfig.json"]],
  ["verifier budget", process.execPath, ["scripts/verifier-report.mjs", "--check"]],
  ["unit tests", ...vitest("unit", "unit", `--maxWorkers=${availableParallelism()}`)],
  ["integration tests", ...vitest("root", "root", ...TWO_LABS, "--exclude", "{bpf,packages,apps}/**")],
  ["kernel tests", ...vitest("root", "kernel", "--exclude", "test/**")],
];
/** Runs beside the one before: labs wait most of their time. */
const beside = "kernel tests";

function run(command, args, report) {
  return new Promise((resolve) => {
    const env = report ? { ...process.env, AXON_FAILURES: failuresFile(report) } : process.env;
    const child = spawn(command, args, { cwd: root, env, stdio: "inherit" });
    child.on("error", (error) => {
      console.error(`test: ${error.message}`);
      resolve(127);
    });
    child.on("exit", (code, signal) => resolve(signal ? 128 : (code ?? 1)));
  });
}

/** What a run of vitest left: passed tests, failures (a line each), the files they are in. */
function counts(report, exitCode) {
  try {
    const { testResults } = JSON.parse(readFileSync(join(reports, `${report}.json`), "utf8"));
    const failures = readFileSync(failuresFile(report), "utf8").split("\n").filter(Boolean);
    if (failures.length === 0 && exitCode !== 0) failures.push(`${report}: exit code ${exitCode}`);
    const isFailed = ({ status }) => status === "failed";
    const passedIn = (files) =>
      files.flatMap(({ assertionResults }) => assertionResults).filter(({ status }) => status === "passed")
        .length;
    return {
      passed: passedIn(testResults),
      passedElsewhere: passedIn(testResults.filter((file) => !isFailed(file))),
      failures,
      files: testResults.filter(isFailed).map(({ name }) => name),
    };
  } catch (error) {
    return { passed: 0, passedElsewhere: 0, failures: [`${report}: no report: ${error.message}`], files: [] };
  }
}

/**
 * Runs the files that failed once more, with nothing beside them: labs share two cores with each other, and a packet or a
 * second lost to that is not the product's. What failed first is told in every case; what fails again has failed.
 */
async function alone(first, report, args) {
  if (first.files.length === 0 || first.files.length > MOST_AGAIN) return first;
  const project = args[args.indexOf("--project") + 1];
  const [command, more, again] = vitest(project, `${report}-again`, "--maxWorkers=1", ...first.files);
  console.log(`\n== once more, alone: ${first.files.join(" ")}`);
  const second = counts(again, await run(command, more, again));
  const stray = first.failures.filter((line) => line.startsWith("outside every test"));
  chance.push(...first.failures.filter((line) => !stray.includes(line) && !second.failures.includes(line)));
  return { passed: first.passedElsewhere + second.passed, failures: [...stray, ...second.failures] };
}

rmSync(reports, { recursive: true, force: true });
mkdirSync(reports, { recursive: true });
const only = process.argv.slice(2);
let passed = 0;
const failures = [];
/** Failures that did not come again. */
const chance = [];
const lines = [];
async function stage([name, command, args, report]) {
  console.log(`\n== ${name}`);
  const start = performance.now();
  const code = await run(command, args, report);
  const result = report
    ? counts(report, code)
    : { passed: code === 0 ? 1 : 0, failures: code === 0 ? [] : [`${name}: exit code ${code}`] };
  return { name, args, report, result, seconds: ((performance.now() - start) / 1000).toFixed(1) };
}

async function finish({ name, args, report, result, seconds }) {
  const last = report ? await alone(result, report, args) : result;
  passed += last.passed;
  failures.push(...last.failures);
  lines.push(
    `  ${last.failures.length === 0 ? "ok    " : "FAILED"} ${name} (${seconds} s, ${last.passed} passed, ${last.failures.length} failed)`,
  );
}

const wanted = stages.filter(([name, , , report]) => only.length === 0 || only.includes(report ?? name));
for (const [index, one] of wanted.entries()) {
  if (one[0] === beside && index > 0) continue;
  const next = wanted[index + 1];
  const ran = await Promise.all([stage(one), ...(next?.[0] === beside ? [stage(next)] : [])]);
  for (const each of ran) await finish(each);
}
console.log(`\n${lines.join("\n")}\n`);
// Once more what failed: a log that is cut keeps its end.
for (const failure of chance) console.log(`  not again when alone: ${failure}`);
for (const failure of failures) console.log(`  ${failure}`);
console.log(`${passed} passed, ${failures.length} failed`);
process.exit(failures.length === 0 && passed > 0 ? 0 : 1);
