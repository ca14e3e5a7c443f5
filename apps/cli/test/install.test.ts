import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { silentLogger, waitFor } from "@axoneme/base";
import { builtinResources, crdManifests, KubeClient, loadKubeconfig, resources } from "@axoneme/kube";
import { ApiServer } from "@axoneme/lab/apiserver";
import { load, loadAll } from "js-yaml";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { defaultsOf, objects, valueTree } from "../../../deploy/source/kubernetes/index.ts";
import { clientOf, refOf, titleOf } from "../src/install/objects.ts";
import { FakeLabs, type Outcome } from "./fixture.ts";

// Each command waits for a roll-out; a busy machine takes its time.
vi.setConfig({ testTimeout: 30_000 });

const namespace = "kube-system";
const dir = mkdtempSync(join(tmpdir(), "axon-install-"));
const kubeconfig = join(dir, "kubeconfig");
let server: ApiServer;
let client: KubeClient;
let rollout: NodeJS.Timeout | undefined;

beforeAll(async () => {
  server = await ApiServer.start({ stateDir: dir, logger: silentLogger });
  writeFileSync(kubeconfig, await server.kubeconfig());
  client = new KubeClient(loadKubeconfig({ path: kubeconfig }));
}, 30_000);
afterAll(async () => {
  clearInterval(rollout);
  await client.close();
  await server.stop();
  rmSync(dir, { recursive: true });
});

const axon = (...args: string[]): Promise<Outcome> =>
  new FakeLabs().axon(args[0] ?? "", "--kubeconfig", kubeconfig, ...args.slice(1));

const expected = (values: Record<string, unknown> = {}) =>
  objects({ values: { ...defaultsOf(valueTree), ...values }, namespace, appVersion: "9.9.9" });

/** Titles of those of our objects that are there. */
async function present(): Promise<string[]> {
  const hubble = { ...(defaultsOf(valueTree)["hubble"] as object), relay: relayOn };
  const all = expected({ hubble }).map(refOf);
  const found = await Promise.all(
    all.map(async (ref) => {
      const where = ref.namespace === "" ? {} : { namespace: ref.namespace };
      return (await clientOf(client, ref).find(ref.name, where)) && titleOf(ref);
    }),
  );
  return found.filter((title) => title !== undefined).sort();
}
const relayOn = { ...(defaultsOf(valueTree)["hubble"] as { relay: object }).relay, enabled: true };
const titles = (of: ReturnType<typeof expected>): string[] => of.map((each) => titleOf(refOf(each))).sort();

/** Stands for the controllers: whatever is wanted is ready at once. */
function rollOut(): void {
  const daemonSet = (generation: number | undefined) => ({
    ...{ observedGeneration: generation, desiredNumberScheduled: 2, numberReady: 2 },
    ...{ updatedNumberScheduled: 2, currentNumberScheduled: 2, numberMisscheduled: 0 },
  });
  const look = async (): Promise<void> => {
    const sets = client.resource(builtinResources.daemonsets);
    for (const { metadata } of (await sets.list()).items)
      await sets.patch(
        metadata?.name ?? "",
        { status: daemonSet(metadata?.generation) },
        { namespace, subresource: "status" },
      );
    const deployments = client.resource(builtinResources.deployments);
    for (const { metadata, spec } of (await deployments.list()).items) {
      const { replicas = 1 } = spec ?? {};
      const status = {
        observedGeneration: metadata?.generation,
        replicas,
        readyReplicas: replicas,
        updatedReplicas: replicas,
      };
      await deployments.patch(metadata?.name ?? "", { status }, { namespace, subresource: "status" });
    }
  };
  // An object that went between a look and a write is no news here.
  rollout = setInterval(() => void look().catch(() => undefined), 100);
}

test("mistakes in values are told before the cluster is asked for anything", async () => {
  const run = (...set: string[]) => new FakeLabs().axon("install", "--kubeconfig", "/none", "--set", ...set);
  const { code, err } = await run("routingmode=native", "tunnelPort=99999", "hubble.relay.enable=true");
  expect(code).toBe(2);
  expect(err).toContain("there is no value routingmode (is routingMode meant?)");
  expect(err).toContain("there is no value hubble.relay.enable (is enabled meant?)");
  expect(err).toContain("tunnelPort must be <= 65535");
  expect((await run("extraConfig.conntrak-max=5")).err).toContain('"conntrak-max" is no option');
  const families = await run("ipv4.enabled=false");
  expect([families.code, families.err]).toEqual([
    2,
    expect.stringContaining("pods need addresses of one family"),
  ]);
  const nowhere = await new FakeLabs().axon("install", "--kubeconfig", "/none");
  expect([nowhere.code, nowhere.err]).toEqual([4, expect.stringContaining("no cluster to talk to")]);
});

