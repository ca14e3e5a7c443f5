/** The lab's parts as the chart would run them: with its options, its accounts' rights, its containers' capabilities. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { waitFor } from "@axoneme/base";
import { resources } from "@axoneme/kube";
import type { Access } from "@axoneme/lab/apiserver";
import { apiPath, type ConfigView, openHubble } from "@axoneme/observe";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  agentCapabilities,
  defaultsOf,
  merge,
  names,
  objects,
  proxyCapabilities,
  secretsNamespace,
  valueTree,
} from "../deploy/source/kubernetes/index.ts";
import { ask } from "./support/agent.ts";
import { built, Running, root, run } from "./support/command.ts";
import { labName, pathsOf, podObject, port, TestLab, type TestPod } from "./support/lab.ts";
import { granted, type Right, rightOf } from "./support/rights.ts";

const name = labName("it-installed");
const namespace = "kube-system";
const paths = pathsOf(name);
const values = merge(defaultsOf(valueTree), {
  ...{ routingMode: "native", devices: "eth0", ipv6: { enabled: true }, kubeProxyReplacement: true },
  ...{ cni: { install: false } },
  hubble: { relay: { enabled: true } },
});
const installed = objects({ values, namespace, appVersion: "0" });
let lab: TestLab;
let client: TestPod;
let server: TestPod;

const mounts = mkdtempSync(join(tmpdir(), "axon-installed-"));

/** A ConfigMap as a container sees it. */
function mount(map: string): string {
  const directory = join(mounts, map);
  const data = installed.find(({ kind, metadata }) => kind === "ConfigMap" && metadata.name === map)?.[
    "data"
  ];
  mkdirSync(directory, { recursive: true });
  for (const [key, text] of Object.entries(data as Record<string, string>))
    writeFileSync(join(directory, key), text);
  return directory;
}

/** A container's process: root with these capabilities and no way to more. */
function capable(capabilities: readonly string[], argv: readonly string[]): string[] {
  const set = capabilities.map((word) => `+${word.toLowerCase()}`).join(",");
  return ["setpriv", "--bounding-set", `-all,${set}`, "--inh-caps", "-all", ...argv];
}

const node = (program: string, ...args: string[]): string[] => [
  process.execPath,
  join(root, "dist", program),
  ...args,
];
const account = (part: string): string => `${paths.kubeconfig}.${part}`;

beforeAll(async () => {
  const agent = node(
    "agent.mjs",
    "--config={{config}}",
    `--config-dir=${mount(names.agentConfig)}`,
    `--kubeconfig=${account(names.agent)}`,
    `--cgroup-root=${paths.cgroup}/{{node}}`,
  );
  const pool = JSON.stringify(["10.217.0.0/16"]);
  lab = await TestLab.up(name, {
    nodes: 2,
    agentCommand: capable(agentCapabilities, agent),
    operatorCommand: node(
      "operator.mjs",
      "--config={{config}}",
      `--config-dir=${mount(names.operatorConfig)}`,
      `--kubeconfig=${account(names.operator)}.host`,
      `--cluster-pool-ipv4-cidr=${pool}`,
      "--operator-prometheus-serve-addr=127.0.0.1:0",
    ),
    relayCommand: node(
      "relay.mjs",
      "--config={{config}}",
      `--config-dir=${mount(names.relayConfig)}`,
      `--kubeconfig=${account(names.relay)}`,
      `--socket-path=${paths.relaySocket}`,
    ),
    rbac: {
      objects: installed.filter(({ kind }) => /Role|Namespace/.test(kind)),
      accounts: [names.agent, names.operator, names.relay].map((part) => `${namespace}:${part}`),
    },
  });
  [client, server] = (await lab.pods(
    { name: "client", node: "node1" },
    { name: "server", node: "node2", labels: { app: "server" } },
  )) as [TestPod, TestPod];
});
afterAll(async () => {
  await TestLab.down(lab, name);
  rmSync(mounts, { recursive: true });
});

