import { statSync } from "node:fs";
import { request } from "node:http";
import { join } from "node:path";
import { PolicyVerdict } from "@axoneme/abi";
import { parseIp, waitFor } from "@axoneme/base";
import { Netlink } from "@axoneme/netlink";
import { encode, type Packet } from "dns-packet";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { AgentStandIn, addresses, askOverTcp, NameServer, ProxyProcess, Resolver } from "./dns.ts";
import { LiveCluster, type Node, type Pod } from "./live.ts";
import { Proto } from "./packet.ts";

/** Pods that ask name servers through the DNS proxy's process, with an agent's stand-in on the proxy's socket. */
const PROXY = { v4: "169.254.42.2", v6: "fd00:6178:6f6e::2" } as const;
const RULES = 7;
const SETS = { [RULES]: { names: ["other.test."], patterns: ["*.good.test.", "**.deep.test."] } };

let cluster: LiveCluster;
let node: Node;
let asker: Pod;
let near: Pod;
let far: Pod;
let servers: NameServer[];
let proxy: ProxyProcess;
let agent: AgentStandIn | undefined;
let resolvers: { v4: Resolver; v6: Resolver };
let runs = 0;

const families = ["v4", "v6"] as const;
const runDir = () => `/run/axdns-${process.pid}-${runs}`;
const bpffs = () => join(node.pinDir, "maps");

/** What the servers say: addresses for most names, oddities for some. */
function say({ name, type }: { name: string; type: string }, packet: Packet): Partial<Packet> | undefined {
  const [first = ""] = name.split(".");
  if (first === "silent") return undefined;
  if (first === "none") return { flags: 3 };
  if (first === "big")
    return {
      answers: Array.from({ length: 40 }, (_, i) => ({
        type: "TXT",
        name,
        ttl: 9,
        data: `${"x".repeat(200)}${i}`,
      })),
    };
  if (first === "cut") return { flags: 0x200 };
  if (first === "alias") {
    return {
      answers: [
        { type: "CNAME", name, ttl: 9, data: "real.elsewhere.test" },
        ...addresses("real.elsewhere.test", ["192.0.2.9"]),
      ],
    };
  }
  if (first === "edns")
    return { answers: addresses(name, ["192.0.2.1"]), additionals: packet.additionals ?? [] };
  return { answers: addresses(name, type === "AAAA" ? ["2001:db8::7"] : ["192.0.2.7"]) };
}

function redirect(rules: number): void {
  node.dp.policyHead(1, "egress", 99);
  node.dp.policyHead(1, "ingress", 0, PolicyVerdict.ALLOW);
  for (const proto of [Proto.UDP, Proto.TCP])
    node.dp.policyRow({ policy: 1, dir: "egress", proto, port: 53, rule: 5, proxyPort: rules });
  asker.publish(1);
}

beforeAll(async () => {
  cluster = await LiveCluster.create(false);
  [node] = cluster.nodes as [Node, Node];
  asker = await cluster.pod("a", node, 11, 301);
  near = await cluster.pod("b", node, 12, 302);
  far = await cluster.pod("c", cluster.nodes[1] as Node, 13, 303);
  const netlink = Netlink.open({ netnsPath: node.netns });
  const { index } = await netlink.linkGet("lo");
  for (const ip of Object.values(PROXY)) {
    const length = 128;
    await netlink.addrAdd({ index, prefix: { ip: parseIp(ip), length }, noDad: true });
  }
  netlink.close();
  node.dp.configure({
    proxyPort: 10_053,
    proxyIp4: Uint8Array.from(parseIp(PROXY.v4)),
    proxyIp6: Uint8Array.from(parseIp(PROXY.v6)),
  });
  redirect(RULES);
  servers = await Promise.all(
    [near, far].flatMap((pod) =>
      families.map((family) => NameServer.start(pod.netns, pod.addresses[family], say)),
    ),
  );
  resolvers = { v4: await Resolver.open(asker.netns, "v4"), v6: await Resolver.open(asker.netns, "v6") };
});
afterAll(async () => {
  resolvers.v4.close();
  resolvers.v6.close();
  for (const server of servers) server.stop();
  await cluster.close();
});
beforeEach(async () => {
  runs++;
  node.dp.map("ax_ct").clear();
  proxy = await ProxyProcess.start(node.netns, runDir(), bpffs());
  agent = await AgentStandIn.connect(runDir(), SETS);
});
afterEach(async () => {
  agent?.close();
  await proxy.stop();
});

