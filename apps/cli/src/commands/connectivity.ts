import { existsSync } from "node:fs";
import { join } from "node:path";
import { Command } from "commander";
import type { KubectlBed } from "../connectivity/bed.ts";
import { choose, type Result, runScenario } from "../connectivity/runner.ts";
import { type Scenario, scenarios, testNamespace } from "../connectivity/scenarios.ts";
import type { Context } from "../context.ts";
import { CliError, exitCode, usageError } from "../errors.ts";
import { outputOption, print } from "../output.ts";
import { examples } from "./help.ts";

interface Options {
  readonly lab: string;
  readonly test: string[];
  readonly keep?: boolean;
  readonly output: "table" | "json" | "yaml";
}

/** `axon connectivity`. */
export function connectivityCommand(context: Context): Command {
  return new Command("connectivity")
    .description("test that pods reach each other, and that policies cut off whom they should")
    .addCommand(testCommand(context));
}

function testCommand(context: Context): Command {
  return new Command("test")
    .description(`start pods in the namespace ${testNamespace} of a lab, apply policies, compare what holds`)
    .option(
      "--lab <name>",
      "which lab (default: $AXON_LAB, else default)",
      context.env["AXON_LAB"] ?? "default",
    )
    .option("--test <regex...>", "only tests that match; !regex leaves out", [])
    .option("--keep", "leave the namespace for looking into")
    .addOption(outputOption())
    .addHelpText(
      "after",
      `\nIt needs kubectl and a lab of two nodes or more; clusters outside of this machine are not supported. TCP over IPv4
is tested. Exit code 1: a test failed.\n${examples(
        ["axon connectivity test", "all tests in the lab default"],
        ["axon connectivity test --test '^echo-' '!knp$' -o json", "some of them, for a program"],
      )}`,
    )
    .action((options: Options) => run(context, options));
}

async function run(context: Context, options: Options): Promise<void> {
  const chosen = chosenTests(options.test);
  const { KubectlBed } = await import("../connectivity/bed.ts");
  const bed = new KubectlBed({ ...(await findLab(options.lab)), signal: context.signal });
  const results = await runAll(context, bed, chosen, options.keep === true);
  await print(context, options, results, {
    header: ["TEST", "RESULT", "ACTIONS", "FAILURES"],
    row: ({ name, passed, actions, failures }) => [
      name,
      passed ? "passed" : "FAILED",
      `${actions}`,
      failures.join("; ") || "-",
    ],
    empty: "no tests",
  });
  if (results.some(({ passed }) => !passed)) context.setExitCode(exitCode.failed);
}

function chosenTests(patterns: readonly string[]): Scenario[] {
  let chosen: Scenario[];
  try {
    chosen = choose(scenarios, patterns);
  } catch (error) {
    throw usageError(`--test: ${error instanceof Error ? error.message : String(error)}`);
  }
  if (chosen.length > 0) return chosen;
  throw usageError("--test matches no test", `tests are ${scenarios.map(({ name }) => name).join(", ")}`);
}

async function findLab(
  name: string,
): Promise<{ kubeconfig: string; probe: string; nodes: readonly [string, string] }> {
  const { labStatus } = await import("@axoneme/lab");
  const { state, kubeconfig, nodes } = await labStatus({ name });
  if (state !== "running") {
    throw new CliError(exitCode.notFound, { what: "no such lab runs", object: name, fix: "axon lab up" });
  }
  const [first, other] = nodes;
  if (first === undefined || other === undefined) {
    throw new CliError(exitCode.failed, { what: "the lab has no two nodes", object: name });
  }
  const probe = join(import.meta.dirname, "../build/bin/axon-probe");
  if (!existsSync(probe))
    throw new CliError(exitCode.failed, { what: "axon-probe is missing", object: probe });
  return { kubeconfig, probe, nodes: [first.name, other.name] };
}

async function runAll(
  context: Context,
  bed: KubectlBed,
  tests: readonly Scenario[],
  keep: boolean,
): Promise<Result[]> {
  const results: Result[] = [];
  try {
    await bed.start();
    for (const test of tests) {
      const result = await runScenario(bed, test);
      context.signal.throwIfAborted();
      results.push(result);
      await context.stderr.write(`${result.passed ? "passed" : "FAILED"}  ${test.name}\n`);
    }
  } finally {
    if (!keep) await bed.stop();
  }
  return results;
}
