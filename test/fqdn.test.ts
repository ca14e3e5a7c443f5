/** Names in policies, with real pods, a real name server and the DNS proxy. */
import { waitFor } from "@axoneme/base";
import { type KubeObject, tierPolicyResources } from "@axoneme/kube";
import type { FqdnCacheView, FqdnSelectorView, IdentityView } from "@axoneme/observe";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import type { Running } from "./support/command.ts";
import { answerAnywhere, askOverTcp, NameClient, Zone } from "./support/dns.ts";
import { labName, port, TestLab, type TestPod } from "./support/lab.ts";

const name = labName("it-fqdn");
const [clusterPolicies] = tierPolicyResources;

/** Somebody installs the API of ClusterNetworkPolicy; agents look for it every half minute. */
const clusterPolicyDefinition = {
  apiVersion: "apiextensions.k8s.io/v1",
  kind: "CustomResourceDefinition",
  metadata: { name: `${clusterPolicies.plural}.${clusterPolicies.group}` },
  spec: {
    group: clusterPolicies.group,
    scope: "Cluster",
    names: { kind: clusterPolicies.kind, plural: clusterPolicies.plural },
    versions: [
      {
        name: clusterPolicies.version,
        served: true,
        storage: true,
        schema: {
          openAPIV3Schema: {
            type: "object",
            properties: { spec: { type: "object", "x-kubernetes-preserve-unknown-fields": true } },
          },
        },
      },
    ],
  },
} as KubeObject;

const dnsServer = {
  toEndpoints: [
    { matchLabels: { "k8s:io.kubernetes.pod.namespace": "kube-system", "k8s:k8s-app": "kube-dns" } },
  ],
};
const mayAsk = (...dns: object[]) => ({
  ...dnsServer,
  toPorts: [{ ports: [{ port: "53", protocol: "ANY" }], rules: { dns } }],
});
const onPort = { toPorts: [{ ports: [{ port, protocol: "TCP" }] }] };
const toNames = (...toFQDNs: object[]) => ({ toFQDNs, ...onPort });

function policy(of: string, ...egress: object[]): KubeObject {
  return {
    apiVersion: "cilium.io/v2",
    kind: "CiliumNetworkPolicy",
    metadata: { name: of, namespace: "default" },
    spec: { endpointSelector: { matchLabels: { app: "client" } }, egress },
  } as KubeObject;
}

