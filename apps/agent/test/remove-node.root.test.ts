import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { mountBpffs, unmountBpffs } from "@axoneme/bpf";
import { builtFile, Netlink, Netns } from "@axoneme/netlink";
import { afterAll, beforeAll, expect, test } from "vitest";

const dir = mkdtempSync(join(tmpdir(), "axon-remove-"));
const netns = join(dir, "netns");
const bpffs = join(dir, "bpffs");
const at = (...parts: string[]): string => join(dir, ...parts);

beforeAll(async () => {
  await Netns.create(netns);
  mkdirSync(bpffs);
  mountBpffs(bpffs);
});
afterAll(async () => {
  await Netns.delete(netns);
  unmountBpffs(bpffs);
  rmSync(dir, { recursive: true });
});

test("a node is as it was before us: what is ours goes, what is others' stays", async () => {
  for (const folder of ["run/endpoints", "conf", "bin", "bpffs/axoneme/maps", "bpffs/others"])
    mkdirSync(at(folder), { recursive: true });
  writeFileSync(at("run/endpoints/1.json"), "{}");
  writeFileSync(at("conf/10-other.conflist.axoneme_bak"), "{}");
  writeFileSync(at("bin/bridge"), "");
  const netlink = Netlink.open({ netnsPath: netns });
  await netlink.linkAdd({ kind: "veth", name: "axon_host", peer: { name: "axon_net" } });
  await netlink.linkAdd({ kind: "veth", name: "other0", peer: { name: "other1" } });

  const options = [
    ...[`--run-dir=${at("run")}`, `--bpffs=${at("bpffs/axoneme")}`],
    ...[`--cni-conf-dir=${at("conf")}`, `--cni-bin-dir=${at("bin")}`],
  ];
  const agent = join(import.meta.dirname, "../../../dist/agent.mjs");
  const program = [process.execPath, agent, "--remove-node", ...options];
  const remove = () =>
    spawnSync(builtFile("bin/axon-exec"), ["--netns", netns, "--", ...program], { encoding: "utf8" });
  expect(remove()).toMatchObject({ status: 0, stderr: "" });

  expect(readdirSync(at("run"))).toEqual([]);
  // The kernel's own entries are there too.
  expect(readdirSync(at("bpffs")).filter((name) => !name.endsWith(".debug"))).toEqual(["others"]);
  expect(readdirSync(at("conf"))).toEqual(["10-other.conflist"]);
  expect(readdirSync(at("bin"))).toEqual(["bridge"]);
  const links = (await netlink.linkList()).map(({ name }) => name);
  expect(links).toContain("other0");
  expect(links).not.toContain("axon_host");
  // Once more: nothing is there to be removed.
  expect(remove()).toMatchObject({ status: 0, stderr: "" });
  expect(existsSync(at("run"))).toBe(true);
  netlink.close();
});
