import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import {
  BpfMap,
  cgroupId,
  describeOpenFds,
  feature,
  features,
  findCgroup2,
  hasKernelFunction,
  isBpffs,
  MapType,
  mountBpffs,
  unmountBpffs,
} from "../src/index.ts";
import { bundle } from "./bundle.ts";
import { scratch } from "./fixtures.ts";

const folder = scratch();

afterAll(() => {
  folder.remove();
  expect(describeOpenFds()).toEqual([]);
});

it("mounts a bpffs once and unmounts it", () => {
  const path = join(folder.path, "a/b");
  expect([mountBpffs(path), mountBpffs(path), isBpffs(path)]).toEqual([true, false, true]);
  const map = BpfMap.create({ name: "axt_m", type: MapType.ARRAY, keySize: 4, valueSize: 4, maxEntries: 1 });
  map.pin(join(path, "deep/er/map"));
  map.close();
  expect(existsSync(join(path, "deep/er/map"))).toBe(true);
  expect(
    readFileSync("/proc/self/mounts", "utf8")
      .split("\n")
      .filter((line) => line.includes(path)),
  ).toHaveLength(1);
  unmountBpffs(path);
  expect(isBpffs(path)).toBe(false);
  expect(() => unmountBpffs(path)).toThrow(/unmount .*EINVAL/);
});

it("says where a pin cannot be", () => {
  const map = BpfMap.create({ name: "axt_m", type: MapType.ARRAY, keySize: 4, valueSize: 4, maxEntries: 1 });
  mkdirSync(join(folder.path, "plain"));
  expect(() => map.pin(join(folder.path, "plain/map"))).toThrow(
    /pin map axt_m at .*plain\/map: E(PERM|INVAL)/,
  );
  map.close();
});

it("finds the cgroup2 hierarchy", () => {
  expect(existsSync(join(findCgroup2(), "cgroup.procs"))).toBe(true);
  expect(cgroupId(findCgroup2())).toBeGreaterThan(0n);
});

it("probes the kernel: this one has all that the datapath needs", () => {
  const answers = features();
  const needed = [
    "tcx",
    "ringbuf",
    "lpm",
    "cgroupSockAddr",
    "xdp",
    "syscallPrograms",
    "redirectPeer",
  ] as const;
  for (const name of needed) expect([name, answers[name]]).toEqual([name, "yes"]);
  expect(feature("batchHash")).toBe("yes");
  expect(hasKernelFunction("bpf_xdp_metadata_rx_hash")).toBe("yes");
  expect(hasKernelFunction("axon_no_such_function")).toBe("no");
});

it("does not take a refusal for a no: without privileges most answers are unknown", () => {
  const app = bundle("probes");
  try {
    const options = { uid: 65534, gid: 65534, encoding: "utf8" } as const;
    const answers = JSON.parse(execFileSync(process.execPath, [app.path], options)) as Record<string, string>;
    expect([answers["tcx"], answers["xdp"], answers["ringbuf"]]).toEqual(["unknown", "unknown", "unknown"]);
    expect(Object.values(answers)).not.toContain("no");
  } finally {
    app.remove();
  }
});
