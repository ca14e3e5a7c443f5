#!/usr/bin/env node
/**
 * Compiles the netlink addon (build/native/axon_netlink.node) and the launcher (build/bin/axon-exec), each only
 * when a source or this script is newer than the result. Needs gcc, libc6-dev and Node's headers.
 */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, renameSync, statSync } from "node:fs";
import { dirname, join } from "node:path";

const here = import.meta.dirname;
const root = join(here, "../..");
const native = join(here, "native");
const warnings = ["-Wall", "-Wextra", "-Werror", "-std=gnu11"];

/** Node's own headers: beside a tarball's binary, in the distribution's place, or where npm was told. */
function nodeHeaders() {
  const places = [
    process.env.npm_config_nodedir && join(process.env.npm_config_nodedir, "include/node"),
    join(dirname(process.execPath), "../include/node"),
    "/usr/include/node",
    "/usr/include/nodejs/src",
  ];
  const found = places.find((place) => place && existsSync(join(place, "node_api.h")));
  if (found) return found;
  throw new Error(`node_api.h is in none of ${places.filter(Boolean).join(", ")}: install Node's headers`);
}

function isFresh(target, sources) {
  if (!existsSync(target)) return false;
  const made = statSync(target).mtimeMs;
  return sources.every((source) => statSync(source).mtimeMs < made);
}

/** Runs the compiler into a temporary name, so that a running process keeps the old file. */
function compile(target, sources, flags) {
  if (isFresh(target, [...sources, import.meta.filename])) return;
  mkdirSync(dirname(target), { recursive: true });
  const temporary = `${target}.${process.pid}`;
  const inputs = sources.filter((source) => source.endsWith(".c"));
  execFileSync(process.env.CC ?? "gcc", [...warnings, "-O2", "-g", ...flags, "-o", temporary, ...inputs], {
    stdio: "inherit",
  });
  renameSync(temporary, target);
}

const sources = readdirSync(native).map((name) => join(native, name));
const launcher = join(native, "axon-exec.c");
try {
  compile(
    join(root, "build/native/axon_netlink.node"),
    sources.filter((source) => source !== launcher),
    ["-shared", "-fPIC", "-fvisibility=hidden", "-pthread", "-DNAPI_VERSION=8", `-I${nodeHeaders()}`],
  );
  if (existsSync(launcher)) compile(join(root, "build/bin/axon-exec"), [launcher], ["-static", "-s"]);
} catch (error) {
  console.error(`packages/netlink: ${error.message}`);
  process.exit(1);
}
