/** Real containers of a real runtime: Debian's containerd and runc, driven through CRI, with our agent and plugin. */
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { errorText, waitFor } from "@axoneme/base";
import { type KubeObject, resources } from "@axoneme/kube";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { built, root } from "./support/command.ts";
import { Containerd } from "./support/cri/containerd.ts";
import { makeImage, toolImage } from "./support/cri/image.ts";
import { CriNode, type CriPod, type CriPodRequest } from "./support/cri/node.ts";
import { ImageAgent, productImage } from "./support/cri/product.ts";
import { Zone } from "./support/dns.ts";
import { labName, port, TestLab, type TestPod } from "./support/lab.ts";
import { type NodeState, nodeState } from "./support/runtime.ts";

const name = labName("it-cri");
const node = "node2";
const server = process.env["AXON_E2E_KUBECONFIG"];
const image = "axon.test/tools:1";
const product = "axon.test/axoneme:1";
const namespace = `cri-${process.pid}`;
/** An ADD gives up on an agent that is away after this long. */
const patienceMs = 3000;

/** A peer's identity is finer than before once policies have looked at its labels. */
const withoutNumbers = (state: NodeState): NodeState => ({
  ...state,
  ipcache: state.ipcache.map((row) => row.split(" ")[0] ?? ""),
});

