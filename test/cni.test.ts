/** The plugin and a real agent against the CNI specification 1.0.0 and 1.1.0. */
import { existsSync, rmSync } from "node:fs";
import { waitFor } from "@axoneme/base";
import { type KubeObject, resources } from "@axoneme/kube";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { built, type Outcome, run } from "./support/command.ts";
import { labName, podObject, port, TestLab, type TestPod } from "./support/lab.ts";
import { type AddResult, addressesOf, type PodName, Runtime, type Sandbox } from "./support/runtime.ts";

const name = labName("it-cni");
const node = "node2";

describe("CNI", () => {
  let lab: TestLab | undefined;
  let runtime: Runtime | undefined;
  let peer: TestPod;

  const the = (): TestLab => {
    if (lab === undefined) throw new Error("the lab is not up");
    return lab;
  };
  const rt = (): Runtime => {
    if (runtime === undefined) throw new Error("the lab is not up");
    return runtime;
  };

  beforeAll(async () => {
    lab = await TestLab.up(name, { nodeGraceMs: 3_600_000 });
    [peer] = (await lab.pods({ name: "peer", node: "node1" })) as [TestPod];
    // node2's own runner stands still: the test is the runtime there.
    process.kill(lab.runnerPid(node), "SIGSTOP");
    runtime = new Runtime(lab, node);
  });

  afterAll(() => TestLab.down(lab, name));

  let next = 0;

  /** A Pod that only the test runs, and a namespace for it. */
  async function sandboxOf(
    labels: Record<string, string> = { app: "by-hand" },
    annotations: Record<string, string> = {},
  ): Promise<Sandbox> {
    const pod = podObject({ name: `by-hand-${next++}`, node, labels });
    pod.metadata = { ...pod.metadata, annotations };
    const made = await the().client.resource(resources.pods).create(pod);
    const { name: podName = "", namespace = "", uid = "" } = made.metadata ?? {};
    return rt().sandbox({ name: podName, namespace, uid } satisfies PodName);
  }

  /** The error object a failed call printed. */
  function errorOf(outcome: Outcome): { cniVersion: string; code: number; msg: string; details?: string } {
    expect(outcome.code).toBe(1);
    return JSON.parse(outcome.stdout) as { cniVersion: string; code: number; msg: string; details?: string };
  }

  const ok = { code: 0, stdout: "", stderr: "" };

  it.each(["0.4.0", "1.0.0", "1.1.0"])("ADD, CHECK and DEL by specification %s", async (version) => {
    const sandbox = await sandboxOf();
    const result = await rt().add(sandbox, { version });
    const gateway = expect.any(String);
    const family = (of: number) => (version === "0.4.0" ? { version: String(of) } : {});
    expect(result).toEqual({
      cniVersion: version,
      interfaces: [
        {
          name: expect.stringMatching(/^lxc[0-9a-f]{8}$/),
          mac: expect.stringMatching(/^0e(:[0-9a-f]{2}){5}$/),
        },
        { name: "eth0", mac: expect.stringMatching(/^0a(:[0-9a-f]{2}){5}$/), sandbox: sandbox.netns },
      ],
      ips: [
        { address: expect.stringMatching(/^10\.\d+\.\d+\.\d+\/32$/), interface: 1, gateway, ...family(4) },
        { address: expect.stringMatching(/^fd10:.*\/128$/), interface: 1, gateway, ...family(6) },
      ],
      routes: [
        { dst: "0.0.0.0/0", gw: gateway },
        { dst: "::/0", gw: gateway },
      ],
    });
    await the().reached(rt().place(sandbox, result), ["tcp", peer.v4, port]);
    await the().reached(rt().place(sandbox, result), ["tcp", peer.v6, port]);
    expect(await rt().call("CHECK", sandbox, { version, config: { prevResult: result } })).toEqual(ok);
    expect(await rt().call("DEL", sandbox, { version, config: { prevResult: result } })).toEqual(ok);
    await the().cutOff(rt().place(sandbox, result), ["tcp", peer.v4, port]);
  });

  it("DEL may be repeated, come without a namespace, and be for what never was", async () => {
    const sandbox = await sandboxOf();
    await rt().add(sandbox);
    await rt().discard(sandbox);
    expect(await rt().call("DEL", sandbox, { env: { CNI_NETNS: undefined } })).toEqual(ok);
    expect(await rt().call("DEL", sandbox)).toEqual(ok);
    expect(await rt().call("DEL", { id: "never-was", netns: "/nowhere", pod: undefined })).toEqual(ok);
  });

  it("ADD repeated for the same container leaves one working attachment", async () => {
    const sandbox = await sandboxOf();
    const first = await rt().add(sandbox);
    const second = await rt().add(sandbox);
    const state = (await the().agent(node).endpoints()).filter((e) => e.containerId === sandbox.id);
    expect(state.map(({ ipv4 }) => ipv4)).toEqual([addressesOf(second)[0]]);
    expect(second.interfaces).toEqual(first.interfaces);
    await the().reached(rt().place(sandbox, second), ["tcp", peer.v4, port]);
    await rt().del(sandbox);
  });

  it("CHECK finds an address deleted by hand, an interface that is down and a namespace that is gone", async () => {
    const sandbox = await sandboxOf();
    const result = await rt().add(sandbox);
    const check = () => rt().call("CHECK", sandbox, { config: { prevResult: result } });
    const [address = ""] = addressesOf(result);
    await inside(sandbox, "addr", "del", `${address}/32`, "dev", "eth0");
    expect(errorOf(await check())).toMatchObject({ code: 101, details: expect.stringContaining(address) });
    await inside(sandbox, "addr", "add", `${address}/32`, "dev", "eth0");
    expect(await check()).toEqual(ok);
    await inside(sandbox, "link", "set", "eth0", "down");
    expect(errorOf(await check()).details).toContain("eth0 is down");
    await rt().discard(sandbox);
    expect(errorOf(await check()).code).toBeGreaterThan(0);
    await rt().del(sandbox);
    expect(errorOf(await check())).toMatchObject({ code: 3, msg: expect.stringContaining(sandbox.id) });
  });

  async function inside(sandbox: Sandbox, ...args: string[]): Promise<void> {
    const outcome = await run(built("axon-exec"), ["--netns", sandbox.netns, "--", "ip", ...args]);
    expect(outcome).toEqual(ok);
  }

  it("STATUS says yes; VERSION names the versions", async () => {
    expect(await rt().call("STATUS", undefined)).toEqual(ok);
    const { stdout } = await rt().call("VERSION", undefined);
    expect(JSON.parse(stdout)).toEqual({
      cniVersion: "1.1.0",
      supportedVersions: ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"],
    });
  });

  it("GC removes what the runtime no longer knows and leaves the rest", async () => {
    const [kept, stale] = [await sandboxOf(), await sandboxOf()];
    const place = rt().place(kept, await rt().add(kept));
    await rt().add(stale);
    const valid = [{ containerID: kept.id, ifname: "eth0" }];
    expect(await rt().call("GC", undefined, { config: { "cni.dev/valid-attachments": valid } })).toEqual(ok);
    const left = (await the().agent(node).endpoints()).map((e) => e.containerId);
    expect(left).toContain(kept.id);
    expect(left).not.toContain(stale.id);
    await the().reached(place, ["tcp", peer.v4, port]);
    await rt().del(kept);
  });

  describe("errors have the specification's codes", () => {
    const sandbox: Sandbox = { id: "c1", netns: "/nowhere", pod: undefined };

    it.each([
      ["a version we do not speak", 1, { version: "0.2.0" }],
      ["no container id", 4, { env: { CNI_CONTAINERID: undefined } }],
      ["a container id with a slash", 4, { env: { CNI_CONTAINERID: "../x" } }],
      ["no interface name", 4, { env: { CNI_IFNAME: undefined } }],
      ["an interface name that is too long", 4, { env: { CNI_IFNAME: "a234567890123456" } }],
      ["no namespace", 4, { env: { CNI_NETNS: undefined } }],
      ["no command", 4, { env: { CNI_COMMAND: "" } }],
      ["a command that is none", 4, { env: { CNI_COMMAND: "MOVE" } }],
      ["a configuration that is not JSON", 6, { stdinTail: "}" }],
      ["a prevResult that is not an object", 7, { config: { prevResult: 3 } }],
      [
        "a prevResult without a veth pair",
        7,
        { config: { prevResult: { cniVersion: "1.1.0", interfaces: [] } } },
      ],
    ] as const)("%s: code %d", async (_what, code, options) => {
      const { stdinTail, ...rest } = options as { stdinTail?: string };
      const socket = `${the().paths.nodeDir(node)}/cni.sock`;
      const stdin = stdinTail === undefined ? {} : { stdin: `{"axonSocket":"${socket}",${stdinTail}` };
      expect(errorOf(await rt().call("ADD", sandbox, { ...rest, ...stdin }))).toMatchObject({ code });
    });

    it("GC without its list and GC before 1.1.0", async () => {
      expect(errorOf(await rt().call("GC", undefined))).toMatchObject({ code: 7 });
      expect(errorOf(await rt().call("GC", undefined, { version: "1.0.0" }))).toMatchObject({ code: 1 });
    });

    it("a namespace that is not there is named, and nothing stays behind", async () => {
      const real = await sandboxOf();
      const error = errorOf(await rt().call("ADD", { ...real, netns: "/run/nowhere" }));
      expect(`${error.msg} ${error.details}`).toContain("/run/nowhere");
      expect((await the().agent(node).endpoints()).map((e) => e.containerId)).not.toContain(real.id);
    });

    it("a pod that does not exist is named", async () => {
      const pod = { namespace: "default", name: "nobody", uid: "no-such-uid" };
      const stranger = await rt().sandbox(pod);
      const error = errorOf(await rt().call("ADD", stranger));
      expect(error.msg).toContain("default/nobody");
      expect((await the().agent(node).endpoints()).map((e) => e.containerId)).not.toContain(stranger.id);
    });
  });

  it("without an agent the plugin waits as long as it may and then says which socket", async () => {
    const away = { config: { axonSocket: "/run/axon/nowhere.sock" }, timeoutMs: 300 };
    const sandbox: Sandbox = { id: "c1", netns: "/nowhere", pod: undefined };
    const error = errorOf(await rt().call("ADD", sandbox, away));
    expect(error).toMatchObject({ code: 11, details: expect.stringContaining("/run/axon/nowhere.sock") });
    expect(errorOf(await rt().call("STATUS", undefined, away))).toMatchObject({ code: 50 });
  });

  it("an ADD that comes while the agent restarts waits for it", async () => {
    const sandbox = await sandboxOf();
    const pid = the().agentPid(node);
    if (pid === undefined) throw new Error("no agent runs");
    process.kill(pid, "SIGKILL");
    // Gone altogether: while its threads end, its socket still takes calls that nobody will answer.
    await waitFor(() => !existsSync(`/proc/${pid}`), { everyMs: 2, what: "the agent to be gone" });
    const result = await rt().add(sandbox);
    await the().reached(rt().place(sandbox, result), ["tcp", peer.v4, port]);
    await rt().del(sandbox);
  });

  it("a pod's annotation limits what it sends: at once, when it changes, and under the next agent", async () => {
    const annotation = "kubernetes.io/egress-bandwidth";
    const sandbox = await sandboxOf({ app: "limited" }, { [annotation]: "40M" });
    const place = rt().place(sandbox, await rt().add(sandbox));
    const limitSeen = async () =>
      (await the().agent(node).endpoints()).find((e) => e.containerId === sandbox.id)?.egressBandwidth;
    const tell = (value: string | null) =>
      the()
        .client.resource(resources.pods)
        .patch(
          sandbox.pod?.name ?? "",
          { metadata: { annotations: { [annotation]: value } } },
          {
            namespace: "default",
          },
        );
    /** Bits per second that get through. */
    const rate = async (): Promise<number> => {
      const [count, size] = [60, 50_000];
      const start = performance.now();
      const question = ["tcp", peer.v4, port, "--count", String(count), "--size", String(size)];
      const outcome = await the().probe(place, [...question, "--timeout", "10000"]);
      expect(outcome).toMatchObject({ code: 0 });
      return (count * size * 8) / ((performance.now() - start) / 1000);
    };
    expect(await limitSeen()).toBe(40e6);
    const limited = await rate();
    expect(limited).toBeLessThan(44e6);
    expect(limited).toBeGreaterThan(15e6);
    await tell("20M");
    await waitFor(async () => (await limitSeen()) === 20e6, { what: "the other limit" });
    expect(await rate()).toBeLessThan(22e6);
    const pid = the().agentPid(node) ?? 0;
    process.kill(pid, "SIGKILL");
    await waitFor(() => !existsSync(`/proc/${pid}`), { everyMs: 2, what: "the agent to be gone" });
    const seen = () => limitSeen().catch(() => undefined);
    await waitFor(async () => (await seen()) === 20e6, { timeoutMs: 30_000, what: "another agent" });
    expect(await rate()).toBeLessThan(22e6);
    await tell(null);
    await waitFor(async () => (await limitSeen()) === undefined, { what: "the limit to go" });
    expect(await rate()).toBeGreaterThan(60e6);
    await rt().del(sandbox);
  });

  it("behind another plugin it isolates that plugin's pod and returns its result", async () => {
    const labels = { app: "chained" };
    const sandbox = await sandboxOf(labels);
    const data = `/run/axon/${name}/host-local`;
    const ptp = (command: string) => pointToPoint(the(), sandbox, command, data);
    const made = JSON.parse(await ptp("ADD")) as AddResult;
    const chained = { config: { prevResult: made } };
    expect(await rt().add(sandbox, chained)).toEqual(made);
    const endpoint = (await the().agent(node).endpoints()).find((e) => e.containerId === sandbox.id);
    expect(endpoint).toMatchObject({ pod: sandbox.pod?.name, ipv4: addressesOf(made)[0] });
    const place = rt().place(sandbox, made);
    const server = the().start(place, ["serve", port], { timeoutMs: 120_000 });
    await waitFor(() => server.stdout.includes("listens"), { what: "the chained pod's server" });
    const host = the().node(node);
    const neighbour = await sandboxOf({ app: "neighbour" });
    const from = rt().place(neighbour, await rt().add(neighbour));
    await the().reached(from, ["tcp", place.v4, port]);
    await the().reached(host, ["tcp", place.v4, port]);
    const policy = {
      apiVersion: "networking.k8s.io/v1",
      kind: "NetworkPolicy",
      metadata: { name: "chained", namespace: "default" },
      spec: { podSelector: { matchLabels: labels }, policyTypes: ["Ingress"] },
    } as KubeObject;
    await the().apply(policy);
    await the().cutOff(from, ["tcp", place.v4, port]);
    await the().remove(policy);
    await the().reached(from, ["tcp", place.v4, port]);
    expect(await rt().call("CHECK", sandbox, chained)).toEqual(ok);
    expect(await rt().call("DEL", sandbox, chained)).toEqual(ok);
    server.kill();
    await ptp("DEL");
    await rt().del(neighbour);
    rmSync(data, { recursive: true, force: true });
    expect((await the().agent(node).endpoints()).map((e) => e.containerId)).not.toContain(sandbox.id);
  });
});

/** Debian's ptp plugin in the node's namespace, as the first of the chain. */
async function pointToPoint(
  lab: TestLab,
  sandbox: Sandbox,
  command: string,
  dataDir: string,
): Promise<string> {
  const conf = {
    cniVersion: "1.0.0",
    name: "chain",
    type: "ptp",
    ipam: {
      type: "host-local",
      dataDir,
      ranges: [[{ subnet: "10.199.7.0/24" }]],
      routes: [{ dst: "0.0.0.0/0" }],
    },
  };
  const env = {
    CNI_COMMAND: command,
    CNI_PATH: "/usr/lib/cni",
    CNI_CONTAINERID: sandbox.id,
    CNI_NETNS: sandbox.netns,
    CNI_IFNAME: "eth0",
  };
  const argv = ["--netns", lab.node(node).netns, "--", "/usr/lib/cni/ptp"];
  const outcome = await run(built("axon-exec"), argv, { stdin: JSON.stringify(conf), env });
  expect(outcome).toMatchObject({ code: 0 });
  return outcome.stdout;
}
