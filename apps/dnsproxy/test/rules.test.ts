import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { memoryLogger, silentLogger } from "@axoneme/base";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Rules } from "../src/rules.ts";

let dir: string;
let file: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "axdns-"));
  file = join(dir, "rules.json");
});
afterEach(() => rmSync(dir, { recursive: true }));

describe("sets of rules", () => {
  it("let names and patterns of their own pass, in one part or several; unknown sets nothing", () => {
    const rules = new Rules(file, silentLogger);
    rules.put({ id: 1, names: ["a.test."], patterns: [] });
    rules.put({ id: 1, names: [], patterns: ["*.b.test."], more: true });
    expect(["a.test.", "x.b.test.", "c.test."].map((name) => rules.allows(1, name))).toEqual([
      true,
      true,
      false,
    ]);
    expect(rules.allows(2, "a.test.")).toBe(false);
    rules.put({ id: 1, names: ["c.test."], patterns: [] });
    expect(rules.allows(1, "a.test.")).toBe(false);
  });

  it("go when the agent does not tell them again", () => {
    const rules = new Rules(file, silentLogger);
    for (const id of [1, 2]) rules.put({ id, names: ["a.test."], patterns: [] });
    rules.begin();
    rules.put({ id: 2, names: ["a.test."], patterns: [] });
    expect(rules.has(1)).toBe(true);
    rules.synced();
    expect([1, 2].map((id) => rules.has(id))).toEqual([false, true]);
  });

  it("are kept for a start without an agent, for root only", () => {
    const rules = new Rules(file, silentLogger);
    rules.configure({ t: "config", rejectCode: "nameError", budgetMs: 7 });
    rules.put({ id: 3, names: [], patterns: ["**.test."] });
    rules.flush();
    expect(statSync(file).mode & 0o777).toBe(0o600);
    const next = new Rules(file, silentLogger);
    next.load();
    expect(next.allows(3, "a.b.test.")).toBe(true);
    expect(next.config).toMatchObject({ rejectCode: "nameError", budgetMs: 7 });
  });

  it("that are none are told and let nothing pass; a file that is none is told and left alone", () => {
    const logger = memoryLogger();
    const rules = new Rules(file, logger);
    rules.put({ id: 1, names: ["a b"], patterns: ["ok.test."] });
    expect(rules.allows(1, "ok.test.")).toBe(true);
    writeFileSync(file, "{");
    rules.load();
    expect(logger.records.map(({ level }) => level)).toEqual(["warn", "error"]);
    expect(readFileSync(file, "utf8")).toBe("{");
  });
});
