import {
  appendFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { RotatingFile, type RotationOptions } from "../../src/export/rotating-file.ts";

let directory = "";
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "axon-rotating-"));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const path = (): string => join(directory, "logs", "flows.log");
const open = (more: Partial<RotationOptions> = {}): RotatingFile =>
  new RotatingFile(path(), { maxBytes: 20, backups: 100, compress: false, ...more });
const files = (): string[] => readdirSync(join(directory, "logs")).sort();

/** All lines, oldest file first: the name without a time is the newest. */
function lines(): string[] {
  const backups = files().filter((name) => name !== "flows.log");
  return [...backups, "flows.log"].flatMap((name) => {
    const bytes = readFileSync(join(directory, "logs", name));
    const text = (name.endsWith(".gz") ? gunzipSync(bytes) : bytes).toString();
    expect(text === "" || text.endsWith("\n")).toBe(true);
    return text.split("\n").slice(0, -1);
  });
}

describe("RotatingFile", () => {
  it("names backups by their time, as the field does", async () => {
    const file = open();
    expect(await file.write(["0123456789", "0123456789"])).toEqual({ written: 2 });
    await file.close();
    expect(files()).toEqual([
      expect.stringMatching(/^flows-\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{3}\.log$/),
      "flows.log",
    ]);
  });

  it("keeps every line whole and in order, whatever the sizes and the batches", async () => {
    const batches = fc.array(
      fc.array(fc.string({ unit: "grapheme-ascii", maxLength: 30 }), { maxLength: 6 }),
      {
        maxLength: 6,
      },
    );
    await fc.assert(
      fc.asyncProperty(batches, fc.boolean(), async (wanted, compress) => {
        rmSync(join(directory, "logs"), { recursive: true, force: true });
        const all: string[] = [];
        for (const batch of wanted) {
          // Opened anew each time: a restart goes on where it was.
          const file = open({ compress });
          const numbered = batch.map((text) => `${all.length} ${text}`);
          expect(await file.write(numbered)).toEqual({ written: batch.length });
          await file.close();
          all.push(...numbered);
        }
        if (wanted.length > 0) expect(lines()).toEqual(all);
      }),
      { numRuns: 12 },
    );
  }, 30_000);

  it("keeps so many backups, the newest, and none when told so", async () => {
    const file = open({ backups: 2 });
    for (let i = 0; i < 9; i++) await file.write([`line ${i} 0123456789`]);
    await file.close();
    expect(lines()).toEqual([6, 7, 8].map((i) => `line ${i} 0123456789`));
    const none = open({ backups: 0 });
    await none.write(["x"]);
    await none.close();
    expect(files()).toEqual(["flows.log"]);
  });

  it("compresses backups, and finishes what a crash left; other files are not touched", async () => {
    mkdirSync(join(directory, "logs"));
    const old = join(directory, "logs", "flows-2026-01-01T00-00-00.000.log");
    writeFileSync(old, "old\n");
    writeFileSync(`${old}.gz.tmp`, "half");
    writeFileSync(join(directory, "logs", "flows-of-others.log"), "mine\n");
    const file = open({ compress: true });
    await file.write(["a"]);
    await file.close();
    expect(files()).toEqual(["flows-2026-01-01T00-00-00.000.log.gz", "flows-of-others.log", "flows.log"]);
    expect(gunzipSync(readFileSync(`${old}.gz`)).toString()).toBe("old\n");
  });

  it("half a line that a killed process left does not spoil the next", async () => {
    mkdirSync(join(directory, "logs"));
    appendFileSync(path(), '{"half');
    const file = open({ maxBytes: 100 });
    await file.write(["whole"]);
    await file.close();
    expect(lines()).toEqual(['{"half', "whole"]);
  });

  it("a full disk is told, each time", async () => {
    const file = new RotatingFile("/dev/full", { maxBytes: 100, backups: 1, compress: false });
    for (let i = 0; i < 2; i++)
      expect(await file.write(["a"])).toMatchObject({ written: 0, error: { code: "ENOSPC" } });
    await file.close();
  });

  it("says how many lines are written, and begins anew after an error", async () => {
    mkdirSync(path(), { recursive: true });
    const file = open();
    const refused = await file.write(["a", "b"]);
    expect(refused).toMatchObject({ written: 0, error: { code: "EISDIR" } });
    rmSync(path(), { recursive: true });
    expect(await file.write(["c"])).toEqual({ written: 1 });
    await file.close();
    expect(lines()).toEqual(["c"]);
  });
});
