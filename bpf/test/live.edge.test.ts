import { spawn } from "node:child_process";
import { ConfigFlags, SvcFlags } from "@axoneme/abi";
import { parseIp } from "@axoneme/base";
import { launch, Netlink } from "@axoneme/netlink";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { BackendSpec } from "./datapath.ts";
import { LiveCluster, type Node, netOf, type Pod, probe, serve } from "./live.ts";
import { Proto } from "./packet.ts";

/** Services for a client outside of the cluster, live: over both kinds of routing and of forwarding. */
const PORT = 8080;
const NODEPORT = 30080;
const families = ["v4", "v6"] as const;
type FamilyName = (typeof families)[number];
/** The client: the router's own address on the nodes' link. */
const client = { v4: "172.30.250.1", v6: "fd00:172:30:fa::1" } as const;
const vip = { v4: "198.51.100.7", v6: "2001:db8:99::7" } as const;
const any = { v4: "0.0.0.0", v6: "::" } as const;
const service = { v4: "10.96.0.10", v6: "fd96::10" } as const;
const EP_HOST_NODEPORT = 9;

function run(netns: string, code: string): Promise<string> {
  const { file, args } = launch({ netns, parentDeathSignal: "KILL" }, [process.execPath, "-e", code]);
  const child = spawn(file, args, { stdio: ["ignore", "pipe", "inherit"] });
  let output = "";
  child.stdout.on("data", (chunk: Buffer) => (output += chunk));
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", () => resolve(output.trim()));
  });
}

/** Servers that send back what they get: TCP, and datagrams. Resolves once they listen. */
function echoes(netns: string, address: string, port: number): Promise<() => void> {
  const type = address.includes(":") ? "udp6" : "udp4";
  const code =
    `const s=require("dgram").createSocket("${type}");s.on("message",(m,f)=>s.send(m,f.port,f.address));` +
    `s.bind(${port},"${address}",()=>require("net").createServer((c)=>c.on("error",()=>{}).pipe(c))` +
    `.listen(${port},"${address}",()=>console.log("up")))`;
  const { file, args } = launch({ netns, parentDeathSignal: "KILL" }, [process.execPath, "-e", code]);
  const child = spawn(file, args, { stdio: ["ignore", "pipe", "inherit"] });
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.stdout.once("data", () => resolve(() => child.kill("SIGKILL")));
  });
}

/** Sends that many bytes over a connection and tells how many came back. */
function bulk(netns: string, to: string, port: number, size: number): Promise<string> {
  return run(
    netns,
    `let n=0;const c=require("net").connect(${port},"${to}",()=>c.end(Buffer.alloc(${size},7)));` +
      `c.on("data",(d)=>{n+=d.length});c.on("close",()=>console.log(n));c.on("error",(e)=>console.log(e.code));` +
      `setTimeout(()=>process.exit(1),8000).unref()`,
  );
}

/** Sends datagrams until one is answered, ten at most; tells the size of the answer. */
function datagram(netns: string, to: string, port: number, size: number): Promise<string> {
  const type = to.includes(":") ? "udp6" : "udp4";
  return run(
    netns,
    `const s=require("dgram").createSocket("${type}");let left=10;` +
      `s.on("message",(m)=>{console.log(m.length);process.exit()});s.on("error",()=>{});` +
      `const send=()=>left--?s.send(Buffer.alloc(${size},1),${port},"${to}",()=>{}):process.exit(1);` +
      `send();setInterval(send,300)`,
  );
}

