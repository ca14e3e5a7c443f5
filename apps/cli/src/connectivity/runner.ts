import { errorText } from "@axoneme/base";
import type { KubeObject } from "@axoneme/kube";
import type { Action, Scenario } from "./scenarios.ts";

/** Where tests run. */
export interface TestBed {
  apply(policies: readonly KubeObject[]): Promise<void>;
  remove(policies: readonly KubeObject[]): Promise<void>;
  /** Acts until it comes out as expected or the bed's patience ends; what came out at last. */
  act(action: Action): Promise<Action["expect"]>;
}

/** What became of one test. */
export interface Result {
  readonly name: string;
  readonly passed: boolean;
  readonly actions: number;
  /** One sentence for each thing that did not hold. */
  readonly failures: readonly string[];
}

/**
 * The tests that patterns choose: those any pattern matches, less those a pattern with `!` before it matches.
 * @throws SyntaxError of a pattern that is no regular expression
 */
export function choose(all: readonly Scenario[], patterns: readonly string[]): Scenario[] {
  const without = patterns.filter((p) => p.startsWith("!")).map((p) => new RegExp(p.slice(1)));
  const wanted = patterns.filter((p) => !p.startsWith("!")).map((p) => new RegExp(p));
  return all.filter(
    ({ name }) =>
      (wanted.length === 0 || wanted.some((p) => p.test(name))) && !without.some((p) => p.test(name)),
  );
}

/** Runs one test; its policies are gone afterwards, whatever happens. */
export async function runScenario(bed: TestBed, scenario: Scenario): Promise<Result> {
  const failures: string[] = [];
  const check = async (action: Action): Promise<void> => {
    const got = await bed.act(action);
    if (got !== action.expect)
      failures.push(`${action.from} to ${action.to}: ${got}, expected ${action.expect}`);
  };
  try {
    // From a clean state: a drop must be this test's, not that of policies which have just been removed.
    for (const from of ["client", "client2"] as const) {
      for (const to of ["echo-same-node", "echo-other-node"] as const) {
        const got = await bed.act({ from, to, expect: "reached" });
        if (got !== "reached") failures.push(`${from} to ${to}: ${got} before any policy`);
      }
    }
    await bed.apply(scenario.policies);
    // Drops first: they show that the policies are in force, without which a connection proves nothing.
    for (const action of scenario.actions) if (action.expect === "dropped") await check(action);
    for (const action of scenario.actions) if (action.expect === "reached") await check(action);
  } catch (error) {
    failures.push(errorText(error));
  }
  try {
    await bed.remove(scenario.policies);
  } catch (error) {
    failures.push(`its policies are still there: ${errorText(error)}`);
  }
  const { name, actions } = scenario;
  return { name, passed: failures.length === 0, actions: actions.length, failures };
}