const asked = () => servers.flatMap((server) => server.asked);

describe.each(families)("a pod asks, %s", (family) => {
  const ask = (name: string, type = "A", to: Pod = near) =>
    resolvers[family].ask(to.addresses[family], name, type);

  test("a name it may: the answer is its server's, and the agent has heard of it before", async () => {
    const answer = await ask("www.good.test", "AAAA");
    expect(answer).toMatchObject({ from: near.addresses[family], rcode: "NOERROR" });
    expect(answer.answers).toMatchObject([{ type: "AAAA", data: "2001:db8::7" }]);
    expect(agent?.answers).toMatchObject([
      {
        client: asker.addresses[family],
        server: near.addresses[family],
        serverPort: 53,
        proto: "udp",
        name: "www.good.test.",
        type: "AAAA",
        rcode: 0,
        cnames: [],
        addresses: [{ ip: "2001:db8:0:0:0:0:0:7", ttl: 60 }],
      },
    ]);
    expect(agent?.queries).toMatchObject([{ name: "www.good.test.", verdict: "forwarded", rules: RULES }]);
  });

  test("a server on another node, and one outside of the rules' first label", async () => {
    expect(await ask("a.b.deep.test", "A", far)).toMatchObject({
      from: far.addresses[family],
      rcode: "NOERROR",
    });
    expect(await ask("OTHER.test", "A", far)).toMatchObject({ rcode: "NOERROR" });
  });

  test("a name it may not: REFUSED, and the server hears nothing", async () => {
    const before = asked().length;
    expect(await ask("evil.test")).toMatchObject({ rcode: "REFUSED", questions: [{ name: "evil.test" }] });
    expect(await ask("a.b.good.test")).toMatchObject({ rcode: "REFUSED" });
    expect(asked()).toHaveLength(before);
    await waitFor(() => agent?.queries.length === 2);
    expect(agent?.queries.map((q) => q.verdict)).toEqual(["refused", "refused"]);
  });

  test("NXDOMAIN, where that is what a refusal is to be", async () => {
    agent?.say({ t: "config", rejectCode: "nameError", budgetMs: 100 });
    await waitFor(async () => (await ask("evil.test")).rcode === "NXDOMAIN");
  });

  test("over TCP: several queries of a connection, one of them refused", async () => {
    const names = ["x.good.test", "evil.test", "y.good.test", "none.good.test", "big.good.test"];
    const answers = await askOverTcp(asker.netns, near.addresses[family], names, "A");
    expect(names.map((name) => answers.get(name)?.rcode)).toEqual([
      "NOERROR",
      "REFUSED",
      "NOERROR",
      "NXDOMAIN",
      "NOERROR",
    ]);
    expect(answers.get("big.good.test")?.answers).toHaveLength(40);
    expect(agent?.answers.find((a) => a.name === "x.good.test.")).toMatchObject({ proto: "tcp" });
  });

  test("what is large, cut, an alias, or does not exist comes as the server said it", async () => {
    expect((await ask("big.good.test", "TXT")).answers).toHaveLength(40);
    expect(await ask("cut.good.test")).toMatchObject({ flag_tc: true });
    expect(await ask("none.good.test")).toMatchObject({ rcode: "NXDOMAIN" });
    expect((await ask("alias.good.test")).answers).toHaveLength(2);
    expect(agent?.answers.find(({ name }) => name === "alias.good.test.")).toMatchObject({
      cnames: ["real.elsewhere.test."],
      addresses: [{ ip: "192.0.2.9", ttl: 9 }],
    });
  });

  test("EDNS goes through, both ways", async () => {
    const opt = {
      type: "OPT",
      name: ".",
      udpPayloadSize: 1232,
      flags: 0x8000,
      options: [{ code: 10, data: Buffer.from("12345678") }],
    };
    const answer = await resolvers[family].ask(near.addresses[family], "edns.good.test", "A", {
      additionals: [opt],
    } as unknown as Partial<Packet>);
    expect(answer.additionals).toMatchObject([{ type: "OPT", udpPayloadSize: 1232 }]);
  });

  test("two servers from one port at the same time: each answers for itself", async () => {
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, i) => ask(`n${i}.good.test`, "A", i % 2 === 0 ? near : far)),
    );
    expect(answers.map(({ from }) => from)).toEqual(
      answers.map((_, i) => (i % 2 === 0 ? near : far).addresses[family]),
    );
  });
});

