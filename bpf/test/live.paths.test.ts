import { spawn } from "node:child_process";
import { EventType } from "@axoneme/abi";
import { launch, Netlink } from "@axoneme/netlink";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { text } from "./datapath.ts";
import { LiveCluster, type Node, netOf, type Pod, probe, serve, world } from "./live.ts";
import { Proto } from "./packet.ts";

/** The longer ways of packets, live: fragments, hop limits, path MTU, services without the socket programs. */
const PORT = 8080;
const families = ["v4", "v6"] as const;
const service = { v4: "10.96.0.10", v6: "fd96::10" } as const;

function run(netns: string, command: string[]): Promise<string> {
  const { file, args } = launch({ netns, parentDeathSignal: "KILL" }, command);
  const child = spawn(file, args, { stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk: Buffer) => (output += chunk));
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", () => resolve(output.trim()));
  });
}

/** Echoes datagrams of any size, from the very address they came to, until killed; resolves once it is bound. */
function udpEcho(netns: string, address: string, port: number): Promise<() => void> {
  const type = address.includes(":") ? "udp6" : "udp4";
  const code =
    `const s=require("dgram").createSocket("${type}");` +
    `s.on("message",(m,f)=>s.send(m,f.port,f.address));s.bind(${port},"${address}",()=>console.log("up"))`;
  const { file, args } = launch({ netns, parentDeathSignal: "KILL" }, [process.execPath, "-e", code]);
  const child = spawn(file, args, { stdio: ["ignore", "pipe", "inherit"] });
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.stdout.once("data", () => resolve(() => child.kill("SIGKILL")));
  });
}

/** Sends one datagram of `size` bytes and tells the size of the answer. */
function sendLarge(netns: string, to: string, port: number, size: number): Promise<string> {
  const type = to.includes(":") ? "udp6" : "udp4";
  return run(netns, [
    process.execPath,
    "-e",
    `const s=require("dgram").createSocket("${type}");s.on("message",(m)=>{console.log(m.length);s.close()});` +
      `s.send(Buffer.alloc(${size},1),${port},"${to}");setTimeout(()=>process.exit(1),2000).unref()`,
  ]);
}

describe.each([
  ["native routing", false],
  ["VXLAN", true],
])("live paths, %s", (_, tunnel) => {
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
    for (const pod of [b, c]) stops.push(await serve(pod.netns, PORT, pod.name));
    for (const family of families) {
      for (const pod of [b, c]) stops.push(await udpEcho(pod.netns, pod.addresses[family], 7000));
      stops.push(await udpEcho(netOf("net"), world[family], 7000));
    }
  });
  afterAll(async () => {
    for (const stop of stops) stop();
    await cluster.close();
  });
  beforeEach(() => {
    for (const node of [node1, node2]) {
      node.dp.map("ax_ct").clear();
      node.dp.map("ax_nat").clear();
      node.dp.events();
    }
  });

  test.each(families)("a datagram in fragments arrives: same node, other node, world, %s", async (family) => {
    for (const to of [b.addresses, c.addresses, world])
      expect([to[family], await sendLarge(a.netns, to[family], 7000, 4000)]).toEqual([to[family], "4000"]);
  });

  test.each(families)("a hop limit of one is told by the node, %s", async (family) => {
    const output = await run(a.netns, ["ping", "-c1", "-W1", "-t1", world[family]]);
    expect(output).toMatch(/Time to live exceeded|Hop limit/);
    expect(output).toContain(node1.addresses[family]);
  });

  test("a packet larger than the way out is told, and the pod learns", async () => {
    const netlink = Netlink.open({ netnsPath: node1.netns });
    const { mtu } = node1.dp.config;
    try {
      await netlink.linkSet({ index: node1.device, mtu: 1400 });
      node1.dp.configure({ mtu: 1400 });
      const ping = () => run(a.netns, ["ping", "-c1", "-W1", "-M", "do", "-s", "1380", world.v4]);
      expect(await ping()).toMatch(/mtu ?= ?1400/);
      const v6 = await run(a.netns, ["ping", "-c1", "-W1", "-M", "do", "-s", "1380", world.v6]);
      expect(v6).toMatch(/mtu ?= ?1400/);
    } finally {
      await netlink.linkSet({ index: node1.device, mtu: 1500 });
      node1.dp.configure({ mtu });
      netlink.close();
    }
  });

  test.each(families)(
    "a service without socket programs: both nodes' backends, TCP and UDP, %s",
    async (family) => {
      for (const proto of [Proto.TCP, Proto.UDP])
        for (const backend of [b, c]) {
          const to = [{ ip: backend.addresses[family], port: PORT }];
          node1.dp.service(
            backend.id * 2 + (proto === Proto.TCP ? 1 : 0),
            { ip: service[family], port: 80, proto },
            to,
          );
          node1.dp.map("ax_svc_flows").clear();
          const kind = proto === Proto.TCP ? "tcp" : "udp";
          const { code, output } = await probe(a.netns, kind, service[family], "80", "--timeout", "1000");
          expect(code, output).toBe(0);
          expect(output).toContain(backend.name);
          expect(output).toContain(a.addresses[family]);
        }
    },
  );

  test.each(families)(
    "a backend's closed port is told to the client as the service's, %s",
    async (family) => {
      for (const backend of [b, c]) {
        const to = [{ ip: backend.addresses[family], port: 9 }];
        node1.dp.service(900 + backend.id, { ip: service[family], port: 99, proto: Proto.UDP }, to);
        node1.dp.map("ax_svc_flows").clear();
        const { code, output } = await probe(a.netns, "udp", service[family], "99", "--timeout", "1000");
        expect(code, output).toBe(2);
      }
    },
  );

  test("who sends through the tunnel is who the receiver knows at that node, else who the tunnel says", async () => {
    if (!tunnel) return;
    const cases = [
      { home: node1.addresses.v4, read: 999 },
      // Known to be on another node: the receiver has not heard yet where it is now.
      { home: "172.30.0.77", read: a.identity },
    ];
    for (const { home, read } of cases) {
      node2.dp.ipcache(`${a.addresses.v4}/32`, 999, home, 1);
      node2.dp.nextEpoch();
      node2.dp.events();
      expect((await probe(a.netns, "tcp", c.addresses.v4, String(PORT), "--timeout", "1000")).code).toBe(0);
      const first = node2.dp.events().find((e) => text(e.saddr) === a.addresses.v4);
      expect(first).toMatchObject({ type: EventType.TRACE, srcIdentity: read, dstIdentity: c.identity });
    }
  });

  test("nodes and parts of the world that only the receiver tells apart keep its identity, and take none along", async () => {
    if (!tunnel) return;
    const seen: [sent: number, known: number, read: number][] = [
      [0x0200_0001, 0x0200_0009, 0x0200_0009],
      [0x0200_0001, 3, 6],
      [0x0100_0007, 0x0100_0042, 0x0100_0042],
      [0x0100_0007, 3, 9],
    ];
    for (const [sent, known, read] of seen) {
      node1.dp.endpoint(a.addresses.v4, { ifindex: a.device, identity: sent, id: 1 });
      node2.dp.ipcache(`${a.addresses.v4}/32`, known, node1.addresses.v4, 1);
      for (const node of [node1, node2]) node.dp.nextEpoch();
      node2.dp.events();
      expect((await probe(a.netns, "tcp", c.addresses.v4, String(PORT), "--timeout", "1000")).code).toBe(0);
      const first = node2.dp.events().find((e) => text(e.saddr) === a.addresses.v4);
      expect(first).toMatchObject({ type: EventType.TRACE, srcIdentity: read });
    }
  });
});
