#!/usr/bin/env node
/** Compiles build/bin/axon-perf, only when its source or this script is newer. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, renameSync, statSync } from "node:fs";
import { dirname, join } from "node:path";

const source = join(import.meta.dirname, "axon-perf.c");
const target = join(import.meta.dirname, "../../build/bin/axon-perf");
const made = existsSync(target) ? statSync(target).mtimeMs : 0;
if ([source, import.meta.filename].some((file) => statSync(file).mtimeMs >= made)) {
  mkdirSync(dirname(target), { recursive: true });
  const temporary = `${target}.${process.pid}`;
  const flags = ["-Wall", "-Wextra", "-Werror", "-std=gnu11", "-O2"];
  try {
    execFileSync(process.env.CC ?? "gcc", [...flags, "-o", temporary, source], { stdio: "inherit" });
    renameSync(temporary, target);
  } catch (error) {
    console.error(`bench/net: ${error.message}`);
    process.exit(1);
  }
}