/** Everything that an account asked for until now. */
function asked(part: string): Right[] {
  const lines = readFileSync(join(paths.state, "asked.jsonl"), "utf8").trim().split("\n");
  const all = lines.map((line) => JSON.parse(line) as Access);
  return all.filter(({ user }) => user === `system:serviceaccount:${namespace}:${part}`).map(rightOf);
}

const missing = (wanted: readonly Right[], there: readonly Right[]): Right[] =>
  [...new Set(wanted.filter((right) => !there.includes(right)))].sort();

it("pods reach each other between nodes and by Service, and a policy keeps them apart", async () => {
  for (const address of [server.v4, server.v6]) await lab.reached(client, ["tcp", address, port]);
  const only = {
    endpointSelector: { matchLabels: { app: "server" } },
    ingress: [{ fromEntities: ["host" as const] }],
  };
  const policy = { metadata: { name: "only", namespace: "default" }, spec: only };
  await lab.client.resource(resources.ciliumnetworkpolicies).create(policy);
  await lab.cutOff(client, ["tcp", server.v4, port]);
  await lab.client.resource(resources.ciliumnetworkpolicies).delete("only", { namespace: "default" });
  await lab.reached(client, ["tcp", server.v4, port]);
});

it("a machine outside is what its registration says, for pods that it asks and pods that ask it", async () => {
  const machine = ["--source", lab.world.v4];
  const pods = await lab.client.resource(resources.ciliumnodes).get("node2");
  const [cidr = ""] = pods.spec.ipam?.podCIDRs ?? [];
  const route = ["ip", "route", "replace", cidr, "via", lab.node("node2").v4];
  expect((await run(built("axon-exec"), ["--netns", lab.world.netns, "--", ...route])).stderr).toBe("");
  await lab.serve(lab.world, "18085");
  const peers = [{ matchLabels: { role: "legacy" } }];
  const spec = {
    endpointSelector: { matchLabels: { app: "server" } },
    ingress: [{ fromEndpoints: peers }],
    egress: [{ toEndpoints: peers }],
  };
  const policies = lab.client.resource(resources.ciliumnetworkpolicies);
  await policies.create({ metadata: { name: "legacy", namespace: "default" }, spec });
  const [inwards, outwards] = [
    ["tcp", server.v4, port, ...machine],
    ["tcp", lab.world.v4, "18085"],
  ];
  await lab.cutOff(lab.world, inwards);
  await lab.cutOff(server, outwards);
  const register = ["node", "register", "db1", "--address", lab.world.v4];
  const done = await lab.axonRun([...register, "--labels", "role=legacy"]);
  expect(done, done.stderr).toMatchObject({ code: 0 });
  await lab.reached(lab.world, inwards);
  expect(await lab.reached(server, outwards)).toContain("world");
  const [row] = (await lab.axon(["node", "list", "-o", "json"])) as object[];
  expect(row).toMatchObject({ name: "db1", addresses: [lab.world.v4], labels: { role: "legacy" } });
  expect((await lab.axonRun([...register, "--labels", "role=other"])).code).toBe(0);
  await lab.cutOff(lab.world, inwards);
  await lab.cutOff(server, outwards);
  expect((await lab.axonRun([...register, "--labels", "role=legacy"])).code).toBe(0);
  await lab.reached(lab.world, inwards);
  expect((await lab.axonRun(["node", "unregister", "db1"])).code).toBe(0);
  await lab.cutOff(lab.world, inwards);
  await policies.delete("legacy", { namespace: "default" });
  expect((await lab.axonRun(["node", "unregister", "db1"])).code).toBe(3);
  expect((await lab.axonRun(["node", "register", "node1", "--address", "192.0.2.9"])).code).toBe(1);
  expect((await lab.axonRun(["node", "register", "db2", "--address", lab.node("node1").v4])).code).toBe(1);
  expect((await lab.axonRun(["node", "register", "db2", "--address", "nonsense"])).code).toBe(2);
});