describe.each([
  ["native routing", false],
  ["VXLAN", true],
])("the node's edge, live, %s", (_, tunnel) => {
  let cluster: LiveCluster;
  let node1: Node;
  let node2: Node;
  let a: Pod;
  let c: Pod;
  const stops: (() => void)[] = [];
  const outside = netOf("net");

  beforeAll(async () => {
    cluster = await LiveCluster.create(tunnel);
    [node1, node2] = cluster.nodes as [Node, Node];
    a = await cluster.pod("a", node1, 11, 301);
    c = await cluster.pod("c", node2, 13, 303);
    for (const pod of [a, c]) stops.push(await serve(pod.netns, PORT, pod.name));
    for (const node of [node1, node2]) stops.push(await serve(node.netns, PORT, `node${node.number}`));
    for (const family of families)
      for (const pod of [a, c]) stops.push(await echoes(pod.netns, pod.addresses[family], 7000));
    for (const node of [node1, node2])
      for (const family of families)
        node.dp.endpoint(node.addresses[family], { identity: 1, flags: EP_HOST_NODEPORT });
    const netlink = Netlink.open({ netnsPath: outside });
    const { index: oif } = await netlink.linkGet("br0");
    for (const family of families) {
      const length = 128;
      const gateway = parseIp(node1.addresses[family]);
      await netlink.routeAdd({ dst: { ip: parseIp(vip[family]), length }, gateway, oif });
    }
    netlink.close();
  });
  afterAll(async () => {
    for (const stop of stops) stop();
    await cluster.close();
  });
  beforeEach(() => {
    for (const node of [node1, node2]) {
      for (const map of ["ax_ct", "ax_nat", "ax_svc_flows"]) node.dp.map(map).clear();
      configure(node, 0);
    }
  });

  function configure(node: Node, more: number): void {
    const flags = (node.dp.config.flags & ~ConfigFlags.DSR_IPIP) | ConfigFlags.SERVICES | more;
    node.dp.configure({ flags });
    node.dp.nextEpoch();
  }

  /** On both nodes, as the agents do. */
  function nodePort(family: FamilyName, backends: BackendSpec[], change = {}): void {
    for (const node of [node1, node2])
      for (const [id, proto] of [
        [7, Proto.TCP],
        [8, Proto.UDP],
      ] as const)
        node.dp.service(id, { ip: any[family], port: NODEPORT, proto }, backends, {
          flags: SvcFlags.NODEPORT,
          ...change,
        });
  }

  async function answers(to: string, port: number, name: string, seen: string): Promise<void> {
    for (const kind of ["tcp", "udp"]) {
      const { code, output } = await probe(outside, kind, to, String(port), "--timeout", "2000");
      expect(code, `${kind} ${output}`).toBe(0);
      expect(output).toContain(name);
      expect(output).toContain(seen);
    }
  }

  test.each(families)("a pod of the other node, by source NAT, %s", async (family) => {
    nodePort(family, [{ ip: c.addresses[family], port: PORT }]);
    await answers(node1.addresses[family], NODEPORT, "c", node1.addresses[family]);
    expect([...node1.dp.map("ax_svc_flows")]).toHaveLength(2);
    expect([...node1.dp.map("ax_ct")]).toHaveLength(0);
  });

  test.each(families)("much data, and datagrams in fragments, %s", async (family) => {
    for (const backend of [a, c]) {
      for (const node of [node1, node2]) node.dp.map("ax_svc_flows").clear();
      nodePort(family, [{ ip: backend.addresses[family], port: 7000 }]);
      const to = node1.addresses[family];
      expect(await bulk(outside, to, NODEPORT, 3_000_000)).toBe("3000000");
      for (const size of [100, 1440, 4000])
        expect([backend.name, size, await datagram(outside, to, NODEPORT, size)]).toEqual([
          backend.name,
          size,
          String(size),
        ]);
    }
  });

  test.each(families)("a pod of the node that is dialled sees its client, %s", async (family) => {
    nodePort(family, [{ ip: a.addresses[family], port: PORT }]);
    await answers(node1.addresses[family], NODEPORT, "a", client[family]);
  });

  test.each(families)("the stack of this node, and of the other one, %s", async (family) => {
    nodePort(family, [{ ip: node1.addresses[family], port: PORT }]);
    await answers(node1.addresses[family], NODEPORT, "node1", client[family]);
    node1.dp.map("ax_svc_flows").clear();
    nodePort(family, [{ ip: node2.addresses[family], port: PORT }]);
    await answers(node1.addresses[family], NODEPORT, "node2", node1.addresses[family]);
  });

  test.each(families)(
    "direct return: the client is seen, the answer comes from what it dialled, %s",
    async (family) => {
      nodePort(family, [{ ip: c.addresses[family], port: PORT }], { forwarding: 1 });
      await answers(node1.addresses[family], NODEPORT, "c", client[family]);
      expect([...node1.dp.map("ax_nat")]).toHaveLength(0);
      nodePort(family, [{ ip: c.addresses[family], port: 7000 }], { forwarding: 1 });
      node1.dp.map("ax_svc_flows").clear();
      expect(await bulk(outside, node1.addresses[family], NODEPORT, 1_000_000)).toBe("1000000");
    },
  );

  test.each(families)("direct return in IPIP, %s", async (family) => {
    for (const node of [node1, node2]) configure(node, ConfigFlags.DSR_IPIP);
    nodePort(family, [{ ip: c.addresses[family], port: PORT }], { forwarding: 1 });
    await answers(node1.addresses[family], NODEPORT, "c", client[family]);
    nodePort(family, [{ ip: c.addresses[family], port: 7000 }], { forwarding: 1 });
    node1.dp.map("ax_svc_flows").clear();
    expect(await bulk(outside, node1.addresses[family], NODEPORT, 300_000)).toBe("300000");
  });

  test.each(families)("an address that no node has, %s", async (family) => {
    for (const proto of [Proto.TCP, Proto.UDP])
      node1.dp.service(
        proto,
        { ip: vip[family], port: 80, proto },
        [{ ip: c.addresses[family], port: PORT }],
        {
          flags: SvcFlags.LOADBALANCER,
        },
      );
    await answers(vip[family], 80, "c", node1.addresses[family]);
    node1.dp.service(0, { ip: vip[family], port: 0, proto: 0 }, [], { flags: SvcFlags.LOADBALANCER });
    const { code } = await probe(outside, "tcp", vip[family], "81", "--timeout", "2000");
    expect(code).toBe(2);
  });

  test.each(families)("nobody serves: refused at once, from outside and from a pod, %s", async (family) => {
    nodePort(family, []);
    for (const netns of [outside, a.netns])
      for (const kind of ["tcp", "udp"]) {
        const to = node1.addresses[family];
        const { code, output } = await probe(netns, kind, to, String(NODEPORT), "--timeout", "2000");
        expect([netns, kind, code], output).toEqual([netns, kind, 2]);
      }
  });

  test.each(families)("a closed port of a backend is told as the NodePort's, %s", async (family) => {
    for (const ip of [a.addresses[family], c.addresses[family], node1.addresses[family]])
      for (const kind of ["tcp", "udp"]) {
        for (const node of [node1, node2]) node.dp.map("ax_svc_flows").clear();
        nodePort(family, [{ ip, port: 9 }]);
        const to = node1.addresses[family];
        const { code, output } = await probe(outside, kind, to, String(NODEPORT), "--timeout", "2000");
        expect([ip, kind, code], output).toEqual([ip, kind, 2]);
      }
  });

  test.each(families)("a pod reaches itself, %s", async (family) => {
    for (const proto of [Proto.TCP, Proto.UDP])
      node1.dp.service(proto, { ip: service[family], port: 80, proto }, [
        { ip: a.addresses[family], port: PORT },
      ]);
    for (const kind of ["tcp", "udp"]) {
      const { code, output } = await probe(a.netns, kind, service[family], "80", "--timeout", "2000");
      expect(code, output).toBe(0);
      expect(output).toContain(family === "v4" ? "169.254.42.1" : "fd00:6178:6f6e::1");
    }
  });
});