test("--dry-run prints what would be applied", async () => {
  const values = join(dir, "values.yaml");
  writeFileSync(values, "hubble:\n  relay:\n    enabled: true\nnodeSelector:\n  pool: a\n");
  const { code, out } = await axon(
    "install",
    "-f",
    values,
    "--set",
    "nodeSelector.example\\.com/b=c",
    "--dry-run",
  );
  expect(code).toBe(0);
  const printed = loadAll(out) as ReturnType<typeof expected>;
  expect(titles(printed)).toContain("Deployment kube-system/hubble-relay");
  const agent = printed.find(({ kind, metadata }) => kind === "DaemonSet" && metadata.name === "axoneme");
  expect(JSON.stringify(agent)).toContain(
    '"nodeSelector":{"kubernetes.io/os":"linux","pool":"a","example.com/b":"c"}',
  );
  expect(await present()).toEqual([]);
});

test("an install that does not come up says of each pod why", async () => {
  const labels = { "k8s-app": "axoneme" };
  const spec = { nodeName: "n1", containers: [{ name: "agent", image: "x" }] };
  const pods = client.resource(builtinResources.pods);
  await pods.create({ metadata: { name: "axoneme-x", namespace, labels }, spec });
  const waiting = { reason: "ImagePullBackOff", message: "no such image" };
  const status = {
    containerStatuses: [
      { name: "agent", state: { waiting }, ready: false, restartCount: 0, image: "x", imageID: "" },
    ],
  };
  await pods.patch("axoneme-x", { status }, { namespace, subresource: "status" });
  const { code, err, out } = await axon("install", "--timeout", "1s", "-o", "json");
  expect(code).toBe(1);
  expect(err).toContain("created    DaemonSet kube-system/axoneme\n");
  expect(err).toContain(
    "DaemonSet kube-system/axoneme is not ready\n  pod axoneme-x (n1): agent: ImagePullBackOff no such image",
  );
  expect(err).toContain("there is no pod of it");
  const result = JSON.parse(out) as { objects: { kind: string; name: string; ready?: boolean }[] };
  expect(result.objects.find(({ kind, name }) => kind === "DaemonSet" && name === "axoneme")?.ready).toBe(
    false,
  );
  expect(await present()).toEqual(titles(expected()));
  await pods.delete("axoneme-x", { namespace, gracePeriodSeconds: 0 });

  const again = await axon("install");
  expect([again.code, again.err]).toEqual([
    1,
    expect.stringContaining("it is installed already (version 9.9.9"),
  ]);
});

test("upgrades keep the values of before, add and remove objects, and write nothing where nothing changes", async () => {
  rollOut();
  const first = await axon("upgrade", "--set", "hubble.relay.enabled=true", "--set", "tunnelPort=9999");
  expect([first.code, first.err]).toEqual([
    0,
    expect.stringContaining("Deployment kube-system/hubble-relay: 1 of 1 ready"),
  ]);
  expect(first.err).toContain("axon config diff says which wait for a restart");
  const configOf = async () =>
    (await client.resource(builtinResources.configmaps).get("axoneme-config", { namespace })).data;
  expect((await configOf())?.["tunnel-port"]).toBe("9999");
  const second = await axon("upgrade", "-o", "yaml");
  const { objects: steps } = load(second.out) as { objects: { action: string; ready?: boolean }[] };
  expect(new Set(steps.map(({ action }) => action))).toEqual(new Set(["unchanged"]));
  expect(steps.filter(({ ready }) => ready === true)).toHaveLength(4);
  const third = await axon("upgrade", "--reset-values");
  expect(third.err).toContain("removed    Deployment kube-system/hubble-relay");
  expect((await configOf())?.["tunnel-port"]).toBe("8472");
  expect(await present()).toEqual(titles(expected()));
});

