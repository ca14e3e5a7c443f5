import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { expect, it } from "vitest";

it("docs/reference is what the sources say (else: make docs)", () => {
  const script = join(import.meta.dirname, "../../../scripts/gen-docs.mjs");
  const { status, stderr } = spawnSync(process.execPath, [script, "--check"], { encoding: "utf8" });
  expect([status, stderr]).toEqual([0, ""]);
}, 60_000);

it("dashboards and alerting rules are what deploy/source says (else: node scripts/gen-deploy.mjs)", () => {
  const script = join(import.meta.dirname, "../../../scripts/gen-deploy.mjs");
  const { status, stderr } = spawnSync(process.execPath, [script, "--check"], { encoding: "utf8" });
  expect([status, stderr]).toEqual([0, ""]);
}, 60_000);
