import type { Owner, Problem } from "@axoneme/loadbalancer";
import { beforeEach, expect, it } from "vitest";
import { ProblemReporter } from "../src/lb/reporter.ts";

const web: Owner = { kind: "Service", namespace: "shop", name: "web", text: "Service shop/web" };
const problem = (reason: string, port = "80/SCTP"): Problem => ({ ...web, port, reason });

let said: string[];
const recorder = (who: string) => ({
  record: (subject: { kind: string; name: string }, type: string, reason: string, message: string) =>
    void said.push(`${who} ${subject.kind}/${subject.name} ${type} ${reason}: ${message}`),
});
let gone = false;
let reporter: ProblemReporter;
beforeEach(() => {
  said = [];
  gone = false;
  reporter = new ProblemReporter({ shared: recorder("all"), own: recorder("node") }, () =>
    gone ? undefined : "u1",
  );
});

it("tells a problem once, a new one beside it, and when all is well", () => {
  reporter.compiled(web, [problem("ports differ")]);
  reporter.compiled(web, [problem("ports differ")]);
  reporter.compiled(web, [problem("ports differ"), problem("no such annotation", "")]);
  reporter.compiled(web, []);
  reporter.compiled(web, []);
  expect(said).toEqual([
    "all Service/web Warning NotProgrammed: port 80/SCTP: ports differ",
    "all Service/web Warning NotProgrammed: no such annotation",
    "all Service/web Normal Programmed: everything it asks for is programmed",
  ]);
});

it("what the kernel of this node refuses is this node's word, and so is its end", () => {
  reporter.refused(new Map([[web.text, { owner: web, error: "map full" }]]));
  reporter.refused(new Map([[web.text, { owner: web, error: "map full" }]]));
  reporter.refused(new Map());
  expect(said).toEqual([
    "node Service/web Warning WriteFailed: its rows could not be written: map full",
    "node Service/web Normal Written: its rows are in the kernel again",
  ]);
});

it("nothing is said of what is gone", () => {
  reporter.compiled(web, [problem("ports differ")]);
  gone = true;
  reporter.compiled(web, []);
  expect(said).toHaveLength(1);
});