test("options are set in the ConfigMap or on nodes with labels, checked before; what waits is told by nodes", async () => {
  const set = (...args: string[]) =>
    new FakeLabs().axon("config", "set", "--kubeconfig", kubeconfig, ...args);
  expect((await set("log-levle=debug")).err).toContain(
    "agents have no option log-levle (is log-level meant?)",
  );
  expect((await set("enable-ipv4=false")).err).toContain("pods need addresses of one family");
  expect((await set("mtu=huge")).err).toContain('"mtu" must be a number, got "huge"');
  expect((await set("kubeconfig=/x")).code).toBe(2);
  const done = await set("log-level=debug", "mtu=9000");
  expect([done.code, done.out]).toEqual([
    0,
    expect.stringMatching(/log-level +debug +nothing: at once\nmtu +9000 +a restart/),
  ]);
  const maps = client.resource(builtinResources.configmaps);
  const data = async () => (await maps.get("axoneme-config", { namespace })).data;
  expect(await data()).toMatchObject({ "log-level": "debug", mtu: "9000" });
  await set("mtu=");
  expect(await data()).not.toHaveProperty("mtu");

  const definitions = client.resource(builtinResources.customresourcedefinitions);
  for (const manifest of crdManifests) await definitions.create(manifest);
  const configs = client.resource(resources.ciliumnodeconfigs);
  await waitFor(async () => (await set("mtu=1400", "-l", "zone=a", "--name", "a")).code === 0, {
    timeoutMs: 10_000,
  });
  await set("cni-timeout=20s", "mtu=", "-l", "zone=a", "--name", "a");
  expect((await configs.get("a", { namespace })).spec).toEqual({
    defaults: { "cni-timeout": "20s" },
    nodeSelector: { matchLabels: { zone: "a" } },
  });

  const diff = () => new FakeLabs().axon("config", "diff", "--kubeconfig", kubeconfig);
  expect([(await diff()).code, (await diff()).err]).toEqual([0, "every node runs with what is wanted\n"]);
  const pending = [{ key: "mtu", running: 0, desired: 1400, change: "restart" }];
  const annotations = { "axoneme.io/config": JSON.stringify({ pending, problem: "unknown option" }) };
  await client.resource(resources.ciliumnodes).create({ metadata: { name: "n9", annotations }, spec: {} });
  const { code, out } = await diff();
  expect([code, out]).toEqual([
    1,
    expect.stringMatching(/n9 +mtu +0 +1400 +a restart of the agent\nn9 .*unknown option/),
  ]);
  await configs.delete("a", { namespace });
});

test("an uninstall takes everything away, and the definitions when told to", async () => {
  const taints = [
    { key: "node.cilium.io/agent-not-ready", value: "true", effect: "NoExecute" as const },
    { key: "other", effect: "NoSchedule" as const },
  ];
  const nodes = client.resource(builtinResources.nodes);
  await nodes.create({ metadata: { name: "n1" }, spec: { taints } });
  const definitions = client.resource(builtinResources.customresourcedefinitions);
  const managed = { "app.kubernetes.io/managed-by": "axoneme-operator" };
  const secrets = client.resource(builtinResources.secrets);
  await secrets.create({ metadata: { name: "cilium-ca", namespace, labels: managed } });

  const asked = await axon("uninstall");
  expect([asked.code, asked.err]).toEqual([2, expect.stringContaining("add --yes")]);
  const dry = await axon("uninstall", "--dry-run");
  expect(dry.out.split("\n")[0]).toMatch(/^would remove D/);
  expect(await present()).toEqual(titles(expected()));

  const { code, err } = await axon("uninstall", "--yes");
  expect([code, err]).toEqual([
    0,
    expect.stringContaining("created    DaemonSet kube-system/axoneme-cleanup"),
  ]);
  expect(err).toContain("removed    DaemonSet kube-system/axoneme-cleanup");
  expect(await present()).toEqual([]);
  expect((await nodes.get("n1")).spec?.taints).toEqual([taints[1]]);
  expect(await secrets.find("cilium-ca", { namespace })).toBeUndefined();
  const maps = await client.resource(builtinResources.configmaps).list({ namespace });
  expect(
    maps.items.map(({ metadata }) => metadata?.name).filter((name) => name?.startsWith("axoneme")),
  ).toEqual([]);
  expect((await definitions.list()).items).toHaveLength(crdManifests.length);
  expect((await axon("uninstall", "--yes")).code).toBe(3);

  await axon("install", "--no-wait");
  expect((await axon("uninstall", "--yes", "--crds", "--no-nodes")).code).toBe(0);
  expect((await definitions.list()).items).toHaveLength(0);
});

test("what Helm has installed is Helm's", async () => {
  const agent = expected().find(({ kind, metadata }) => kind === "DaemonSet" && metadata.name === "axoneme");
  const annotations = { "meta.helm.sh/release-name": "net" };
  const sets = client.resource(builtinResources.daemonsets);
  await sets.create({ ...agent, metadata: { ...agent?.metadata, annotations } } as Parameters<
    typeof sets.create
  >[0]);
  for (const command of [["install"], ["upgrade"], ["uninstall", "--yes"]]) {
    const { code, err } = await axon(...command);
    expect([code, err]).toEqual([1, expect.stringContaining("fix: helm upgrade net")]);
  }
});
