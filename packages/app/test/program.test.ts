import { expect, test } from "vitest";
import { programHelp } from "../src/index.ts";

test("help names every option with its default, in columns", () => {
  const options = {
    port: { default: 80, doc: "where it listens", liveness: "restart" },
    logLevel: { default: "info", doc: "least severe line logged", liveness: "restart" },
  } as const;
  expect(
    programHelp({ name: "thing", version: "1.2", about: "It does things.", options }),
  ).toBe(`axoneme-thing 1.2

Usage: thing [--config FILE] [--config-dir DIRECTORY] [--set OPTION=VALUE]... [--OPTION VALUE]...

It does things.
FILE is YAML or JSON. DIRECTORY is a mounted ConfigMap, one file a key; a key, and a flag, is the option's name
in lower case with dashes, or the field's name for it. Flags go over the directory, and that over the file.

Options, with their defaults:
  port     where it listens (80)
  logLevel least severe line logged ("info")
`);
});