describe("what pods and servers must not", () => {
  const { v4 } = { v4: () => near.addresses.v4 };

  test("ids and ports towards the server are none that the pod chose, and differ", async () => {
    const before = asked().length;
    for (let i = 0; i < 64; i++)
      await resolvers.v4.send(
        v4(),
        encode({ type: "query", id: 77, questions: [{ type: "A", name: `i${i}.good.test` }] }),
        77,
      );
    const seen = asked().slice(before);
    expect(new Set(seen.map(({ id }) => id)).size).toBeGreaterThan(60);
    expect(new Set(seen.map(({ port }) => port)).size).toBeGreaterThan(20);
  });

  test("ask with unreadable messages, or for whole zones", async () => {
    const cut = encode({ type: "query", id: 3, questions: [{ type: "A", name: "a.good.test" }] }).subarray(
      0,
      20,
    );
    expect(await resolvers.v4.send(v4(), cut, 3)).toMatchObject({ rcode: "FORMERR" });
    expect(await resolvers.v4.ask(v4(), "a.good.test", "AXFR")).toMatchObject({ rcode: "REFUSED" });
  });

  test("speak to the proxy itself", async () => {
    node.dp.policyRow({ policy: 1, dir: "egress", proto: Proto.UDP, rule: 6 });
    const direct = encode({ type: "query", id: 5, questions: [{ type: "A", name: "a.good.test" }] });
    const socket = await Resolver.open(asker.netns, "v4");
    await expect(socket.send(PROXY.v4, direct, 5, 300)).rejects.toThrow(/no answer/);
    socket.close();
  });

  test("get anything under a set of rules that nobody has told", async () => {
    redirect(8);
    expect(await resolvers.v4.ask(v4(), "www.good.test")).toMatchObject({ rcode: "REFUSED" });
    agent?.say({ t: "rules", id: 8, names: ["www.good.test."], patterns: [] });
    await waitFor(async () => (await resolvers.v4.ask(v4(), "www.good.test")).rcode === "NOERROR");
    redirect(RULES);
  });

  test("open its socket, or those beside it", () => {
    for (const file of ["dns.sock", "dns-handover.sock", "dns-metrics.sock", "dnsproxy.json"])
      expect(statSync(join(runDir(), file)).mode & 0o777).toBe(0o600);
  });
});

