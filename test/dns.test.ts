/** Names: policies that speak of them, and pods that go on resolving whatever happens to the agent. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { waitFor } from "@axoneme/base";
import type { KubeObject } from "@axoneme/kube";
import type { Packet, Question } from "dns-packet";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { addresses, askOverTcp, NameServer, Resolver } from "../bpf/test/dns.ts";
import { labName, port, TestLab, type TestPod, world } from "./support/lab.ts";

/** The client may ask the name server about `good.test`, and speak to what those names lead to. */
const policy = {
  apiVersion: "cilium.io/v2",
  kind: "CiliumNetworkPolicy",
  metadata: { name: "names", namespace: "default" },
  spec: {
    endpointSelector: { matchLabels: { app: "client" } },
    egress: [
      {
        toEndpoints: [{ matchLabels: { app: "dns" } }],
        toPorts: [
          { ports: [{ port: "53", protocol: "ANY" }], rules: { dns: [{ matchPattern: "**.good.test" }] } },
        ],
      },
      { toFQDNs: [{ matchPattern: "site*.good.test" }], toPorts: [{ ports: [{ port, protocol: "TCP" }] }] },
    ],
  },
} as KubeObject;

const answers = ({ name, type }: Question, _: Packet): Partial<Packet> => ({
  answers: addresses(name, type === "AAAA" ? [world.v6] : [world.v4], 3600),
});

