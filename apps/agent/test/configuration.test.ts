import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ConfigSources, type HealthReporter } from "@axoneme/app";
import { silentLogger, waitFor } from "@axoneme/base";
import { builtinResources, resources } from "@axoneme/kube";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { Configuration } from "../src/config/configuration.ts";
import { type AgentConfig, agentOptions } from "../src/options.ts";
import { Cluster } from "./cluster.ts";

const namespace = "kube-system";
let cluster: Cluster;
let dir = "";
let told = "";
const tell = (state: string, message: string): void => {
  told = `${state} ${message}`;
};
const health: HealthReporter = {
  ok: (message = "") => tell("ok", message),
  degraded: (message) => tell("degraded", message),
  failed: (message) => tell("failed", message),
};
const log = { ...silentLogger, child: () => log, level: "info" };

beforeAll(async () => {
  cluster = await Cluster.start();
  await cluster.installDefinitions();
  const labels = { zone: "a", role: "edge" };
  await cluster.client.resource(builtinResources.nodes).create({ metadata: { name: "n1", labels } });
});
afterAll(() => cluster.close());

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "axon-configuration-"));
  mkdirSync(join(dir, "map"));
  return () => rmSync(dir, { recursive: true });
});

const sourcesOf = (texts: Readonly<Record<string, string>>) => {
  for (const [key, text] of Object.entries(texts)) writeFileSync(join(dir, "map", key), text);
  const flags = { "node-name": "n1", "run-dir": join(dir, "run") };
  return new ConfigSources(agentOptions, { directory: join(dir, "map"), flags });
};

const nodeConfig = (name: string, matchLabels: Record<string, string>, defaults: Record<string, string>) =>
  cluster.client
    .resource(resources.ciliumnodeconfigs)
    .create({ metadata: { name, namespace }, spec: { nodeSelector: { matchLabels }, defaults } });

const wait = (until: () => boolean, what: string) => waitFor(until, { timeoutMs: 5000, what });
const optionOf = (configuration: Configuration, name: keyof AgentConfig) =>
  configuration.view().options.find((option) => option.name === name);

test("CiliumNodeConfigs that select the node go over the ConfigMap; live options follow both, others wait", async () => {
  const configs = cluster.client.resource(resources.ciliumnodeconfigs);
  await nodeConfig("b", { zone: "a" }, { mtu: "1300", "cni-timeout": "20s" });
  await nodeConfig("a", { zone: "a" }, { mtu: "1200" });
  await nodeConfig("other", { zone: "b" }, { mtu: "1100" });
  const sources = sourcesOf({ mtu: "1400", "log-level": "warn" });
  const configuration = await Configuration.open({ sources, client: cluster.client, log });
  expect(configuration.running).toMatchObject({ mtu: 1300, cniTimeout: 20, logLevel: "warn" });
  expect(optionOf(configuration, "mtu")?.origin).toBe("CiliumNodeConfig b");

  const seen: number[] = [];
  configuration.on("cniTimeout", ({ cniTimeout }) => seen.push(cniTimeout));
  let level = "";
  configuration.on("logLevel", ({ logLevel }) => {
    level = logLevel;
  });
  configuration.start(health);
  configuration.nodeLabels({ zone: "a" });
  const defaults = { mtu: "1350", "cni-timeout": "30s" };
  await configs.patch("b", { spec: { defaults } }, { namespace });
  await wait(() => seen.includes(30), "the live option");
  expect(configuration.running.mtu).toBe(1300);
  expect(optionOf(configuration, "mtu")).toMatchObject({ desired: 1350, running: 1300, pending: true });
  expect(told).toBe("ok changed and not in force yet: mtu (restart)");

  // The ConfigMap over the API is newer than its volume.
  const maps = cluster.client.resource(builtinResources.configmaps);
  await maps.create({ metadata: { name: "axoneme-config", namespace }, data: { "log-level": "debug" } });
  await wait(() => level === "debug", "the ConfigMap");

  // What is wrong is told, and nothing of it is taken up.
  await maps.patch("axoneme-config", { data: { "log-level": "info", "enable-ipv4": "no" } }, { namespace });
  await wait(() => told.startsWith("degraded"), "the refusal");
  expect(told).toContain('ConfigMap kube-system/axoneme-config: "enableIPv4" must be a boolean, got "no"');
  expect(level).toBe("debug");
  const data = { "log-level": "info", "enable-ipv4": "false", "enable-ipv6": "false" };
  await maps.patch("axoneme-config", { data }, { namespace });
  await wait(() => told.includes("pods need addresses of one family"), "the contradiction");
  await maps.patch("axoneme-config", { data: { "enable-ipv4": "true" } }, { namespace });
  await wait(() => level === "info", "the mended one");

  // A node that is labelled otherwise has other configurations.
  configuration.nodeLabels({ zone: "b" });
  expect(optionOf(configuration, "mtu")).toMatchObject({ desired: 1100, origin: "CiliumNodeConfig other" });
  await configuration.stop();
});

test("a start without an API server goes by what it knew last; one with nonsense does not start", async () => {
  const configs = cluster.client.resource(resources.ciliumnodeconfigs);
  await nodeConfig("edge", { role: "edge" }, { "tunnel-port": "9999" });
  const open = (client = cluster.client) => Configuration.open({ sources: sourcesOf({}), client, log });
  expect((await open()).running.tunnelPort).toBe(9999);

  const dead = cluster.connect();
  await dead.close();
  expect((await open(dead)).running.tunnelPort).toBe(9999);

  await configs.patch("edge", { spec: { defaults: { "run-dir": "/elsewhere" } } }, { namespace });
  await expect(open()).rejects.toThrow(
    /CiliumNodeConfig edge: "runDir" is said by the agent's file or flags only/,
  );
});
