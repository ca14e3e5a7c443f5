import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ConfigSources, readCommandLine } from "@axoneme/app";
import { expect, test } from "vitest";
import { clusterPool } from "../src/nodecidrs.ts";
import { type OperatorConfig, operatorOptions } from "../src/options.ts";

function readConfig(...args: readonly string[]): OperatorConfig {
  return new ConfigSources(operatorOptions, readCommandLine(operatorOptions, args).places).read().values;
}

test("--set wins over the file, the file over defaults", () => {
  const dir = mkdtempSync(join(tmpdir(), "axon-operator-options-"));
  const file = join(dir, "operator.yaml");
  writeFileSync(file, "leaseName: from-file\nclusterPoolIpv4MaskSize: 25\n");
  const set = ["--set", "clusterPoolIpv4MaskSize=26", "--set=clusterPoolIpv4Cidrs=[10.200.0.0/16]"];
  const config = readConfig("--config", file, "--kubeconfig", "/k", ...set, "--nodes-gc-interval=2m");
  rmSync(dir, { recursive: true });
  expect(config).toMatchObject({
    leaseName: "from-file",
    kubeconfig: "/k",
    clusterPoolIpv4MaskSize: 26,
    clusterPoolIpv4Cidrs: ["10.200.0.0/16"],
    clusterPoolIpv6MaskSize: 120,
    nodesGcIntervalS: 120,
  });
});

test("what is wrong is named", () => {
  expect(() => readConfig("--set=nonsense=1", "--set", "ipamMode=magic")).toThrow(
    /unknown option "nonsense".*"ipamMode" must be one of cluster-pool, multi-pool, kubernetes/,
  );
  expect(() => readConfig("--set=leaseName")).toThrow('"leaseName" is not OPTION=VALUE');
  expect(() => clusterPool(readConfig("--set=clusterPoolIpv4Cidrs=[10.0.0.0/25]"))).toThrow("cannot cut /24");
});