describe("names", () => {
  const name = labName("it-dns");
  let lab: TestLab | undefined;
  let client: TestPod;
  let near: TestPod;
  let far: TestPod;
  const servers: NameServer[] = [];
  const resolvers: Partial<Record<"v4" | "v6", Resolver>> = {};
  let count = 0;

  const the = (): TestLab => {
    if (lab === undefined) throw new Error("the lab is not up");
    return lab;
  };
  const resolver = (family: "v4" | "v6"): Resolver => {
    const found = resolvers[family];
    if (found === undefined) throw new Error("no resolver");
    return found;
  };
  const ask = (asked: string, type = "A", family: "v4" | "v6" = "v4", server = near) =>
    resolver(family).ask(server[family], asked, type);
  const proxyPid = (): number | undefined => {
    const path = join(the().paths.nodeDir("node1"), "dnsproxy.json");
    return existsSync(path) ? (JSON.parse(readFileSync(path, "utf8")) as { pid: number }).pid : undefined;
  };
  const agentPid = async (): Promise<number> => waitFor(() => the().agentPid("node1"), { timeoutMs: 30_000 });

  beforeAll(async () => {
    lab = await TestLab.up(name, { routingMode: "tunnel" });
    const dns = { app: "dns" };
    [client, near, far] = (await lab.pods(
      { name: "client", node: "node1" },
      { name: "near", node: "node1", labels: dns },
      { name: "far", node: "node2", labels: dns },
    )) as [TestPod, TestPod, TestPod];
    await lab.serve(lab.world);
    for (const pod of [near, far])
      for (const family of ["v4", "v6"] as const)
        servers.push(await NameServer.start(pod.netns, pod[family], answers));
    for (const family of ["v4", "v6"] as const) resolvers[family] = await Resolver.open(client.netns, family);
    await lab.reached(client, ["tcp", world.v4, port]);
  });

  afterAll(async () => {
    for (const server of servers) server.stop();
    for (const one of Object.values(resolvers)) one.close();
    await TestLab.down(lab, name);
  });

  /** Queries of a name that no rule names, one each 2 ms: from the first refusal on all are refused. */
  async function untilRefused(happens: () => Promise<void>): Promise<void> {
    const late: unknown[] = [];
    const open: Promise<unknown>[] = [];
    let refused = false;
    const timer = setInterval(() => {
      const after = refused;
      const answer = ask(`n${count++}.evil.test`, "A", count % 4 < 2 ? "v4" : "v6");
      open.push(
        answer.then(({ rcode }) => {
          if (rcode === "REFUSED") refused = true;
          else if (after) late.push(rcode);
        }),
      );
    }, 2);
    try {
      await happens();
      await waitFor(() => refused, { timeoutMs: 30_000, what: "the first refusal" });
      const asked = open.length;
      await waitFor(() => open.length > asked + 200, { timeoutMs: 30_000, what: "200 queries more" });
    } finally {
      clearInterval(timer);
    }
    await Promise.all(open);
    expect(late).toEqual([]);
  }

  it("resolve while the first policy of the node comes: none is lost, and none that it does not name passes", async () => {
    expect(await ask("n.evil.test")).toMatchObject({ rcode: "NOERROR" });
    expect(proxyPid(), "the proxy is there before any policy").toBeDefined();
    await querying(() => untilRefused(() => the().apply(policy)));
    await the().cutOff(client, ["tcp", world.v4, port]);
  });

  it("that no rule names are refused, and what a name is not asked for stays closed", async () => {
    expect(await ask("evil.test")).toMatchObject({ rcode: "REFUSED" });
    expect(await ask("other.good.test")).toMatchObject({ rcode: "NOERROR" });
    expect((await the().probe(client, ["tcp", world.v4, port, "--timeout", "400"])).code).not.toBe(0);
  });

  it.each(["v4", "v6"] as const)(
    "lead to addresses that are open when the answer is there, %s",
    async (family) => {
      const type = family === "v4" ? "A" : "AAAA";
      for (const server of [near, far]) {
        const site = `site-${family}-${server.name}.good.test`;
        expect(await ask(site, type, family, server)).toMatchObject({
          rcode: "NOERROR",
          from: server[family],
        });
        const { code, stderr } = await the().probe(client, ["tcp", world[family], port, "--timeout", "2000"]);
        expect(code, stderr).toBe(0);
      }
    },
  );

  it.each(["v4", "v6"] as const)(
    "are asked for in the pod's name: its address is what servers see, %s",
    async (family) => {
      for (const server of [near, far]) {
        const site = `seen-${family}-${server.name}.good.test`;
        await ask(site, "A", family, server);
        const overTcp = await askOverTcp(client.netns, server[family], [`tcp-${site}`]);
        expect(overTcp.get(`tcp-${site}`)).toMatchObject({ rcode: "NOERROR" });
        const seen = servers.flatMap(({ asked }) => asked.filter(({ name }) => name.endsWith(site)));
        expect(seen.map(({ from }) => from)).toEqual([client[family], client[family]]);
      }
    },
  );

  it("are asked for under the policies of the server's side, which judge the pod", async () => {
    const onlyFor = (app: string): KubeObject =>
      ({
        apiVersion: "networking.k8s.io/v1",
        kind: "NetworkPolicy",
        metadata: { name: "servers", namespace: "default" },
        spec: {
          podSelector: { matchLabels: { app: "dns" } },
          ingress: [{ from: [{ podSelector: { matchLabels: { app } } }] }],
          policyTypes: ["Ingress"],
        },
      }) as KubeObject;
    const answered = (server: TestPod, family: "v4" | "v6") =>
      resolver(family)
        .ask(server[family], `guarded-${count++}.good.test`, "A", {}, 300)
        .then(
          () => true,
          () => false,
        );
    const everybody = async (want: boolean): Promise<boolean> => {
      for (const server of [near, far])
        for (const family of ["v4", "v6"] as const)
          if ((await answered(server, family)) !== want) return false;
      return true;
    };
    await the().apply(onlyFor("nobody"));
    await waitFor(() => everybody(false), { timeoutMs: 20_000, what: "the servers to be closed" });
    await the().apply(onlyFor("client"));
    await waitFor(() => everybody(true), { timeoutMs: 20_000, what: "the servers to be open for the pod" });
    const tcp = await askOverTcp(client.netns, far.v4, ["guarded-tcp.good.test"]);
    expect(tcp.get("guarded-tcp.good.test")).toMatchObject({ rcode: "NOERROR" });
    await the().remove(onlyFor("client"));
  });

  it("are asked for in flows: redirected to the proxy, by the rule of the policy", async () => {
    await ask("flow.good.test");
    const source = [{ source_pod: ["default/client"], verdict: ["REDIRECTED"] }];
    const seen = await waitFor(async () => {
      const flows = await the().agent("node1").flows(source);
      return flows.find(
        ({ egress_allowed_by: by, destination: to }) =>
          to?.pod_name === "near" && by?.some((p) => p.name === "names"),
      );
    });
    expect(seen.destination?.namespace).toBe("default");
  });

  /** A query each millisecond, of names that are new every time, while something happens. */
  async function querying(happens: () => Promise<void>): Promise<number> {
    const failures: unknown[] = [];
    const open: Promise<unknown>[] = [];
    const timer = setInterval(() => {
      const i = count++;
      const family = i % 2 === 0 ? "v4" : "v6";
      const answer = ask(`n${i}.good.test`, i % 4 < 2 ? "A" : "AAAA", family, i % 8 < 4 ? near : far);
      open.push(
        answer.then(
          ({ rcode }) => void (rcode === "NOERROR" || failures.push(rcode)),
          (error: unknown) => void failures.push(error),
        ),
      );
    }, 1);
    await happens().finally(() => clearInterval(timer));
    await Promise.all(open);
    expect(failures).toEqual([]);
    return open.length;
  }

  it("resolve while the agent is killed and started again: no query is lost", async () => {
    const proxy = proxyPid();
    const queries = await querying(async () => {
      for (let i = 0; i < 2; i++) {
        const pid = await agentPid();
        process.kill(pid, "SIGKILL");
        await waitFor(() => the().agentPid("node1") !== undefined && the().agentPid("node1") !== pid, {
          timeoutMs: 30_000,
          what: "a new agent",
        });
        await waitFor(() => the().agent("node1").isReady(), {
          timeoutMs: 60_000,
          what: "the agent to serve",
        });
      }
    });
    expect(queries).toBeGreaterThan(500);
    expect(proxyPid()).toBe(proxy);
    expect((await the().probe(client, ["tcp", world.v4, port, "--timeout", "2000"])).code).toBe(0);
  });

  it("resolve while the agent hangs", async () => {
    const pid = await agentPid();
    process.kill(pid, "SIGSTOP");
    try {
      const before = count;
      await querying(() =>
        waitFor(() => count - before > 2000, { timeoutMs: 60_000, what: "2000 queries" }).then(
          () => undefined,
        ),
      );
    } finally {
      process.kill(pid, "SIGCONT");
    }
    await waitFor(async () => {
      const site = `site-after-${count++}.good.test`;
      return (await ask(site)).rcode === "NOERROR" && (await the().agent("node1").isReady());
    });
  });

  it("resolve again when the proxy itself was killed: the agent starts another", async () => {
    const pid = proxyPid();
    process.kill(pid ?? -1, "SIGKILL");
    await waitFor(
      async () => (await resolver("v4").ask(near.v4, "back.good.test", "A", {}, 300)).rcode === "NOERROR",
      {
        timeoutMs: 20_000,
        what: "an answer through a new proxy",
      },
    );
    expect(proxyPid()).not.toBe(pid);
    expect(await ask("evil.test")).toMatchObject({ rcode: "REFUSED" });
  });
});
