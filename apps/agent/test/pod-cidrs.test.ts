import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { formatPrefix, type Prefix } from "@axoneme/base";
import { afterEach, beforeEach, expect, test } from "vitest";
import { PodCidrs } from "../src/node/pod-cidrs.ts";

let dir = "";
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "axon-cidrs-"));
});
afterEach(() => rmSync(dir, { recursive: true }));

function open() {
  const told: string[][] = [];
  const cidrs = new PodCidrs(join(dir, "run/pod-cidrs.json"), (now: readonly Prefix[]) => {
    told.push(now.map(formatPrefix));
  });
  return { cidrs, told };
}

test("what the API told is known at once after a restart", async () => {
  const first = open();
  expect(first.told).toEqual([]);
  first.cidrs.learn(["10.0.1.0/24", "fd10::/64"]);
  await first.cidrs.known;
  const second = open();
  await second.cidrs.known;
  expect(second.told).toEqual([["10.0.1.0/24", "fd10::/64"]]);
  expect(readdirSync(join(dir, "run"))).toEqual(["pod-cidrs.json"]);
});

test("the same answer again, or an empty one, changes nothing", () => {
  const { cidrs, told } = open();
  cidrs.learn(["10.0.1.0/24"]);
  cidrs.learn(["10.0.1.0/24"]);
  cidrs.learn([]);
  expect(told).toEqual([["10.0.1.0/24"]]);
  cidrs.learn(["10.0.1.0/24", "10.0.2.0/24"]);
  expect(cidrs.current.map(formatPrefix)).toEqual(["10.0.1.0/24", "10.0.2.0/24"]);
});

test("a file that cannot be read is as good as none", () => {
  open().cidrs.learn(["10.0.1.0/24"]);
  writeFileSync(join(dir, "run/pod-cidrs.json"), '["10.0.1');
  expect(open().told).toEqual([]);
});
