#!/usr/bin/env node
/** Compiles axon-probe to build/bin, static, when its source is newer. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, statSync } from "node:fs";
import { join } from "node:path";

const source = join(import.meta.dirname, "native/axon-probe.c");
const target = join(import.meta.dirname, "../../build/bin/axon-probe");
if (!existsSync(target) || statSync(source).mtimeMs > statSync(target).mtimeMs) {
  mkdirSync(join(target, ".."), { recursive: true });
  execFileSync("gcc", ["-O2", "-Wall", "-Wextra", "-Werror", "-static", "-o", target, source], {
    stdio: "inherit",
  });
}
