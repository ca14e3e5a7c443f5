#!/usr/bin/env node
/** Compiles build/bin/axoneme-cni, static, only when a source or this script is newer. Needs gcc and libc6-dev. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, renameSync, statSync } from "node:fs";
import { dirname, join } from "node:path";

const target = join(import.meta.dirname, "../../build/bin/axoneme-cni");
const sources = ["config.c", "later.c", "loopback.c", "main.c", "wire.c", "plugin.h"].map((name) =>
  join(import.meta.dirname, "src", name),
);

const made = existsSync(target) ? statSync(target).mtimeMs : 0;
if ([...sources, import.meta.filename].some((source) => statSync(source).mtimeMs >= made)) {
  mkdirSync(dirname(target), { recursive: true });
  // Under a temporary name: a runtime may be running the old file at this moment.
  const temporary = `${target}.${process.pid}`;
  const flags = ["-Wall", "-Wextra", "-Werror", "-std=gnu11", "-O2", "-static", "-s"];
  const inputs = sources.filter((source) => source.endsWith(".c"));
  try {
    execFileSync(process.env.CC ?? "gcc", [...flags, "-o", temporary, ...inputs], { stdio: "inherit" });
    renameSync(temporary, target);
  } catch (error) {
    console.error(`apps/cni: ${error.message}`);
    process.exit(1);
  }
}