describe("containerd and runc", () => {
  let lab: TestLab | undefined;
  let containerd: Containerd | undefined;
  let runtime: CriNode | undefined;
  let peer: TestPod;
  let dir = "";
  let before: NodeState;

  const the = (): TestLab => {
    if (lab === undefined) throw new Error("the lab is not up");
    return lab;
  };
  const cri = (): CriNode => {
    if (runtime === undefined) throw new Error("containerd is not up");
    return runtime;
  };
  const pod = (podName: string, more: Partial<CriPodRequest> = {}): Promise<CriPod> =>
    cri().run({ name: podName, namespace, ...more });
  const hold = (): string => join(dir, `${node}.hold`);

  beforeAll(async () => {
    dir = await Containerd.freshDir();
    // The agent of a node waits while there is such a file.
    const wait = `while [ -e ${join(dir, "{{node}}.hold")} ]; do sleep 0.05; done; exec "$@"`;
    const agent = [process.execPath, join(root, "dist/agent.mjs"), "--config", "{{config}}"];
    lab = await TestLab.up(name, {
      // Where a real API server is at hand, in place of the lab's own.
      ...(server === undefined ? {} : { kubeconfig: server }),
      foreignNodes: [node],
      agentConfig: { cniConfDir: "{{nodeDir}}/net.d", cniBinDir: "{{nodeDir}}/cni-bin" },
      agentCommand: ["/bin/sh", "-c", wait, "agent", ...agent],
    });
    await lab.namespace(namespace);
    [peer] = (await lab.pods({ name: "peer", node: "node1", namespace })) as [TestPod];
    const { paths } = lab;
    containerd = await Containerd.start({
      dir: join(dir, "containerd"),
      netns: lab.node(node).netns,
      cgroup: join(paths.nodeCgroup(node), "cri"),
      confDir: join(paths.nodeDir(node), "net.d"),
      binDir: join(paths.nodeDir(node), "cni-bin"),
      sandboxImage: image,
      env: { AXON_CNI_TIMEOUT_MS: String(patienceMs) },
    });
    await containerd.import(makeImage(dir, toolImage(image, built("axon-probe"))));
    runtime = new CriNode(lab, node, containerd, image, join(dir, "logs"));
    before = withoutNumbers(await nodeState(lab, node));
  });

  afterAll(async () => {
    rmSync(hold(), { force: true });
    await containerd?.remove();
    if (server !== undefined) await leave(lab);
    await TestLab.down(lab, name);
    rmSync(dir, { recursive: true, force: true });
  });

  /** Takes what the lab made off an API server that goes on. */
  async function leave(from: TestLab | undefined): Promise<void> {
    if (from === undefined) return;
    await from.client.resource(resources.namespaces).deleteIfExists(namespace);
    for (const each of from.nodes.keys()) {
      await from.client.resource(resources.nodes).deleteIfExists(each);
      await from.client.resource(resources.ciliumnodes).deleteIfExists(each);
    }
  }

  it("finds the network that the agent wrote when it was ready", async () => {
    await waitFor(
      async () => {
        const { status } = await cri().containerd.client.call("status", {});
        return status?.conditions.find(({ type }) => type === "NetworkReady")?.status === true;
      },
      { timeoutMs: 10_000, what: "the runtime's network to be ready" },
    );
    expect(readdirSync(join(the().paths.nodeDir(node), "net.d"))).toEqual(["05-axoneme.conflist"]);
  });

  it("connects two pods, a pod of another node, and a Service", async () => {
    const [client, server] = await Promise.all([pod("client"), pod("server")]);
    for (const ip of [server.v4, server.v6])
      expect(await client.reaches("tcp", ip, port)).toContain("server");
    await client.reaches("udp", server.v6, port);
    await client.reaches("ping", server.v4);
    await client.reaches("tcp", peer.v4, port);
    await the().reached(peer, ["tcp", server.v6, port]);
    for (const ip of await service("server", { TCP: 80, UDP: 80 })) {
      expect(await client.reaches("tcp", ip, "80")).toContain("server");
      expect(await client.reaches("udp", ip, "80")).toContain("server");
    }
  });

  /** A Service of the pods app=<name>; returns its addresses. */
  async function service(of: string, ports: Readonly<Record<string, number>>, targetPort = Number(port)) {
    const made = await the()
      .client.resource(resources.services)
      .create({
        apiVersion: "v1",
        kind: "Service",
        metadata: { name: of, namespace },
        spec: {
          selector: { app: of },
          ipFamilyPolicy: "PreferDualStack",
          ports: Object.entries(ports).map(([protocol, at]) => ({
            name: protocol.toLowerCase(),
            protocol,
            port: at,
            targetPort,
          })),
        },
      });
    return made.spec?.clusterIPs ?? [];
  }

  it("serves a host port, from other nodes and from the node itself", async () => {
    await pod("published", { hostPort: 18080 });
    const here = the().node(node);
    for (const ip of [here.v4, here.v6]) {
      expect(await the().reached(the().world, ["tcp", ip, "18080"])).toContain("published");
      expect(await the().reached(the().node("node1"), ["tcp", ip, "18080"])).toContain("published");
    }
    expect(await the().reached(here, ["tcp", here.v4, "18080"])).toContain("published");
  });

  it("leaves a pod of the host's network to the host, without an endpoint", async () => {
    const command = ["/bin/axon-probe", "serve", "18081", "--name", "hosted"];
    const hosted = await pod("hosted", { hostNetwork: true, command });
    const here = the().node(node);
    expect((await hosted.exec("/bin/ip", "-o", "addr")).stdout).toContain(here.v4);
    expect(await the().reached(peer, ["tcp", here.v4, "18081"])).toContain("hosted");
    await hosted.reaches("tcp", peer.v4, port);
    expect((await the().agent(node).endpoints()).map((e) => e.pod)).not.toContain("hosted");
  });

  it("gives init containers the network, one after the other, before the pod's own", async () => {
    const ask = ["/bin/axon-probe", "tcp", peer.v4, port];
    const own = ["/bin/axon-probe", "tcp", "127.0.0.1", port, "--timeout", "300"];
    const alone = ["/bin/sh", "-c", `! ${own.join(" ")}`];
    const started = await pod("started", { init: [ask, alone] });
    expect(started.log("init0")).toContain("peer");
    await started.reaches("tcp", "127.0.0.1", port);
  });

  it("starts a static pod, which the API shows under another uid", async () => {
    const fixed = await pod("static-node2", { staticUid: "0123456789abcdef0123456789abcdef" });
    expect(fixed.failures).toEqual([]);
    await the().reached(peer, ["tcp", fixed.v4, port]);
  });

  it("keeps address and policy while a container restarts, and has new ones in a new sandbox", async () => {
    const [restarted, friend, stranger] = await Promise.all([
      pod("restarted"),
      pod("friend"),
      pod("stranger"),
    ]);
    await the().apply(allow("restarted", [{ podSelector: { matchLabels: { app: "friend" } } }]));
    await stranger.isCutOff("tcp", restarted.v4, port);
    const { ips } = restarted;
    await restarted.restartContainer();
    await friend.reaches("tcp", restarted.v4, port);
    await stranger.isCutOff("tcp", restarted.v6, port);
    expect(restarted.ips).toBe(ips);
    const former = restarted.sandboxId;
    await restarted.recreate();
    expect(restarted.sandboxId).not.toBe(former);
    await friend.reaches("tcp", restarted.v4, port);
    expect(
      (await stranger.exec("/bin/axon-probe", "tcp", restarted.v4, port, "--timeout", "300")).code,
    ).not.toBe(0);
    const mine = (await the().agent(node).endpoints()).filter((e) => e.pod === "restarted");
    expect(mine.map(({ containerId }) => containerId)).toEqual([restarted.sandboxId]);
  });

  /** Who may come in to the pods app=<name>. */
  function allow(to: string | undefined, from: readonly object[]): KubeObject {
    return {
      apiVersion: "networking.k8s.io/v1",
      kind: "NetworkPolicy",
      metadata: { name: to ?? "default-deny", namespace },
      spec: {
        podSelector: to === undefined ? {} : { matchLabels: { app: to } },
        policyTypes: to === undefined ? ["Ingress", "Egress"] : ["Ingress"],
        ...(from.length === 0 ? {} : { ingress: [{ from }] }),
      },
    } as KubeObject;
  }

  it("under default-deny the node's probes get through, and nobody else", async () => {
    const [probed, other] = await Promise.all([pod("probed"), pod("other")]);
    const deny = allow(undefined, []);
    await the().apply(deny);
    await other.isCutOff("tcp", probed.v4, port);
    await the().cutOff(peer, ["tcp", probed.v6, port]);
    for (const ip of [probed.v4, probed.v6]) {
      await the().reached(the().node(node), ["tcp", ip, port]);
      await the().reached(the().node(node), ["http", ip, port]);
    }
    await the().remove(deny, allow("restarted", []));
    await other.reaches("tcp", probed.v4, port);
  });

  it("resolves names by the cluster's DNS Service", async () => {
    const dns = await pod("dns", { command: ["/bin/sleep", "600"] });
    const [first = ""] = await service("dns", { UDP: 53, TCP: 53 }, 53);
    const zone = await Zone.serve(await dns.place());
    zone.set(`peer.${namespace}.svc.cluster.local`, peer.v4);
    const searches = [`${namespace}.svc.cluster.local`, "svc.cluster.local", "cluster.local"];
    const asks = await pod("asks", { dns: { servers: [first], searches } });
    expect((await asks.exec("/bin/cat", "/etc/resolv.conf")).stdout).toContain(`nameserver ${first}`);
    const found = await waitFor(
      async () => {
        const answer = await asks.exec("/bin/nslookup", "-type=a", `peer.${namespace}.svc.cluster.local`);
        return answer.code === 0 ? answer.stdout : undefined;
      },
      { timeoutMs: 15_000, what: "the name" },
    );
    expect(found).toContain(peer.v4);
    zone.stop();
  });

  it("makes twenty sandboxes at once, each with addresses of its own", async () => {
    await cri().clear();
    const names = Array.from({ length: 20 }, (_, i) => `crowd-${i}`);
    const pods = await Promise.all(names.map((each) => cri().create({ name: each, namespace })));
    await Promise.all(pods.map((one) => one.trySandbox()));
    expect(new Set(pods.flatMap(({ ips }) => ips)).size).toBe(40);
    await Promise.all(pods.map((one) => the().reached(peer, ["ping", one.v4])));
    await cri().clear();
  });

  it("a containerd that is killed takes no connection with it, and finds its pods again", async () => {
    const [client, server] = await Promise.all([pod("client"), pod("server")]);
    const held = the().start(await client.place(), [
      "hold",
      server.v4,
      port,
      "--for",
      "60000",
      "--every",
      "5",
    ]);
    await waitFor(() => held.stdout.includes("connected"), { what: "a held connection" });
    await cri().containerd.restart();
    const { items } = await cri().containerd.client.call("listPodSandbox", {});
    expect(items.map(({ id }) => id).sort()).toEqual([client.sandboxId, server.sandboxId].sort());
    await client.reaches("tcp", server.v6, port);
    expect(held.process.exitCode, held.stderr).toBeNull();
    held.process.kill("SIGTERM");
    expect((await held.ended).code).toBe(0);
    await Promise.all([client.restartContainer(), server.remove()]);
    await cri().clear();
  });

  it("while the agent is away a pod that comes says why and comes later; one that goes goes at once", async () => {
    const [going, staying] = await Promise.all([pod("going"), pod("staying")]);
    const late = await cri().create({ name: "late", namespace });
    await agentAway();
    const [refused, gone] = await Promise.all([
      late.trySandbox().then(
        () => "",
        (error: unknown) => errorText(error),
      ),
      timed(() => going.remove()),
    ]);
    expect(refused).toMatch(/the agent does not answer.*check that the agent of this node runs/);
    expect(gone).toBeLessThan(patienceMs);
    await the().reached(peer, ["tcp", staying.v4, port]);
    await agentBack();
    await late.start();
    await late.reaches("tcp", staying.v4, port);
    await waitFor(
      async () => {
        const pods = (await the().agent(node).endpoints()).map((e) => e.pod);
        return !pods.includes("going") && pods.includes("staying");
      },
      { what: "the pod that went to be forgotten" },
    );
    await cri().clear();
  });

  it("the agent of the image serves the node, with the chart's rights and mounts and no others", async () => {
    await cri().containerd.import(await productImage(join(dir, "product"), product));
    const before = await pod("before");
    await agentAway();
    const agent = await ImageAgent.start(
      {
        lab: the(),
        node,
        containerd: cri().containerd,
        netns: join(dir, "containerd/state/io.containerd.grpc.v1.cri/netns"),
        logs: join(dir, "logs/agent"),
      },
      product,
    );
    await waitFor(() => the().agent(node).isReady(), { timeoutMs: 20_000, what: "the image's agent" }).catch(
      (cause: unknown) => {
        throw new Error(agent.log, { cause });
      },
    );
    const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string };
    const during = await pod("during");
    await during.reaches("tcp", before.v4, port);
    await the().reached(peer, ["tcp", during.v6, port]);
    const program = (name: string) => `/usr/lib/axoneme/dist/${name}.mjs`;
    expect((await agent.exec("node", program("agent"), "--version")).stdout).toBe(
      `axoneme-agent ${version}\n`,
    );
    const others = ["operator", "relay", "ui", "dnsproxy"];
    for (const { stdout } of await Promise.all(
      others.map((each) => agent.exec("node", program(each), "--help")),
    ))
      expect(stdout).toContain("Usage:");
    expect((await agent.exec("axon", "version", "--client")).stdout).toContain(`axon: ${version}`);
    await agent.remove();
    await agentBack();
    await the().reached(peer, ["tcp", during.v4, port]);
    await cri().clear();
  }, 120_000);

  /** From here on no agent runs on the node, until it is let. */
  async function agentAway(): Promise<void> {
    const pid = the().agentPid(node);
    if (pid === undefined) throw new Error("no agent runs");
    writeFileSync(hold(), "");
    process.kill(pid, "SIGKILL");
    await waitFor(() => !existsSync(`/proc/${pid}`), { everyMs: 5, what: "the agent to be gone" });
  }

  async function agentBack(): Promise<void> {
    rmSync(hold());
    await waitFor(() => the().agent(node).isReady(), { timeoutMs: 30_000, what: "the agent" });
  }

  async function timed(work: () => Promise<void>): Promise<number> {
    const start = performance.now();
    await work();
    return performance.now() - start;
  }

  it("leaves nothing: no device, namespace, address, endpoint, row, mount or process", async () => {
    for (const each of ["server", "dns"])
      await the().client.resource(resources.services).deleteIfExists(each, { namespace });
    let now: NodeState | undefined;
    await waitFor(
      async () => {
        now = withoutNumbers(await nodeState(the(), node));
        return isDeepStrictEqual(now, before);
      },
      { timeoutMs: 15_000, what: "the node to be as before" },
    ).catch(() => expect(now).toEqual(before));
    expect(cri().containerd.leftovers()).toEqual({ namespaces: [], mounts: [], processes: [] });
    expect(readdirSync(join(the().paths.nodeDir(node), "deletes"))).toEqual([]);
  });
});