describe("DNS names in policies", () => {
  let lab: TestLab | undefined;
  let zone: Zone;
  let server: TestPod;
  let pod: TestPod;
  let client: NameClient;
  let free: NameClient;
  const applied: KubeObject[] = [];
  const held: Running[] = [];

  const the = (): TestLab => {
    if (lab === undefined) throw new Error("the lab is not up");
    return lab;
  };

  beforeAll(async () => {
    lab = await TestLab.up(name, {
      routingMode: "native",
      agentConfig: { conntrackGCInterval: 1, tofqdnsIdleConnectionGracePeriod: 0 },
    });
    await lab.apply(clusterPolicyDefinition);
    await lab.namespace("kube-system");
    const [serverPod, clientPod, freePod] = (await lab.pods(
      {
        name: "dns",
        namespace: "kube-system",
        node: "node2",
        labels: { "k8s-app": "kube-dns" },
        ports: [
          { name: "dns", containerPort: 53, protocol: "UDP" },
          { name: "dns-tcp", containerPort: 53 },
        ],
      },
      { name: "client", node: "node1" },
      { name: "free", node: "node1" },
    )) as [TestPod, TestPod, TestPod];
    server = serverPod;
    pod = clientPod;
    zone = await Zone.serve(server);
    client = await NameClient.open(pod, server);
    free = await NameClient.open(freePod, server);
    await answerAnywhere(lab);
    await lab.serve(lab.world);
    zone.set("api.example.com", "198.18.0.1", "2001:db8:f::1");
    zone.set("www.example.com", "198.18.0.2", "2001:db8:f::2");
    zone.set("secret.example.net", "198.18.0.3");
    await waitFor(() => free.reachesName("www.example.com"), {
      timeoutMs: 15_000,
      what: "the way to the world",
    });
  });

  afterEach(async () => {
    for (const running of held.splice(0)) running.kill();
    await the().remove(...applied.splice(0));
    await waitFor(() => client.reaches("198.18.99.99"), { timeoutMs: 15_000, what: "the policies to go" });
  });

  afterAll(async () => {
    client?.close();
    free?.close();
    zone?.stop();
    await TestLab.down(lab, name);
  });

  /** Applies policies and waits until the pod feels them, and until a proxy is there: the first starts one. */
  async function enforce(...policies: KubeObject[]): Promise<void> {
    applied.push(...policies);
    await the().apply(...policies);
    const isServed = () => client.ask("nobody.example.org").then(Boolean, () => false);
    await waitFor(isServed, { timeoutMs: 20_000, what: "an answer, whatever it is" });
    await waitFor(async () => !(await client.reaches("198.18.99.99")), {
      timeoutMs: 15_000,
      what: "the policies",
    });
  }

  const agent = () => the().agent("node1");
  const named = () => agent().json<FqdnSelectorView[]>("/v1/fqdn/names");
  const learned = () => agent().json<FqdnCacheView[]>("/v1/fqdn/cache");
  const learnedIdentities = async () =>
    (await agent().json<IdentityView[]>("/v1/identities")).filter(({ labels }) =>
      labels.some((l) => l.startsWith("fqdn:")),
    );

  /** A connection that asks all the time, and ends at the first answer that is missing. */
  async function hold(ip: string): Promise<Running> {
    const args = ["hold", ip, port, "--for", "60000", "--every", "10", "--timeout", "1000"];
    const running = the().start(pod, args, { timeoutMs: 90_000 });
    held.push(running);
    await waitFor(() => running.stdout.includes("connected"), { what: "a held connection" });
    return running;
  }

  it("a name that is allowed is reached by the first connection after the answer, others are not", async () => {
    const all = { matchPattern: "*.example.com" };
    await enforce(policy("to-fqdns", mayAsk(all), toNames({ matchName: "api.example.com" })));
    expect(await client.reachesName("api.example.com")).toBe(true);
    expect(await client.reachesName("api.example.com", "AAAA")).toBe(true);
    expect(await client.reaches("198.18.0.1", 8081)).toBe(false); // another port
    // What counts is the name that was asked for, not where it leads.
    zone.records.set("alias.example.com", { ips: ["198.18.0.7"], cname: "api.example.com" });
    expect(await client.reachesName("alias.example.com")).toBe(false);
    zone.records.set("api.example.com", { ips: ["198.18.0.8"], cname: "edge.example.net" });
    expect(await client.reachesName("api.example.com")).toBe(true);
    zone.set("api.example.com", "198.18.0.1", "2001:db8:f::1");
    expect(await client.reachesName("www.example.com")).toBe(false);
    expect(await client.reachesName("www.example.com", "AAAA")).toBe(false);
    expect(await client.reaches(the().world.v4)).toBe(false);
    // Who is not selected goes where it likes.
    expect(await free.reachesName("www.example.com")).toBe(true);
  });

  it("names that may not be asked for are refused, and never get to the server; also over TCP", async () => {
    await enforce(policy("dns-only", mayAsk({ matchPattern: "*.example.com" })));
    expect(await client.ask("api.example.com")).toMatchObject({ rcode: "NOERROR", from: server.v4 });
    const before = zone.asked.length;
    expect(await client.ask("secret.example.net")).toMatchObject({ rcode: "REFUSED", from: server.v4 });
    const answers = await askOverTcp(pod.netns, server.v4, ["secret.example.net", "api.example.com"]);
    expect([...answers].map(([asked, { rcode }]) => `${asked} ${rcode}`).sort()).toEqual([
      "api.example.com NOERROR",
      "secret.example.net REFUSED",
    ]);
    expect(zone.asked.slice(before)).toEqual(["api.example.com"]);
    expect(await client.reaches("198.18.0.1")).toBe(false);
  });

  it("the server on another node sees the pod that asks, and its policy judges it", async () => {
    const onlyClient = {
      apiVersion: "networking.k8s.io/v1",
      kind: "NetworkPolicy",
      metadata: { name: "server", namespace: "kube-system" },
      spec: {
        podSelector: {},
        ingress: [
          {
            from: [
              {
                namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": "default" } },
                podSelector: { matchLabels: { app: "client" } },
              },
            ],
          },
        ],
        policyTypes: ["Ingress"],
      },
    } as KubeObject;
    applied.push(onlyClient);
    await the().apply(onlyClient);
    const isDeaf = () =>
      free.ask("www.example.com").then(
        () => false,
        () => true,
      );
    await waitFor(isDeaf, { timeoutMs: 15_000, what: "the server's policy" });
    await enforce(policy("asks", mayAsk({ matchPattern: "*.example.com" })));
    expect(await client.ask("seen.example.com")).toMatchObject({ from: server.v4 });
    await askOverTcp(pod.netns, server.v4, ["tcp.example.com"]);
    expect([...zone.askersOf("seen.example.com"), ...zone.askersOf("tcp.example.com")]).toEqual([
      pod.v4,
      pod.v4,
    ]);
  });

  it("questions and answers are flows, and flows of connections name their destination", async () => {
    await enforce(
      policy("flows", mayAsk({ matchPattern: "*.example.com" }), toNames({ matchPattern: "*.example.com" })),
    );
    expect(await client.reachesName("www.example.com")).toBe(true);
    await client.ask("secret.example.net");
    const seen = async (filter: object) => agent().flows([{ source_pod: ["default/client"], ...filter }]);
    const count = (filter: object) => async () => (await seen(filter)).length > 0;
    const what = "flows";
    await waitFor(count({ protocol: ["dns"], dns_query: ["^www[.]example[.]com"] }), { what });
    await waitFor(count({ protocol: ["dns"], verdict: ["DROPPED"], dns_query: ["^secret"] }), { what });
    await waitFor(count({ destination_fqdn: ["www.example.com"], protocol: ["tcp"] }), { what });
    const answers = await agent().flows([{ destination_pod: ["default/client"], protocol: ["dns"] }]);
    expect(answers.length).toBeGreaterThan(0);
    const line = await the().axonRun([
      "hubble",
      "observe",
      "--fqdn",
      "www.example.com",
      "--node",
      "node1",
      "--last",
      "20",
    ]);
    expect(line.stdout).toContain("default/client");
  });

  it("axon policy suggest lets a pod ask for what it asked for, and no more", async () => {
    await enforce(
      policy("suggested", mayAsk({ matchPattern: "*" }), toNames({ matchName: "api.example.com" })),
    );
    await client.ask("only-asked.example.net");
    await client.reachesName("api.example.com");
    await waitFor(
      async () => {
        const { stdout } = await the().axonRun(["policy", "suggest", "default/client", "--since", "2m"]);
        return (
          stdout.includes("- matchName: only-asked.example.net") &&
          stdout.includes("toFQDNs:\n        - matchName: api.example.com") &&
          !stdout.includes("matchPattern")
        );
      },
      { timeoutMs: 10_000, everyMs: 200, what: "the suggestion to name what was asked for" },
    );
  });

  it("a thousand answers with other addresses each mint no identity each", async () => {
    await enforce(
      policy("rotating", mayAsk({ matchPattern: "*" }), toNames({ matchPattern: "*.cdn.example" })),
    );
    const rotated = Array.from({ length: 1000 }, (_, i) => `198.18.${10 + (i >> 8)}.${i & 255}`);
    for (const [i, ip] of rotated.entries()) {
      zone.records.set("e.cdn.example", { ips: [ip], ttl: 300 });
      const [told] = await client.resolve("e.cdn.example");
      expect(told).toBe(ip);
      if (i % 50 === 0) expect(await client.reaches(ip)).toBe(true);
    }
    expect(await learnedIdentities()).toHaveLength(1);
    const [selector] = (await named()).filter(({ selector: text }) => text === "*.cdn.example");
    expect(selector?.addresses).toHaveLength(1000);
    expect(await client.reaches(rotated[0] ?? "")).toBe(true);
    const { ipcache } = { ipcache: await agent().json<{ prefix: string; source: string }[]>("/v1/ipcache") };
    expect(ipcache.filter(({ source }) => source === "dns")).toHaveLength(1000);
  });

  it("an address stays as long as a connection uses it, and goes after its TTL without one", async () => {
    await enforce(policy("ttl", mayAsk({ matchPattern: "*" }), toNames({ matchName: "short.example.com" })));
    zone.records.set("short.example.com", { ips: ["198.18.1.1"], ttl: 1 });
    expect(await client.reachesName("short.example.com")).toBe(true);
    const connection = await hold("198.18.1.1");
    zone.records.set("short.example.com", { ips: ["198.18.1.2"], ttl: 1 });
    expect(await client.reachesName("short.example.com")).toBe(true);
    // The name has moved on: the second address goes, the first one's connection keeps it.
    await waitFor(async () => !(await client.reaches("198.18.1.2")), {
      timeoutMs: 20_000,
      what: "the unused address to go",
    });
    expect(connection.process.exitCode, connection.stderr).toBeNull();
    expect(await client.reaches("198.18.1.1")).toBe(true);
    const kept = (await learned()).filter(({ name: of }) => of === "short.example.com");
    expect(kept.map(({ ip, state }) => [ip, state])).toEqual([["198.18.1.1", "kept"]]);
    connection.process.kill("SIGTERM");
    expect((await connection.ended).code).toBe(0);
    await waitFor(async () => (await learned()).every(({ ip }) => ip !== "198.18.1.1"), {
      timeoutMs: 30_000,
      what: "the address to go",
    });
    expect(await client.reaches("198.18.1.1")).toBe(false);
  });

  it("rules on prefixes go on matching addresses that have names, and the other way round", async () => {
    zone.set("in.example.com", "198.18.5.1");
    zone.set("out.example.com", "198.18.6.1");
    const cidr = policy("cidr", { toCIDR: ["198.18.5.0/24"], ...onPort });
    const names = policy("names", mayAsk({ matchPattern: "*" }), toNames({ matchPattern: "*.example.com" }));
    await enforce(names);
    expect([await client.reachesName("in.example.com"), await client.reachesName("out.example.com")]).toEqual(
      [true, true],
    );
    await the().apply(cidr);
    applied.push(cidr);
    await waitFor(() => client.reaches("198.18.5.77"), { timeoutMs: 15_000, what: "the prefix" });
    expect([await client.reaches("198.18.5.1"), await client.reaches("198.18.6.1")]).toEqual([true, true]);
    await the().remove(names);
    await waitFor(async () => !(await client.reaches("198.18.6.1")), {
      timeoutMs: 15_000,
      what: "the names to go",
    });
    expect([await client.reaches("198.18.5.1"), await client.reaches("198.18.5.77")]).toEqual([true, true]);
    await the().apply(names);
    await waitFor(() => client.reaches("198.18.6.1"), { timeoutMs: 15_000, what: "the names to come back" });
    await the().remove(cidr);
    await waitFor(async () => !(await client.reaches("198.18.5.77")), {
      timeoutMs: 15_000,
      what: "the prefix to go",
    });
    expect([await client.reaches("198.18.5.1"), await client.reaches("198.18.6.1")]).toEqual([true, true]);
  });

  it("an agent that is killed loses no name, no connection and no question", async () => {
    await enforce(
      policy(
        "restart",
        mayAsk({ matchPattern: "*.example.com" }),
        toNames({ matchPattern: "*.example.com" }),
      ),
    );
    expect(await client.reachesName("api.example.com")).toBe(true);
    const connection = await hold("198.18.0.1");
    const before = (await learnedIdentities()).map(({ id }) => id);
    const former = the().agentPid("node1");
    if (former === undefined) throw new Error("no agent");
    process.kill(former, "SIGKILL");
    let asked = 0;
    let reached = 0;
    const isBack = async () => (the().agentPid("node1") ?? former) !== former && (await agent().isReady());
    const until = performance.now() + 40_000;
    for (let back = false; !back && performance.now() < until; asked++) {
      expect((await client.ask("api.example.com")).rcode).toBe("NOERROR");
      if (await client.reaches("198.18.0.1")) reached++;
      back = await isBack();
    }
    expect([await isBack(), reached]).toEqual([true, asked]);
    await waitFor(async () => (await learned()).length > 0, {
      timeoutMs: 15_000,
      what: "the names of the agent before",
    });
    expect(connection.process.exitCode, connection.stderr).toBeNull();
    await waitFor(async () => (await learnedIdentities()).length <= before.length, {
      timeoutMs: 15_000,
      what: "unused identities to go",
    });
    expect((await learnedIdentities()).map(({ id }) => id)).toEqual(before);
    // And it learns again.
    zone.set("new.example.com", "198.18.0.44");
    await waitFor(() => client.reachesName("new.example.com"), { timeoutMs: 15_000, what: "a new name" });
  });

  it("what two policies in turn allow is never refused while they change", async () => {
    const own = { matchName: "api.example.com" };
    await enforce(policy("stays", mayAsk(own), toNames(own)));
    let stop = false;
    const asking = (async () => {
      let answers = 0;
      for (; !stop; answers++) expect((await client.ask("api.example.com")).rcode).toBe("NOERROR");
      return answers;
    })();
    asking.catch(() => undefined);
    const other = { matchPattern: "*.example.net" };
    for (let i = 0; i < 10; i++) {
      await the().apply(policy("turns", mayAsk(other)));
      await waitFor(async () => (await client.ask("secret.example.net")).rcode === "NOERROR", {
        timeoutMs: 10_000,
        what: "the other policy",
      });
      await the().remove(policy("turns"));
      await waitFor(async () => (await client.ask("secret.example.net")).rcode === "REFUSED", {
        timeoutMs: 10_000,
        what: "its end",
      });
    }
    stop = true;
    expect(await asking).toBeGreaterThan(10);
  });

  it("a ClusterNetworkPolicy's domain names may be asked for and reached, others as the rest says", async () => {
    const { group, version, kind } = clusterPolicies;
    const spec = {
      tier: "Admin",
      priority: 1,
      subject: { namespaces: { matchLabels: { "kubernetes.io/metadata.name": "default" } } },
      egress: [{ action: "Accept", to: [{ domainNames: ["*.example.com"] }] }],
    };
    const object = { apiVersion: `${group}/${version}`, kind, metadata: { name: "domains" }, spec };
    await enforce(policy("isolated", mayAsk({ matchName: "api.example.net" })));
    expect((await client.ask("api.example.com")).rcode).toBe("REFUSED");
    const policies = the().client.resource(clusterPolicies);
    await policies.apply(object as KubeObject, { fieldManager: "test", force: true });
    await waitFor(async () => (await client.ask("api.example.com")).rcode === "NOERROR", {
      timeoutMs: 45_000,
      what: "the cluster's policy",
    });
    expect(await client.reachesName("api.example.com")).toBe(true);
    expect((await client.ask("secret.example.net")).rcode).toBe("REFUSED");
    expect((await client.ask("api.example.net")).rcode).toBe("NXDOMAIN"); // allowed by the other policy
    await policies.delete("domains");
    await waitFor(async () => !(await client.reaches("198.18.0.1")), { timeoutMs: 15_000, what: "its end" });
  });

  it("axon fqdn shows and cleans what was learned", async () => {
    const own = { matchName: "api.example.com" };
    await enforce(policy("cli", mayAsk({ matchPattern: "*" }), toNames(own)));
    expect(await client.reachesName("api.example.com")).toBe(true);
    const list = async (...args: string[]) =>
      (await the().axon(["fqdn", ...args, "-o", "json", "--node", "node1"])) as FqdnCacheView[];
    const entries = await list("cache", "list", "-m", "api.*.com", "-e", "default/client");
    const mine = { name: "api.example.com", state: "alive", pod: "default/client" };
    expect(entries.filter(({ ip }) => ip === "198.18.0.1")).toMatchObject([mine]);
    expect(entries.every(({ name: of }) => of === "api.example.com")).toBe(true);
    const selectors = (await list("names")) as unknown as FqdnSelectorView[];
    expect(selectors).toMatchObject([
      {
        selector: "api.example.com",
        policies: ["CiliumNetworkPolicy/default/cli"],
        names: ["api.example.com"],
      },
    ]);
    const cleaned = await the().axonRun([
      "fqdn",
      "cache",
      "clean",
      "-m",
      "api.example.com",
      "--yes",
      "--node",
      "node1",
    ]);
    expect(cleaned.code, cleaned.stderr).toBe(0);
    await waitFor(async () => !(await client.reaches("198.18.0.1")), {
      timeoutMs: 10_000,
      what: "the address to be forgotten",
    });
    expect(await list("cache", "list", "-m", "api.example.com")).toEqual([]);
    // Who asks again may connect again, at once.
    expect(await client.reachesName("api.example.com")).toBe(true);
  });
});
