import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { waitFor } from "@axoneme/base";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  ConfigSources,
  configKey,
  readCommandLine,
  textLayer,
  textOfValue,
  valueFromText,
} from "../src/index.ts";

const options = {
  enableIPv4: { default: true, doc: "", liveness: "drain" },
  ipamMode: { default: "a", doc: "", liveness: "drain", key: "ipam", oneOf: ["a", "b"] as const },
  nonMasqueradeCIDRs: { default: [] as readonly string[], doc: "", liveness: "live" },
  metrics: { default: [] as readonly string[], doc: "", liveness: "live", commas: true },
  conntrackGCInterval: { default: 10, doc: "", liveness: "live", unit: "s" },
  delay: { default: 10, doc: "", liveness: "live", unit: "ms" },
  mtu: { default: 0, doc: "", liveness: "restart" },
} as const;

let dir = "";
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "axon-config-"));
});
afterEach(() => rmSync(dir, { recursive: true }));

it("calls options as ConfigMaps do", () => {
  const keys = Object.entries(options).map(([name, option]) => configKey(name, option));
  expect(keys.slice(0, 5)).toEqual([
    "enable-ipv4",
    "ipam",
    "non-masquerade-cidrs",
    "metrics",
    "conntrack-gc-interval",
  ]);
});

describe("texts", () => {
  it("are read by the option's type", () => {
    expect(valueFromText(options.enableIPv4, "false\n")).toBe(false);
    expect(valueFromText(options.mtu, "1500")).toBe(1500);
    expect(valueFromText(options.mtu, "5s")).toBe("5s");
    expect(valueFromText(options.conntrackGCInterval, "1m30s")).toBe(90);
    expect(valueFromText(options.delay, "0.25s")).toBe(250);
    expect(valueFromText(options.delay, "7")).toBe(7);
    expect(valueFromText(options.nonMasqueradeCIDRs, "10.0.0.0/8, fd00::/8\n1.2.3.4/32")).toEqual([
      "10.0.0.0/8",
      "fd00::/8",
      "1.2.3.4/32",
    ]);
    expect(valueFromText(options.metrics, "flow:labels=a,b dns")).toEqual(["flow:labels=a,b", "dns"]);
    expect(valueFromText(options.metrics, "")).toEqual([]);
  });

  it("of values are read back as they were", () => {
    for (const [option, value] of [
      [options.metrics, ["a b", "c,d"]],
      [options.enableIPv4, false],
      [options.mtu, 9000],
      [options.ipamMode, "b"],
    ] as const)
      expect(valueFromText(option, textOfValue(value))).toEqual(value);
  });
});

it("puts flags over what comes from the API, that over the directory, that over the file, and says where from", () => {
  const file = join(dir, "agent.yaml");
  writeFileSync(file, "mtu: 1000\nipamMode: b\nconntrackGCInterval: 1\ndelay: 1\n");
  const directory = join(dir, "map");
  mkdirSync(directory);
  for (const [key, text] of [
    ["mtu", "2000"],
    ["conntrack-gc-interval", "2s"],
    ["delay", "2ms"],
    ["..ignored", "x"],
  ] as const)
    writeFileSync(join(directory, key), text);
  const { places } = readCommandLine(options, [
    `--config=${file}`,
    "--config-dir",
    directory,
    "--delay=4ms",
    "--metrics",
    "a",
    "--metrics",
    '["b"]',
  ]);
  const node = textLayer(options, "CiliumNodeConfig n", { delay: "3ms", "conntrack-gc-interval": "3s" });
  const { values, origins } = new ConfigSources(options, places).read([node]);
  expect(values).toMatchObject({
    mtu: 2000,
    ipamMode: "b",
    conntrackGCInterval: 3,
    delay: 4,
    metrics: ["a", "b"],
  });
  expect(origins).toEqual({
    mtu: directory,
    ipamMode: file,
    conntrackGCInterval: "CiliumNodeConfig n",
    delay: "command line",
    metrics: "command line",
  });
});

it("names each thing that is wrong, and where it stands", () => {
  const layer = textLayer(options, "ConfigMap x", { "enable-ipv": "true", ipam: "c", mtu: "many" });
  expect(() => new ConfigSources(options, { flags: { nothing: "1" } }).read([layer])).toThrow(
    /ConfigMap x: unknown option "enable-ipv" \(is "enable-ipv4" meant\?\); command line: unknown option "nothing"; ConfigMap x: "ipamMode" must be one of a, b, got "c"; ConfigMap x: "mtu" must be a number, got "many"/,
  );
  expect(() => new ConfigSources(options, { directory: join(dir, "none") }).read()).toThrow(
    /cannot read the directory of configuration .*none/,
  );
});

it("follows a ConfigMap's volume, whose files are replaced in one stroke", async () => {
  const put = (version: string, mtu: string): void => {
    mkdirSync(join(dir, version));
    writeFileSync(join(dir, version, "mtu"), mtu);
    rmSync(join(dir, "..data"), { force: true });
    symlinkSync(version, join(dir, "..data"));
  };
  put("..1", "1400");
  symlinkSync("..data/mtu", join(dir, "mtu"));
  const sources = new ConfigSources(options, { directory: dir });
  expect(sources.read().values.mtu).toBe(1400);
  let seen = 0;
  const stop = sources.follow(() => {
    seen = sources.read().values.mtu;
  });
  put("..2", "1500");
  await waitFor(() => seen === 1500, { timeoutMs: 5000, what: "the change to be seen" });
  stop();
});
