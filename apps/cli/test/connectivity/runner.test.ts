import { expect, it } from "vitest";
import { choose, runScenario, type TestBed } from "../../src/connectivity/runner.ts";
import { type Action, scenarios } from "../../src/connectivity/scenarios.ts";

/** A bed that answers as told and writes down what is done. */
function bed(answer: (action: Action, applied: boolean) => Action["expect"]): TestBed & { log: string[] } {
  const log: string[] = [];
  let applied = false;
  return {
    log,
    apply: async () => {
      applied = true;
      log.push("apply");
    },
    remove: async () => void log.push("remove"),
    act: async (action) => {
      log.push(action.expect);
      return answer(action, applied);
    },
  };
}

function scenario(name: string) {
  const [found] = choose(scenarios, [`^${name}$`]);
  if (found === undefined) throw new Error(`no test ${name}`);
  return found;
}

it("chooses by patterns, and leaves out those after !", () => {
  const names = choose(scenarios, ["^all-", "!knp$"]).map(({ name }) => name);
  expect(names).toEqual(["all-ingress-deny", "all-egress-deny"]);
  expect(choose(scenarios, [])).toEqual(scenarios);
});

it("has names that are its own", () => {
  expect(new Set(scenarios.map(({ name }) => name)).size).toBe(scenarios.length);
});

it("checks drops before connections, between applying and removing", async () => {
  const it = bed((action) => action.expect);
  expect(await runScenario(it, scenario("client-ingress"))).toMatchObject({ passed: true, actions: 2 });
  expect(it.log.slice(4)).toEqual(["apply", "dropped", "reached", "remove"]);
});

it("names what did not hold, and removes the policies", async () => {
  const it = bed(() => "reached");
  const result = await runScenario(it, scenario("client-ingress"));
  expect(result).toMatchObject({ passed: false });
  expect(result.failures).toEqual(["client to client2: reached, expected dropped"]);
  expect(it.log.at(-1)).toBe("remove");
});

it("fails a test that starts from no clean state, and one whose bed breaks", async () => {
  const dirty = bed((action, applied) => (applied ? action.expect : "dropped"));
  expect((await runScenario(dirty, scenario("all-egress-deny"))).failures).toHaveLength(4);
  const broken = { ...bed((action) => action.expect), apply: () => Promise.reject(new Error("no API")) };
  expect((await runScenario(broken, scenario("no-policies"))).failures).toEqual(["no API"]);
});
