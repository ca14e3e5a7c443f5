#!/usr/bin/env node
/** Compiles axon-probe to build/bin, static, when one of its sources is newer. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";

const native = join(import.meta.dirname, "native");
const files = readdirSync(native).map((file) => join(native, file));
const target = join(import.meta.dirname, "../../build/bin/axon-probe");
const age = existsSync(target) ? statSync(target).mtimeMs : 0;
if (files.some((file) => statSync(file).mtimeMs > age)) {
  mkdirSync(join(target, ".."), { recursive: true });
  const sources = files.filter((file) => file.endsWith(".c"));
  execFileSync("gcc", ["-O2", "-Wall", "-Wextra", "-Werror", "-static", "-o", target, ...sources], {
    stdio: "inherit",
  });
}
