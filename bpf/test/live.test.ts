import { DropReason, EventType, IpcacheFlags, PolicyVerdict } from "@axoneme/abi";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { LiveCluster, type Node, netOf, type Pod, probe, serve, world } from "./live.ts";
import { Proto } from "./packet.ts";

/** Real packets through real devices: what a test run cannot show (redirects, tunnels, neighbours, sockets). */
const PORT = 8080;
const families = ["v4", "v6"] as const;
type FamilyName = (typeof families)[number];

describe.each([
  ["native routing", false],
  ["VXLAN", true],
])("live, %s", (_, tunnel) => {
  let cluster: LiveCluster;
  let node1: Node;
  let node2: Node;
  let a: Pod;
  let b: Pod;
  let c: Pod;
  const stops: (() => void)[] = [];

  beforeAll(async () => {
    cluster = await LiveCluster.create(tunnel);
    [node1, node2] = cluster.nodes as [Node, Node];
    a = await cluster.pod("a", node1, 11, 301);
    b = await cluster.pod("b", node1, 12, 302);
    c = await cluster.pod("c", node2, 13, 303);
    for (const pod of [a, b, c]) stops.push(await serve(pod.netns, PORT, pod.name));
    for (const name of ["node1", "node2", "net"]) stops.push(await serve(netOf(name), PORT, name));
  });
  afterAll(async () => {
    for (const stop of stops) stop();
    await cluster.close();
  });
  beforeEach(() => {
    for (const node of [node1, node2]) {
      node.dp.map("ax_ct").clear();
      node.dp.events();
    }
  });

  const ask = (from: string, kind: "tcp" | "udp" | "ping", to: string) =>
    probe(from, kind, to, ...(kind === "ping" ? [] : [String(PORT)]), "--timeout", "1000");

  const ways: [string, () => [from: string, to: { v4: string; v6: string }, name: string]][] = [
    ["pod to pod of the same node", () => [a.netns, b.addresses, "b"]],
    ["pod to pod of another node", () => [a.netns, c.addresses, "c"]],
    ["and back", () => [c.netns, a.addresses, "a"]],
    ["pod to its node", () => [a.netns, node1.addresses, "node1"]],
    ["pod to another node", () => [a.netns, node2.addresses, "node2"]],
    ["node to its pod", () => [node1.netns, a.addresses, "a"]],
    ["node to the pod of another", () => [node1.netns, c.addresses, "c"]],
    ["pod to the world", () => [a.netns, world, "net"]],
  ];
  for (const [sentence, way] of ways) {
    for (const family of families) {
      test.each(["tcp", "udp", "ping"] as const)(`${sentence}, ${family} %s`, async (kind) => {
        const [from, to, name] = way();
        const { code, output } = await ask(from, kind, to[family]);
        expect(code, output).toBe(0);
        if (kind !== "ping") expect(output).toContain(name);
      });
    }
  }

  test.each(families)("the world sees the node's address, %s", async (family: FamilyName) => {
    const { output } = await ask(a.netns, "tcp", world[family]);
    expect(output).toContain(node1.addresses[family]);
  });

  test.each(families)("who speaks to another pod is seen as itself, %s", async (family) => {
    expect((await ask(a.netns, "tcp", c.addresses[family])).output).toContain(a.addresses[family]);
    expect((await ask(a.netns, "tcp", b.addresses[family])).output).toContain(a.addresses[family]);
  });

  test.each(families)(
    "a closed UDP port is told by ICMP: same node, other node, world, %s",
    async (family) => {
      for (const to of [b.addresses, c.addresses, world]) {
        const { code, output } = await probe(a.netns, "udp", to[family], "9", "--timeout", "1000");
        expect([to[family], code], output).toEqual([to[family], 2]);
      }
    },
  );

  test.each(families)("policy of the receiver, same node and other node, %s", async (family) => {
    for (const [pod, from] of [
      [b, a],
      [c, a],
    ] as const) {
      const { dp } = pod.node;
      dp.policyHead(7, "ingress", 70);
      dp.policyHead(7, "egress", 0, PolicyVerdict.ALLOW);
      dp.policyRow({ policy: 7, dir: "ingress", peer: a.identity, proto: Proto.UDP, port: PORT, rule: 71 });
      pod.publish(7);
      try {
        const codes = [];
        for (const kind of ["tcp", "udp", "ping"] as const)
          codes.push(
            (
              await probe(
                from.netns,
                kind,
                pod.addresses[family],
                ...(kind === "ping" ? [] : [String(PORT)]),
                "--timeout",
                "200",
              )
            ).code,
          );
        expect(codes).toEqual([1, 0, 1]);
        const drops = dp.events().filter((e) => e.type === EventType.DROP);
        expect(drops.length).toBeGreaterThan(0);
        for (const drop of drops)
          expect(drop).toMatchObject({
            subtype: DropReason.POLICY,
            ruleIngress: 70,
            srcIdentity: a.identity,
            dstEp: pod.id,
          });
      } finally {
        pod.publish(0);
      }
    }
  });

  /** What c's ingress policy says to a when it allows one number only. */
  const answerWhenAllowed = async (identity: number, family: FamilyName): Promise<number> => {
    const { dp } = c.node;
    dp.policyHead(8, "ingress", 80);
    dp.policyHead(8, "egress", 0, PolicyVerdict.ALLOW);
    dp.policyRow({ policy: 8, dir: "ingress", peer: identity, proto: Proto.UDP, port: PORT, rule: 81 });
    c.publish(8);
    try {
      const { code } = await probe(a.netns, "udp", c.addresses[family], String(PORT), "--timeout", "200");
      return code;
    } finally {
      dp.map("ax_policy").clear();
      c.publish(0);
    }
  };
  const knownAs = (identity: number, family: FamilyName) =>
    node2.dp.ipcache(
      `${a.addresses[family]}/${family === "v4" ? 32 : 128}`,
      identity,
      node1.addresses[family],
      IpcacheFlags.DIRECT,
    );

  test.each(families)("of a pod it knows the receiver's own number counts, %s", async (family) => {
    const own = 0x0300_0007;
    knownAs(own, family);
    try {
      expect(await answerWhenAllowed(own, family)).toBe(0);
      expect(await answerWhenAllowed(a.identity, family)).toBe(1);
    } finally {
      knownAs(a.identity, family);
    }
  });

  test.each(families)("a number that only the sender knows is not sent, %s", async (family) => {
    const unmanaged = 3;
    const { identity } = a;
    knownAs(unmanaged, family);
    try {
      a.identity = 0x0300_0001;
      a.publish(0);
      expect(await answerWhenAllowed(6, family)).toBe(1);
      expect(await answerWhenAllowed(unmanaged, family)).toBe(0);
    } finally {
      a.identity = identity;
      a.publish(0);
      knownAs(identity, family);
    }
  });

  test("a busy connection over the node border loses nothing, and is told of a few times only", async () => {
    const { code, output } = await probe(
      a.netns,
      "hold",
      c.addresses.v4,
      String(PORT),
      "--for",
      "1000",
      "--every",
      "2",
    );
    expect(code, output).toBe(0);
    const [told, exchanged] = [node1.dp.events().length, node1.dp.counted(0, 1)];
    expect(exchanged).toBeGreaterThan(200n);
    expect(told).toBeLessThan(10);
  });
});
