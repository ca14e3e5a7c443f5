#!/usr/bin/env node
/** Compiles what the benchmarks measure with (build/bench/*.bpf.o, build/bin/axon-perf, axon-first, axon-cni-time), each only when it is out of date. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, renameSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import { compileBpf } from "../../scripts/build-bpf.mjs";

const bench = join(import.meta.dirname, "..");
const bin = join(bench, "../build/bin");

function compile(source) {
  const target = join(bin, basename(source, ".c"));
  const made = existsSync(target) ? statSync(target).mtimeMs : 0;
  if ([source, import.meta.filename].every((file) => statSync(file).mtimeMs < made)) return;
  mkdirSync(bin, { recursive: true });
  const temporary = `${target}.${process.pid}`;
  const flags = ["-Wall", "-Wextra", "-Werror", "-std=gnu11", "-O2"];
  execFileSync(process.env.CC ?? "gcc", [...flags, "-o", temporary, source], { stdio: "inherit" });
  renameSync(temporary, target);
}

/** What the datapath's programs say of themselves: a benchmark's program with older ones writes records nobody reads. */
const headers = ["include/axon", "lib"]
  .map((directory) => join(bench, "../bpf", directory))
  .flatMap((directory) => readdirSync(directory).map((name) => join(directory, name)));

/** Programs that only benchmarks load. */
function compileProgram(source) {
  const target = join(bin, "../bench", basename(source).replace(/c$/, "o"));
  const made = existsSync(target) ? statSync(target).mtimeMs : 0;
  if ([source, ...headers].every((file) => statSync(file).mtimeMs < made)) return;
  compileBpf(source, target);
}

try {
  compileProgram(join(bench, "services/edge.bpf.c"));
  compileProgram(join(bench, "hubble/feeder.bpf.c"));
  compile(join(bench, "net/axon-perf.c"));
  compile(join(bench, "net/axon-first.c"));
  compile(join(bench, "cni/axon-cni-time.c"));
} catch (error) {
  console.error(`bench: ${error.message}`);
  process.exit(1);
}
