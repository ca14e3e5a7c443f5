import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { generateTypes } from "./schema-generator.ts";

const target = join(import.meta.dirname, "../../src/apiserver/schema/builtin-types.gen.ts");

test("the table of built-in types is what the generator makes (UPDATE_GENERATED=1 rewrites it)", () => {
  const text = generateTypes();
  if (process.env["UPDATE_GENERATED"] === "1") writeFileSync(target, text);
  expect(readFileSync(target, "utf8")).toBe(text);
});
