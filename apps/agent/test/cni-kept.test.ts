/** DELs that the plugin kept while no agent ran. */
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { waitFor } from "@axoneme/base";
import type { CniRequest } from "@axoneme/endpoint";
import { afterEach, beforeEach, expect, it } from "vitest";
import { KeptDeletes } from "../src/cni/kept.ts";
import { linesOf, quiet } from "./logger.ts";

let dir = "";
let kept: KeptDeletes | undefined;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "axon-kept-"));
});
afterEach(() => {
  kept?.stop();
  rmSync(dir, { recursive: true, force: true });
});

/** As the plugin writes it. */
function keep(id: string, command = "DEL"): void {
  const env = [`CNI_COMMAND=${command}`, `CNI_CONTAINERID=${id}`, "CNI_IFNAME=eth0", "CNI_NETNS=/x"];
  const body = Buffer.from(`${env.join("\0")}\0\0{"cniVersion":"0.3.1","name":"n"}`);
  const head = Buffer.alloc(4);
  head.writeUInt32LE(body.length);
  writeFileSync(join(dir, `${id}_eth0`), Buffer.concat([head, body]));
}

it("all are asked for before anything else can be, and forgotten once done", async () => {
  const asked: CniRequest[] = [];
  const done: (() => void)[] = [];
  keep("a");
  keep("b");
  kept = new KeptDeletes(
    dir,
    (request) => {
      asked.push(request);
      return new Promise<void>((resolve) => done.push(resolve));
    },
    quiet,
  );
  kept.start();
  expect(asked.map(({ containerId, command }) => `${command} ${containerId}`).sort()).toEqual([
    "DEL a",
    "DEL b",
  ]);
  expect(readdirSync(dir)).toHaveLength(2);
  for (const one of done) one();
  await waitFor(() => readdirSync(dir).length === 0, { what: "the files to go" });
});

it("one that fails stays for another time", async () => {
  const { logger, lines } = linesOf("warn");
  keep("a");
  kept = new KeptDeletes(dir, () => Promise.reject(new Error("no")), logger);
  kept.start();
  await waitFor(() => lines.length === 1, { what: "the failure to be told" });
  expect(readdirSync(dir)).toEqual(["a_eth0"]);
});

it("what is none is dropped with a word, what is half written is left", async () => {
  const { logger, lines } = linesOf("error");
  writeFileSync(join(dir, "x_eth0"), "no request");
  writeFileSync(join(dir, "y_eth0.12.tmp"), "half");
  keep("z", "ADD");
  kept = new KeptDeletes(dir, () => Promise.reject(new Error("nothing is a DEL here")), logger);
  kept.start();
  await waitFor(() => readdirSync(dir).length === 1, { what: "the files to go" });
  expect(readdirSync(dir)).toEqual(["y_eth0.12.tmp"]);
  expect(lines).toHaveLength(1);
});

it("the directory is made: without it the plugin takes it that nothing is here", () => {
  const fresh = join(dir, "deletes");
  kept = new KeptDeletes(fresh, () => Promise.resolve(), quiet);
  kept.start();
  expect(existsSync(fresh)).toBe(true);
});