it("the relay reaches both nodes with the certificates that the operator makes", async () => {
  const relay = await openHubble({ target: { path: paths.relaySocket } }, 5000);
  const both = async () => (await relay.status()).num_connected_nodes === 2;
  await waitFor(both, { timeoutMs: 20_000, what: "the relay to reach both nodes" });
  relay.close();
  const secrets = lab.client.resource(resources.secrets);
  expect(await secrets.find("cilium-ca", { namespace: secretsNamespace })).toBeUndefined();
  expect(await secrets.find("cilium-ca", { namespace })).toBeDefined();
});

it("the probes' port says that pods can be served, to the node alone", async () => {
  const program = `fetch("http://" + process.argv[1] + ":9879/readyz").then(({status}) => console.log(status), () => console.log("none"))`;
  const from = async (host: string): Promise<string> => {
    const place = ["--netns", lab.node("node1").netns, "--"];
    return (await run(built("axon-exec"), [...place, process.execPath, "-e", program, host])).stdout.trim();
  };
  expect(await from("127.0.0.1")).toBe("200");
  expect(await from(lab.node("node1").v4)).toBe("none");
});

it("the DNS proxy serves beside the agent, and may ask in the pods' names", async () => {
  const place = ["--run-dir", paths.nodeDir("node1"), "--bpffs", join(paths.bpffs("node1"), "maps")];
  const argv = capable(proxyCapabilities, node("dnsproxy.mjs", ...place));
  const proxy = new Running(built("axon-exec"), ["--netns", lab.node("node1").netns, "--", ...argv]);
  const isConnected = () => proxy.stdout.includes("an agent is connected");
  await waitFor(isConnected, { timeoutMs: 10_000, what: "the agent to find the proxy" });
  expect(proxy.stdout).not.toContain("servers see the node");
  proxy.kill();
});

it("a live option changes with the ConfigMap; one that needs a restart is told to wait", async () => {
  const data = installed.find(({ metadata }) => metadata.name === names.agentConfig)?.["data"];
  const changed = { ...(data as Record<string, string>), "monitor-aggregation": "none", mtu: "1400" };
  const maps = lab.client.resource(resources.configmaps);
  await maps.create({ metadata: { name: names.agentConfig, namespace }, data: changed });
  const options = async (node_: string): Promise<ConfigView["options"]> => {
    const view = JSON.parse(
      await ask(join(paths.nodeDir(node_), "agent.sock"), apiPath.config),
    ) as ConfigView;
    return view.options.filter(({ name: option }) => option === "monitorAggregation" || option === "mtu");
  };
  for (const node_ of ["node1", "node2"]) {
    const isLive = async () => (await options(node_)).some(({ running }) => running === "none");
    await waitFor(isLive, { timeoutMs: 10_000, what: `the option of ${node_}` });
    expect(await options(node_)).toContainEqual(
      expect.objectContaining({ name: "mtu", running: 0, desired: 1400, pending: true, change: "restart" }),
    );
  }
  const { stdout } = await waitFor(
    async () => {
      const outcome = await lab.axonRun(["config", "diff", "-o", "json"]);
      return (JSON.parse(outcome.stdout) as object[]).length === 2 && outcome;
    },
    { timeoutMs: 10_000, what: "both nodes to say what waits" },
  );
  expect(JSON.parse(stdout)).toContainEqual({
    node: "node2",
    key: "mtu",
    running: 0,
    desired: 1400,
    change: "restart",
  });
});

/** Pods with fixed addresses: one of any, and one whose agent got no further than to claim it. */
async function fixedAddresses(): Promise<void> {
  await lab.client
    .resource(resources.fixedaddresspools)
    .create({ metadata: { name: "fixed" }, spec: { cidrs: ["10.9.0.0/24"] } });
  const bindings = lab.client.resource(resources.fixedaddresses);
  const half = await bindings.create({ metadata: { name: "half", namespace: "default" }, spec: {} });
  const claim = { address: "10.9.0.7", namespace: "default", name: "half", uid: half.metadata?.uid ?? "" };
  await lab.client.resource(resources.addressclaims).create({ metadata: { name: "10.9.0.7" }, spec: claim });
  const asks = [
    ["half", { "ipam.axoneme.io/addresses": "10.9.0.7" }],
    ["any", { "ipam.axoneme.io/fixed": "true" }],
  ] as const;
  for (const [name_, annotations] of asks) {
    const pod = podObject({ name: name_, node: "node1" });
    await lab.apply({ ...pod, metadata: { ...pod.metadata, annotations } });
    const isHeld = async () =>
      (await bindings.find(name_, { namespace: "default" }))?.spec.holder?.node === "node1";
    await waitFor(isHeld, { timeoutMs: 10_000, what: `the addresses of ${name_}` });
  }
}