describe("agents that come, hang and go", () => {
  const ask = (name: string, timeoutMs = 3000) =>
    resolvers.v4.ask(near.addresses.v4, name, "A", {}, timeoutMs);

  test("an answer waits for its ack, and no longer than the budget", async () => {
    if (agent) agent.acks = false;
    const started = performance.now();
    expect(await ask("slow.good.test")).toMatchObject({ rcode: "NOERROR" });
    expect(performance.now() - started).toBeGreaterThan(95);
    expect(performance.now() - started).toBeLessThan(1000);
    expect(await metric("cilium_proxy_datapath_update_timeout_total")).toBe(1);
  });

  test("without an agent answers pass at once; the next agent hears of them", async () => {
    agent?.close();
    await waitFor(async () => (await metric("axoneme_dnsproxy_agent_connected")) === 0);
    const started = performance.now();
    for (let i = 0; i < 10; i++) expect(await ask(`alone${i}.good.test`)).toMatchObject({ rcode: "NOERROR" });
    expect(performance.now() - started).toBeLessThan(900);
    agent = await AgentStandIn.connect(runDir(), SETS);
    await waitFor(() => agent?.answers.length === 10);
    expect(agent.answers[0]).toMatchObject({ name: "alone0.good.test.", replayed: true });
  });

  test("an agent that hangs costs the budget for a second, then nothing", async () => {
    if (agent) agent.acks = false;
    await ask("first.good.test");
    await waitFor(
      async () => {
        const started = performance.now();
        await ask(`hang${Math.random()}.good.test`.replace(".", "-"));
        return performance.now() - started < 50;
      },
      { timeoutMs: 5000 },
    );
  });

  test("a proxy that starts again knows its rules without an agent; addresses once acked need no second ack", async () => {
    await ask("www.good.test");
    const heard = agent?.answers.length;
    await ask("www.good.test");
    expect(agent?.answers.length).toBe(heard);
    agent?.close();
    const rules = join(runDir(), "dns-rules.json");
    await waitFor(() => statSync(rules, { throwIfNoEntry: false }));
    proxy.child.kill("SIGKILL");
    await new Promise((resolve) => proxy.child.once("exit", resolve));
    proxy = await ProxyProcess.start(node.netns, runDir(), bpffs());
    expect(await ask("www.good.test")).toMatchObject({ rcode: "NOERROR" });
    expect(await ask("evil.test")).toMatchObject({ rcode: "REFUSED" });
  });
});

/** A query each millisecond while something happens: none may fail. */
async function querying(while_: () => Promise<void>): Promise<{ asked: number; slowest: number }> {
  const open: Promise<unknown>[] = [];
  const failures: unknown[] = [];
  let slowest = 0;
  const timer = setInterval(() => {
    const i = open.length;
    const started = performance.now();
    const family = i % 2 === 0 ? "v4" : "v6";
    const to = i % 4 < 2 ? near : far;
    const answer = resolvers[family].ask(to.addresses[family], `q${i}.good.test`, "A").then(
      ({ rcode }) => {
        slowest = Math.max(slowest, performance.now() - started);
        if (rcode !== "NOERROR") failures.push(rcode);
      },
      (error: unknown) => failures.push(error),
    );
    open.push(answer);
  }, 1);
  await while_();
  clearInterval(timer);
  await Promise.all(open);
  expect(failures).toEqual([]);
  return { asked: open.length, slowest };
}

describe("a query each millisecond", () => {
  test("does not notice agents that are killed and come back", async () => {
    const { asked: queries } = await querying(async () => {
      for (let i = 0; i < 5; i++) {
        agent?.close();
        await waitFor(async () => (await metric("axoneme_dnsproxy_agent_connected")) === 0);
        agent = await AgentStandIn.connect(runDir(), SETS);
        const heard = agent.answers.length;
        await waitFor(() => (agent?.answers.length ?? 0) > heard + 20);
      }
    });
    expect(queries).toBeGreaterThan(100);
  });

  test("does not notice a new proxy that takes the old one's place", async () => {
    const old = proxy;
    await querying(async () => {
      for (let i = 0; i < 3; i++) {
        const before = proxy;
        proxy = await ProxyProcess.start(node.netns, runDir(), bpffs());
        agent?.close();
        agent = await AgentStandIn.connect(runDir(), SETS);
        await waitFor(() => before.child.exitCode === 0, { timeoutMs: 10_000, what: "the old proxy to end" });
        expect(proxy.record?.pid).toBe(proxy.pid);
      }
    });
    expect(old.pid).not.toBe(proxy.pid);
    expect(agent?.welcome?.pid).toBe(proxy.pid);
  });
});

async function metric(name: string): Promise<number> {
  const text = await new Promise<string>((resolve, reject) => {
    request({ socketPath: join(runDir(), "dns-metrics.sock"), path: "/metrics" }, (response) => {
      let body = "";
      response.setEncoding("utf8");
      response.on("data", (chunk: string) => {
        body += chunk;
      });
      response.on("end", () => resolve(body));
    })
      .on("error", reject)
      .end();
  });
  const line = text.split("\n").find((l) => l.startsWith(`${name} `));
  return Number(line?.split(" ")[1]);
}
