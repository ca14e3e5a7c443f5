import { expect, test } from "vitest";
import { IdentityUsage } from "../src/identitygc.ts";
import type { IdentityRow } from "../src/sources.ts";

const row = (name: string, marked = false): IdentityRow => ({
  name,
  uid: name,
  resourceVersion: "1",
  marked,
});
const names = (rows: IdentityRow[]): string[] => rows.map((identity) => identity.name);

test("an identity must be unused for the whole timeout, then is marked, then removed", () => {
  const usage = new IdentityUsage(100);
  expect(usage.sweep([row("1")], new Set(["1"]), 0)).toMatchObject({ mark: [], remove: [], alive: 1 });
  expect(usage.sweep([row("1")], new Set(), 99)).toMatchObject({ mark: [], remove: [], alive: 1 });
  expect(names(usage.sweep([row("1")], new Set(), 100).mark)).toEqual(["1"]);
  expect(names(usage.sweep([row("1", true)], new Set(), 150).remove)).toEqual(["1"]);
});

test("one that is seen for the first time is given the whole timeout", () => {
  const usage = new IdentityUsage(100);
  expect(usage.sweep([row("1", true)], new Set(), 1000)).toMatchObject({ remove: [], alive: 1 });
  expect(names(usage.sweep([row("1", true)], new Set(), 1100).remove)).toEqual(["1"]);
});

test("use between two sweeps counts", () => {
  const usage = new IdentityUsage(100);
  usage.sweep([row("1")], new Set(), 0);
  usage.used("1", 90);
  expect(usage.sweep([row("1")], new Set(), 150).mark).toEqual([]);
  expect(names(usage.sweep([row("1")], new Set(), 190).mark)).toEqual(["1"]);
});

test("a marked identity in use is never removed but freed of its mark", () => {
  const usage = new IdentityUsage(100);
  const sweep = usage.sweep([row("1", true)], new Set(["1"]), 1000);
  expect([names(sweep.unmark), sweep.remove]).toEqual([["1"], []]);
});

test("a number that was removed and given out anew starts anew", () => {
  const usage = new IdentityUsage(100);
  usage.sweep([row("1")], new Set(), 0);
  usage.sweep([], new Set(), 50);
  expect(usage.sweep([row("1")], new Set(), 120).mark).toEqual([]);
});