describe("rights", () => {
  beforeAll(async () => {
    const l2 = { loadBalancerIPs: true };
    await lab.client
      .resource(resources.ciliuml2announcementpolicies)
      .create({ metadata: { name: "all" }, spec: l2 });
    const pool = { blocks: [{ cidr: "198.51.100.0/24" }] };
    await lab.client
      .resource(resources.ciliumloadbalancerippools)
      .create({ metadata: { name: "p" }, spec: pool });
    const spec = { type: "LoadBalancer", selector: { app: "server" }, ports: [{ port: Number(port) }] };
    const services = lab.client.resource(resources.services);
    await services.create({ metadata: { name: "web", namespace: "default" }, spec });
    const leases = lab.client.resource(resources.leases);
    const renewed = () => asked(names.agent).includes(`update leases.coordination.k8s.io in ${namespace}`);
    await waitFor(renewed, { timeoutMs: 15_000, what: "the lease of the Service to be renewed" });
    await services.delete("web", { namespace: "default" });
    const gone = async () =>
      (await leases.find("cilium-l2announce-default-web", { namespace })) === undefined;
    await waitFor(gone, { timeoutMs: 10_000, what: "the lease to go" });
    await fixedAddresses();
    await lab.deletePod("server");
    const deleted = () => asked(names.agent).includes("get ciliumendpoints.cilium.io");
    await waitFor(deleted, { timeoutMs: 10_000, what: "the endpoint to go" });
  });

  it("agents may do what they have to, and nothing else", () => {
    expect(missing(asked(names.agent), granted(installed, names.agent))).toEqual([]);
    const rights = granted(installed, names.agent);
    expect(missing(rights, [...asked(names.agent), ...seldom])).toEqual([]);
    expect(missing(seldom, rights)).toEqual([]);
  });

  it("so may the relay", () => {
    const rights = granted(installed, names.relay);
    expect(missing(asked(names.relay), rights)).toEqual([]);
    expect(missing(rights, asked(names.relay))).toEqual([]);
  });
});

const tiers = ["adminnetworkpolicies", "baselineadminnetworkpolicies", "clusternetworkpolicies"];

/** What agents ask for only now and then, and where in apps/agent/src. */
const seldom: readonly Right[] = [
  "create events", // lb/reporter.ts, state/policy-room.ts: something cannot be done
  "delete ciliumendpoints.cilium.io", // endpoint/publisher.ts: the API server's own collector may be quicker
  "list ciliumpodippools.cilium.io", // endpoint/pool-choice.ts: with ipam.mode multi-pool
  "watch ciliumpodippools.cilium.io",
  "get ciliumidentities.cilium.io", // state/identities.ts: another agent was quicker
  "get pods", // endpoint/pods.ts: a pod that the runtime knows before the watch does
  ...tiers.map((plural) => `list ${plural}.policy.networking.k8s.io`), // state/tier-policies.ts: where they are defined
  "list ciliumendpointslices.cilium.io", // endpoint-source.ts: where they are switched on
  "watch ciliumendpointslices.cilium.io",
  "patch ciliumclusterwidenetworkpolicies/status.cilium.io", // host/notices.ts: a policy was taken back
  "patch ciliumidentities.cilium.io", // state/identities.ts: one that was about to be removed is used again
  "patch events", // lb/reporter.ts: the same again
  ...tiers.map((plural) => `watch ${plural}.policy.networking.k8s.io`),
];
